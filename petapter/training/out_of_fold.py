"""Scores of rows that a model did not see say how sure the module may be, and when it must be silent.

The threshold of abstention is measured on the probabilities that were calibrated with the same rows. A temperature
moves all of them alike, and so its choice does little to the order that the threshold depends on.
"""

import logging

import torch
from torch import Tensor

from petapter.evaluation import Threshold, abstention_threshold, check_error_rate, fit_calibration, fit_thresholds
from petapter.scoring import calibrated
from petapter_schemas.errors import InputError
from petapter_schemas.manifest import CalibrationSpec
from petapter_schemas.task import TaskSpec

logger = logging.getLogger(__name__)


def calibration_from(
    task: TaskSpec, left_out: Tensor, targets: Tensor, weights: Tensor, abstain_error_rate: float | None = None
) -> CalibrationSpec:
    """Calibrate a module by scores of rows, each from a model that was not trained on it.

    Single-label: temperature and bias (`fit_calibration`) and, for an error rate, the threshold below which no label is
    given (`abstention_threshold`). Its promise is about texts like the rows as they are, or, where the task states a
    class prior, about texts among which the rows are as frequent as they weigh. Multi-label: thresholds
    (`fit_thresholds`).

    Args:
        task: Its type and its class prior.
        left_out: Label logits [N, L]; single-label ones up to a constant per row.
        targets: 1 where a row has a label, else 0, [N, L].
        weights: How much each row counts, [N].
        abstain_error_rate: The share of all texts that may get a wrong label; None never abstains.

    Raises:
        InputError: The error rate is none, smaller than so many rows can promise, or the task multi-label.
        DataError: There are no rows, or a number cannot be used.
    """
    check_abstention(task, weights, abstain_error_rate)
    logits = left_out.cpu()
    if task.type == "multi-label":
        shares = torch.sigmoid(logits).numpy()
        return CalibrationSpec(thresholds=tuple(float(x) for x in fit_thresholds(shares, targets.numpy() > 0)))
    gold = targets.argmax(dim=1)
    scores = torch.log_softmax(logits, dim=-1)
    found = fit_calibration(scores.numpy(), gold.numpy(), weights=weights.numpy())
    if abstain_error_rate is None:
        return found
    best, label = torch.softmax(calibrated(scores, found), dim=-1).max(dim=-1)
    frequent = None if task.class_prior is None else weights.numpy()
    threshold = abstention_threshold(best.numpy(), (label == gold).numpy(), abstain_error_rate, weights=frequent)
    _tell(threshold, len(best))
    return threshold.added_to(found)


def check_abstention(task: TaskSpec, weights: Tensor, abstain_error_rate: float | None) -> None:
    """Refuse what cannot be promised before time is spent on it; arguments as of `calibration_from`.

    Raises:
        InputError: As `calibration_from`.
    """
    if abstain_error_rate is None:
        return
    if task.type == "multi-label":
        raise InputError(
            "a multi-label module gives no label where none reaches its threshold; an abstain error rate is for "
            "single-label tasks: drop it"
        )
    check_error_rate(abstain_error_rate, torch.ones(len(weights)) if task.class_prior is None else weights)


def _tell(threshold: Threshold, rows: int) -> None:
    if not threshold.answered:
        logger.warning(
            "none of %d left-out rows is sure enough for an error rate of %g: the module will give hardly any label; "
            "add rows or allow more errors",
            rows,
            threshold.error_rate,
        )
    answered = round(threshold.answered * rows)
    logger.info(
        "abstains below %.3f, so that %d of %d left-out rows get a label", threshold.abstain_below, answered, rows
    )
