"""Ensembles: loaded modules that answer together, under one alias and in the same pass as everything else.

    log p(y|x) = log sum over k of w_k p_k(y|x)

with shares w_k that add up to 1, and p_k what member k says after its own calibration: the mean of probabilities. Of a
multi-label task each label on its own. A member's abstaining and its thresholds do not count; the ensemble has its own.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from petapter.runtime.answers import Voice
from petapter.scoring import Scores
from petapter.task.encoding import Fields
from petapter.trained import TrainedModule
from petapter_schemas.errors import InputError
from petapter_schemas.manifest import CalibrationSpec


@dataclass(frozen=True)
class Ensemble:
    """Modules that are loaded under aliases of their own, and how their answers become one.

    Attributes:
        members: Their aliases.
        weights: Shares, adding up to 1.
        voice: The task of the first, of which type and labels hold for all; thresholds of its own; the seeds of all.
    """

    members: tuple[str, ...]
    weights: tuple[float, ...]
    voice: Voice

    def combined(self, said: Sequence[Scores]) -> Scores:
        """What the ensemble says of texts, from what each member says of them."""
        shares = torch.tensor(self.weights).log()[:, None, None]
        together = torch.logsumexp(torch.stack([scores.log_probabilities for scores in said]) + shares, dim=0)
        lost = zip(*(scores.lost_tokens for scores in said), strict=True)
        return Scores(together.clamp(max=0.0), tuple(max(of_text) for of_text in lost))


def joined(
    members: Mapping[str, TrainedModule], weights: Sequence[float] | None, thresholds: Sequence[float] | None
) -> Ensemble:
    """An ensemble of modules by alias.

    Raises:
        InputError: There are fewer than two, their types or labels differ, or weights or thresholds do not fit.
    """
    if len(members) < 2:  # noqa: PLR2004 (together)
        raise InputError("an ensemble needs two modules or more")
    modules = list(members.values())
    task = modules[0].task
    for alias, module in members.items():
        if (module.task.type, module.task.label_names) != (task.type, task.label_names):
            raise InputError(
                f"{alias!r} has other labels than {next(iter(members))!r}, or in another order: such modules cannot "
                "answer together"
            )
    if thresholds is not None and (task.type, len(thresholds)) != ("multi-label", len(task.labels)):
        raise InputError("thresholds belong to multi-label tasks: give one for each label, or none")
    calibration = None if thresholds is None else CalibrationSpec(thresholds=tuple(thresholds))
    seeds = tuple(dict.fromkeys(seed for module in modules for seed in module.training.seeds))
    return Ensemble(tuple(members), shares(weights, len(members)), Voice(task, calibration, seeds))


@dataclass
class Spread:
    """Requests for modules and ensembles as requests for modules alone, and the way back.

    Attributes:
        asked: Module and text, what is to be run.
    """

    ensembles: Mapping[str, Ensemble]
    asked: list[tuple[str, Fields]] = field(default_factory=list)
    _asked_for: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """By alias, the numbers of its requests, and of each its first place in `asked`; a request's members follow."""

    @classmethod
    def of(cls, requests: Sequence[tuple[str, Fields]], ensembles: Mapping[str, Ensemble]) -> "Spread":
        """Put the members in the place of each ensemble."""
        spread = cls(ensembles)
        for number, (alias, text) in enumerate(requests):
            spread._asked_for.setdefault(alias, []).append((number, len(spread.asked)))
            members = ensembles[alias].members if alias in ensembles else (alias,)
            spread.asked += [(member, text) for member in members]
        return spread

    def gathered(self, said: Mapping[str, tuple[list[int], Scores]]) -> dict[str, tuple[list[int], Scores]]:
        """By alias, the numbers of its requests and what the module or the ensemble says of their texts.

        Args:
            said: The same of `asked`.
        """
        row_of = {alias: {place: row for row, place in enumerate(places)} for alias, (places, _) in said.items()}
        found: dict[str, tuple[list[int], Scores]] = {}
        for alias, asked in self._asked_for.items():
            ensemble = self.ensembles.get(alias)
            members = (alias,) if ensemble is None else ensemble.members
            parts = [
                _rows(said[member][1], [row_of[member][first + offset] for _, first in asked])
                for offset, member in enumerate(members)
            ]
            found[alias] = [number for number, _ in asked], ensemble.combined(parts) if ensemble else parts[0]
        return found


def _rows(scores: Scores, rows: Sequence[int]) -> Scores:
    return Scores(scores.log_probabilities[list(rows)], tuple(scores.lost_tokens[row] for row in rows))


def shares(weights: Sequence[float] | None, members: int) -> tuple[float, ...]:
    """What each of so many members counts, adding up to 1.

    Raises:
        InputError: They are not one number of at least 0 for each, or all 0.
    """
    given = [1.0] * members if weights is None else [float(weight) for weight in weights]
    if len(given) != members:
        raise InputError(f"there are {len(given)} weights for {members} modules: give one for each, in their order")
    if not all(math.isfinite(weight) and weight >= 0 for weight in given) or not (total := math.fsum(given)) > 0:
        raise InputError("weights must be numbers of at least 0, not all of them 0")
    return tuple(weight / total for weight in given)
