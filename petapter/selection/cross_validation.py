"""What each candidate says of rows that it did not see: all candidates, seeds and folds train in one stack."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from petapter.backbone import Backbone
from petapter.evaluation.label_sets import gold_labels
from petapter.joint import run_without, train_jointly
from petapter.joint.memory import JointPlan
from petapter.joint.trainer import OnSteps
from petapter.runtime import Engine
from petapter.selection.choosing import Choice, choose
from petapter.selection.grouped_folds import GroupedFolds
from petapter.task import Example
from petapter.trained import TrainedModule
from petapter.training.options import TrainingOptions
from petapter.training.trainer import EncodedRows, checked_rows
from petapter_schemas.errors import InputError
from petapter_schemas.task import TaskSpec


@dataclass(frozen=True)
class Candidate:
    """One way to ask and to train.

    Attributes:
        name: For people.
        task: Its patterns and words; labels and fields are those of all candidates.
        options: How it trains; the seed is replaced.
    """

    name: str
    task: TaskSpec
    options: TrainingOptions


@dataclass(frozen=True)
class LeftOutScores:
    """What candidates say of rows that were left out.

    Attributes:
        candidates: Those whose training did not diverge.
        log_probabilities: By candidate, mean over its seeds, [C, N, L].
        diverged: Names of the others.
    """

    candidates: tuple[Candidate, ...]
    log_probabilities: Tensor
    diverged: tuple[str, ...]

    def choice(self, examples: Sequence[Example]) -> Choice:
        """The candidate to take, by the cross-entropy of the rows' labels.

        Raises:
            DataError: There are too few rows.
        """
        gold = torch.from_numpy(gold_labels(self.candidates[0].task, examples)).to(torch.bool)  # [N, L]
        losses = -self.log_probabilities.masked_fill(~gold, 0.0).sum(dim=-1)  # [C, N]
        correct = self.log_probabilities.argmax(dim=-1) == gold.int().argmax(dim=-1)
        return choose([each.name for each in self.candidates], losses.numpy(), correct.numpy())


def cross_validated(  # noqa: PLR0913 (what is compared, on what, and how)
    candidates: Sequence[Candidate],
    examples: Sequence[Example],
    backbone: Backbone,
    folds: GroupedFolds,
    *,
    seeds: int = 1,
    memory_bytes: int | None = None,
    on_plan: Callable[[JointPlan], None] | None = None,
    on_step: OnSteps | None = None,
) -> LeftOutScores:
    """Train every candidate without each fold, with each seed, and ask it about that fold.

    Args:
        candidates: Single-label tasks of the same labels and fields.
        examples: Labelled rows.
        backbone: The frozen masked language model.
        folds: Of the rows.
        seeds: Of each candidate, 0 and on; what they say is averaged.
        memory_bytes: As `train_jointly`.
        on_plan: As `train_jointly`.
        on_step: As `train_jointly`.

    Raises:
        InputError: There is no candidate, the tasks do not fit each other, or all diverged.
        TaskError: A task or the rows cannot work.
        BackboneError: As `train_jointly`.
    """
    _check(candidates)
    whole = [EncodedRows(each.task, examples, checked_rows(each.task, examples, backbone)) for each in candidates]
    parts = [
        (number, seed, fold)
        for number in range(len(candidates))
        for seed in range(seeds)
        for fold in range(folds.count)
    ]
    runs = [
        run_without(replace(candidates[number].options, seed=seed), whole[number], folds.rows(fold), backbone)
        for number, seed, fold in parts
    ]
    found = train_jointly(runs, backbone, memory_bytes=memory_bytes, on_plan=on_plan, on_step=on_step)
    lost = {number for (number, _, _), module in zip(parts, found, strict=True) if isinstance(module, InputError)}
    kept = [number for number in range(len(candidates)) if number not in lost]
    if not kept:
        raise InputError("the training of every candidate diverged: choose a lower learning rate")
    asked = {at: module for at, module in enumerate(found) if isinstance(module, TrainedModule)}
    left_out = {at: folds.rows(parts[at][2]) for at in asked}
    said = torch.zeros(len(candidates), len(examples), len(candidates[0].task.labels))
    for at, scores in _asked(backbone, asked, examples, left_out).items():
        said[parts[at][0], left_out[at]] += scores / seeds
    return LeftOutScores(
        tuple(candidates[number] for number in kept),
        torch.log_softmax(said[kept], dim=-1),
        tuple(candidates[number].name for number in sorted(lost)),
    )


def _check(candidates: Sequence[Candidate]) -> None:
    if not candidates:
        raise InputError("there is nothing to choose from: give one candidate at least")
    first = candidates[0].task
    for each in candidates:
        if each.task.type != "single-label":
            raise InputError(f"candidate {each.name!r} is multi-label: choosing knows single-label tasks alone")
        if (each.task.label_names, each.task.fields) != (first.label_names, first.fields):
            raise InputError(
                f"candidate {each.name!r} has other labels or fields than {candidates[0].name!r}: they must be the same"
            )


def _asked(
    backbone: Backbone,
    modules: Mapping[int, TrainedModule],
    examples: Sequence[Example],
    left_out: Mapping[int, Sequence[int]],
) -> dict[int, Tensor]:
    """What each module says of its rows, all asked together, [rows, L]."""
    with Engine(backbone) as engine:
        for number, module in modules.items():
            engine.load(module, str(number))
        requests = [(str(number), examples[row].fields) for number, rows in left_out.items() for row in rows]
        return {int(alias): scores.log_probabilities for alias, scores in engine.score(requests).items()}
