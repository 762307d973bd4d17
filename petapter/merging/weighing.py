"""Chooses what each member of a merge or an ensemble counts, on labelled rows, and whether that is worth anything.

Candidates are points of the simplex at equal steps, and that of equal weights. Of each the loss of every row is known,
minus the log of the probability of what is right, summed over the labels of a multi-label task. What choosing brings is
told by rows that had no part in it: singly, or beyond 50 rows in ten folds, rows are left out, the best candidate of
the others is taken, and its loss counts on those left out.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from petapter.backbone import Backbone
from petapter.evaluation import gold_labels
from petapter.merging.members import check_mergeable
from petapter.merging.merging import drafted, module_scores
from petapter.merging.recipe import Recipe
from petapter.runtime import Engine
from petapter.task import Example
from petapter.trained import TrainedModule
from petapter_schemas.errors import DataError
from petapter_schemas.task import TaskSpec

Floats = npt.NDArray[np.float64]

_MOST_MERGES = 21
"""Each is made and asked."""
_MOST_MIXTURES = 1000
_MOST_STEPS = 20
_SINGLY = 50
_FOLDS = 10
_LEAST = 1e-9
"""A probability below it counts as this."""
_ROUNDING = 1e-4
"""Losses that differ by less are the same: of twins they differ in float32."""


@dataclass(frozen=True)
class Weighing:
    """Weights that were chosen on rows, and what that brings on rows that were left out.

    Attributes:
        weights: What each member counts, adding up to 1; all alike unless others are better by more than the standard
            error of the difference.
        loss: Mean log loss of rows left out, by the best weights of the others.
        equal_loss: That of equal weights on the same rows.
        error: Standard error of the difference of the two.
        rows: How many rows there were.
    """

    weights: tuple[float, ...]
    loss: float
    equal_loss: float
    error: float
    rows: int

    @property
    def is_better(self) -> bool:
        """Whether other weights than equal ones were taken."""
        return _pays(self.equal_loss - self.loss, self.error)


def weigh_ensemble(
    backbone: Backbone, members: Mapping[str, Path | TrainedModule], rows: Sequence[Example]
) -> Weighing:
    """Choose what each member of an ensemble counts.

    Args:
        backbone: That of all.
        members: By name.
        rows: Labelled, that no member was trained on and that the ensemble is not measured on.

    Raises:
        DataError: There are too few rows, or a label is not the members'.
        PetapterError: A member must not be used, or an engine has the backbone.
    """
    with Engine(backbone) as engine:
        for name, module in members.items():
            engine.load(module, name)
        task = engine.voice(next(iter(members))).task
        gold = _gold(task, rows)
        said = engine.predict_all([row.fields for row in rows])
    right = np.stack(
        [
            _right(task, gold, np.array([list(of_row[name].probabilities.values()) for of_row in said]))
            for name in members
        ]
    )  # [K, N, 1 or L]
    candidates = simplex(len(members), _MOST_MIXTURES)
    losses = [_losses(np.tensordot(np.array(weights), right, axes=1), rows) for weights in candidates]
    return weighed(candidates, np.stack(losses))


def weigh_merge(
    modules: Sequence[TrainedModule], backbone: Backbone, recipe: Recipe, rows: Sequence[Example]
) -> Weighing:
    """Choose what each module of a merge counts; candidates are merged and asked without calibration.

    Args:
        modules: Two or more.
        backbone: That of all.
        recipe: How they are merged; its weights do not count.
        rows: As `weigh_ensemble`.

    Raises:
        InputError: The modules cannot be merged.
        BackboneError: An engine has the backbone.
        DataError: As `weigh_ensemble`.
    """
    check_mergeable(modules, [f"module {number}" for number in range(1, len(modules) + 1)])
    task = modules[0].task
    gold = _gold(task, rows)
    texts = [row.fields for row in rows]
    candidates = simplex(len(modules), _MOST_MERGES)
    losses: list[Floats] = []
    for weights in candidates:
        draft, _ = drafted(modules, backbone, replace(recipe, weights=weights))
        said = module_scores(backbone, draft, texts, None).log_probabilities.double().exp().numpy()
        losses.append(_losses(_right(task, gold, said), rows))
    return weighed(candidates, np.stack(losses))


def simplex(members: int, most: int) -> list[tuple[float, ...]]:
    """Equal weights, and all weights of so many members at equal steps, as fine as `most` candidates allow."""
    fitting = [steps for steps in range(1, _MOST_STEPS + 1) if math.comb(steps + members - 1, steps) <= most]
    steps = max(fitting, default=1)
    equal = (1 / members,) * members
    points = [tuple(count / steps for count in counts) for counts in _sums(members, steps)]
    return [equal, *(point for point in points if point != equal)]


def weighed(candidates: Sequence[tuple[float, ...]], losses: Floats) -> Weighing:
    """The best of candidates, the first of which has equal weights, by the losses [C, N] of rows."""
    rows = losses.shape[1]
    fold_of = np.arange(rows) % (rows if rows <= _SINGLY else _FOLDS)
    left_out = np.empty(rows)
    for fold in range(fold_of.max() + 1):
        out = fold_of == fold
        left_out[out] = losses[losses[:, ~out].sum(axis=1).argmin()][out]
    gains = losses[0] - left_out
    error = float(gains.std(ddof=1)) / math.sqrt(rows)
    best = int(losses.sum(axis=1).argmin()) if _pays(float(gains.mean()), error) else 0
    return Weighing(candidates[best], float(left_out.mean()), float(losses[0].mean()), error, rows)


def _pays(gain: float, error: float) -> bool:
    return gain > max(error, _ROUNDING)


def _sums(members: int, steps: int) -> Iterator[tuple[int, ...]]:
    """All ways to share so many steps among members."""
    for bars in combinations(range(steps + members - 1), members - 1):
        edges = (-1, *bars, steps + members - 1)
        yield tuple(after - before - 1 for before, after in pairwise(edges))


def _gold(task: TaskSpec, rows: Sequence[Example]) -> npt.NDArray[np.bool_]:
    if len(rows) < 2:  # noqa: PLR2004 (one to choose on, one left out)
        raise DataError(f"weights are chosen on 2 rows or more, not on {len(rows)}")
    return gold_labels(task, rows)


def _right(task: TaskSpec, gold: npt.NDArray[np.bool_], probabilities: Floats) -> Floats:
    """The probability [N, 1] of the right label; of a multi-label task [N, L] that each label is as it is."""
    right: Floats = np.where(gold, probabilities, 1 - probabilities)
    return right if task.type == "multi-label" else right[gold].reshape(-1, 1)


def _losses(right: Floats, rows: Sequence[Example]) -> Floats:
    """Of each row, as it counts among the others, [N]."""
    counts = np.array([row.weight for row in rows])
    lost: Floats = -np.log(np.maximum(right, _LEAST)).sum(axis=1) * counts / counts.mean()
    return lost
