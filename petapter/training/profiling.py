"""The profile of the rows a module was trained on, and of what models that had not seen them said of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from petapter.backbone import Backbone
from petapter.evaluation.multilabel import DEFAULT_THRESHOLD
from petapter.evaluation.profile import TopAnswers, make_profile, text_features
from petapter.scoring import calibrated
from petapter.task import Example
from petapter_schemas.manifest import CalibrationSpec
from petapter_schemas.profile import Profile
from petapter_schemas.task import TaskSpec


@dataclass(frozen=True)
class LeftOut:
    """What models that had not seen some rows say of them.

    Attributes:
        logits: [N, L], single-label ones up to a constant per row.
        targets: 1 where a row has a label, else 0, [N, L].
        calibration: What was fitted to them.
        rows: Which of the training rows they are; None where they are all, in their order.
    """

    logits: Tensor
    targets: Tensor
    calibration: CalibrationSpec
    rows: tuple[int, ...] | None = None


def profile_rows(
    task: TaskSpec, examples: Sequence[Example], backbone: Backbone, left_out: LeftOut | None
) -> Profile | None:
    """The profile of training rows; None where there are too few.

    Args:
        task: Of a multi-label task it is a profile with the rates of its labels in place of answers.
        examples: All training rows.
        backbone: Its tokenizer counts.
        left_out: Of some or all of the rows; None if no model was trained without them.
    """
    features = text_features(backbone.tokenizer, [example.fields for example in examples])
    if left_out is None:
        return make_profile(features)
    if task.type != "single-label":
        return make_profile(features, given=_given(left_out))
    scores = calibrated(torch.log_softmax(left_out.logits.cpu(), dim=-1), left_out.calibration)
    confidences, labels = torch.softmax(scores, dim=-1).max(dim=-1)
    answers = TopAnswers(labels.numpy(), confidences.double().numpy())
    return make_profile(features, answers, left_out.targets.argmax(dim=1).numpy())


def _given(left_out: LeftOut) -> NDArray[np.bool_]:
    """Which labels the rows are given, [N, L]."""
    probabilities = torch.sigmoid(calibrated(left_out.logits.cpu(), left_out.calibration))
    thresholds = left_out.calibration.thresholds or (DEFAULT_THRESHOLD,) * probabilities.shape[1]
    given: NDArray[np.bool_] = (probabilities.double().numpy() >= np.array(thresholds)).astype(np.bool_)
    return given
