"""Which candidate to take by what each says of rows that were left out, and what that choice is worth.

The best of many is partly the luckiest: its own score is too good. Here the choice itself is scored. Rows are drawn
with replacement many times; each time the candidates are compared on the rows that were drawn, and the winner is
measured on those that were not. The mean of these measures is the honest score, and their spread its interval
(bootstrap bias corrected cross-validation: Tsamardinos, Greasidou and Borboudakis 2018, arXiv 1708.07180). It costs no
further training, where cross-validation within cross-validation trains every candidate once more per outer fold.

A candidate may have been left without some of the rows alone. Candidates are then compared on the rows that all were
left without, among those that were drawn; the winner is measured on all its own rows that were not drawn, which had no
part in the comparison.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from petapter.evaluation.arrays import Floats
from petapter.evaluation.comparison import Difference, paired_difference
from petapter.evaluation.intervals import LEVEL, RESAMPLES, percentiles, row_counts
from petapter_schemas.errors import DataError
from petapter_schemas.manifest import Interval

_LEAST_ROWS = 8

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Standing:
    """A candidate beside the chosen one.

    Attributes:
        name: Of the candidate.
        loss: Mean loss on rows that all candidates were left without, nats.
        accuracy: On them.
        behind: How much greater its loss is than that of the chosen one, row by row.
    """

    name: str
    loss: float
    accuracy: float
    behind: Difference

    @property
    def is_distinguishable(self) -> bool:
        """Whether it is worse than the chosen one for more than chance."""
        return self.behind.interval.low > 0


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        chosen: Number of the candidate.
        standings: All candidates in their order.
        accuracy: What the choice is worth on texts like the rows: it has paid for the search.
        interval: How sure that is.
        naive_accuracy: Of the chosen candidate as if it had been the only one, on all its rows.
        stability: Share of the draws in which the same one wins.
    """

    chosen: int
    standings: tuple[Standing, ...]
    accuracy: float
    interval: Interval
    naive_accuracy: float
    stability: float

    @property
    def indistinguishable(self) -> tuple[str, ...]:
        """The other candidates that may be as good."""
        others = (each for number, each in enumerate(self.standings) if number != self.chosen)
        return tuple(each.name for each in others if not each.is_distinguishable)

    @property
    def verdict(self) -> str:
        """One line for people."""
        name, others = self.standings[self.chosen].name, len(self.standings) - 1
        if not others:
            return f"{name!r} was the only one"
        if not self.indistinguishable:
            return f"{name!r} is better than the {others} others"
        return f"{name!r} is not distinguishable from {len(self.indistinguishable)} of {others} others"


def choose(
    names: Sequence[str], losses: npt.ArrayLike, correct: npt.ArrayLike, rows: Sequence[Sequence[int]] | None = None
) -> Choice:
    """Choose the candidate of the least mean loss on the rows that all were left without.

    Args:
        names: Of the candidates.
        losses: By candidate and row, of a model that did not see the row, [C, N].
        correct: Likewise whether its answer was right, [C, N].
        rows: By candidate, which rows it was left without; what is given for others is not looked at. All by default.

    Raises:
        DataError: The shapes differ, a loss is no number, or all were left without fewer than eight rows.
    """
    lost, right, known = _checked(names, losses, correct, rows)
    common = known.all(axis=0)
    compared, answered = lost[:, common], right[:, common]
    chosen = int(compared.mean(axis=1).argmin())
    scores, winners = _out_of_bag(lost, right, known)
    low, high = percentiles(scores)
    method = f"bootstrap over rows with the choice in it, {RESAMPLES} resamples"
    return Choice(
        chosen=chosen,
        standings=tuple(
            Standing(name, float(own.mean()), float(hits.mean()), paired_difference(own, compared[chosen]))
            for name, own, hits in zip(names, compared, answered, strict=True)
        ),
        accuracy=float(np.nanmean(scores)),
        interval=Interval(low=low, high=high, level=LEVEL, method=method),
        naive_accuracy=float(right[chosen][known[chosen]].mean()),
        stability=float((winners == chosen).mean()),
    )


def _out_of_bag(lost: Floats, right: Floats, known: Bools) -> tuple[Floats, npt.NDArray[np.int64]]:
    """By draw: accuracy of its winner on its rows that were not drawn, NaN where all were; and the winner."""
    scores: list[Floats] = []
    winners: list[npt.NDArray[np.int64]] = []
    compared = np.where(known.all(axis=0), lost, 0.0)
    for counts in row_counts(lost.shape[1]):  # [r, N]
        winner = (counts @ compared.T).argmin(axis=1)  # [r]
        unseen = (counts == 0) & known[winner]
        number = unseen.sum(axis=1)
        hits = (right[winner] * unseen).sum(axis=1)
        scores.append(np.where(number > 0, hits / np.maximum(number, 1), np.nan))
        winners.append(winner)
    return np.concatenate(scores), np.concatenate(winners)


def _checked(
    names: Sequence[str], losses: npt.ArrayLike, correct: npt.ArrayLike, rows: Sequence[Sequence[int]] | None
) -> tuple[Floats, Floats, Bools]:
    """Losses and answers, 0 where they are not to be looked at, and where they are."""
    lost, right = np.asarray(losses, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if lost.ndim != 2 or lost.shape != right.shape or len(lost) != len(names) or not len(names):  # noqa: PLR2004 (axes)
        raise DataError(
            f"{len(names)} candidates need losses and answers of one shape, not {lost.shape}, {right.shape}"
        )
    known = np.ones(lost.shape, dtype=np.bool_)
    if rows is not None:
        known[:] = False
        for own, numbers in zip(known, rows, strict=True):
            own[list(numbers)] = True
    if (common := int(known.all(axis=0).sum())) < _LEAST_ROWS:
        raise DataError(f"choosing needs {_LEAST_ROWS} labelled rows or more, and there are {common}")
    if not np.isfinite(lost[known]).all():
        raise DataError("a loss is no number: leave candidates out whose training diverged")
    return np.where(known, lost, 0.0), np.where(known, right, 0.0), known
