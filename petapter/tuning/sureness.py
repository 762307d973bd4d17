"""How sure members really are: one temperature for those of a fold, by what the others left out.

Members say of rows that they were trained without what is too loud or too faint. One number mends that for all of them,
since there are few rows: it minimises the loss on left-out rows plus a normal density of its logarithm around 0, and so
stays near 1 where few rows speak (Guo et al. 2017, arXiv 1706.04599, with a prior). The temperature of a fold's members
comes from the rows of the other folds alone: no label of the fold has a part in it.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from petapter.evaluation.calibration import LOG_TEMPERATURE_WIDTH
from petapter.selection.grouped_folds import GroupedFolds
from petapter.tuning.members import Member

_TRIED = torch.logspace(-1.0, 1.0, 81, dtype=torch.float64)


def members_temperature(
    said: Mapping[Member, Tensor], folds: GroupedFolds, gold: Tensor, *, without: int | None = None
) -> float:
    """The temperature of members by rows that they left out.

    Args:
        said: What each says of all texts, log-probabilities [N + U, L].
        folds: Of the rows.
        gold: Numbers of the rows' labels, int64 [N].
        without: A fold whose rows have no part in it; None for none.

    Returns:
        By which log-probabilities are to be divided; 1 where there is nothing to go by.
    """
    heard = [fold for fold in range(folds.count) if fold != without]
    loss = _TRIED.log().square() / (2 * LOG_TEMPERATURE_WIDTH**2)
    for fold in heard:
        rows = list(folds.rows(fold))
        own = [each[rows] for member, each in said.items() if member.fold == fold]
        if own:
            loss = loss + torch.stack([_losses(each, gold[rows]) for each in own]).mean(dim=0)
    return float(_TRIED[int(loss.argmin())])


def at_temperature(said: Sequence[Tensor], temperature: float) -> list[Tensor]:
    """Log-probabilities [T, L] of each at a temperature."""
    return [torch.log_softmax(each.double() / temperature, dim=-1) for each in said]


def _losses(said: Tensor, gold: Tensor) -> Tensor:
    """Summed over rows [R, L], by temperature tried."""
    scaled = torch.log_softmax(said.double()[None] / _TRIED[:, None, None], dim=-1)  # [C, R, L]
    return -scaled.gather(2, gold.expand(len(_TRIED), -1).unsqueeze(2)).sum(dim=(1, 2))
