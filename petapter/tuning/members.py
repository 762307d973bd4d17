"""Members: small modules, each of one pattern and seed and trained without one fold, and what they say of all texts."""

from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from petapter.backbone import Backbone
from petapter.joint import JointRun, LowerStates, run_without, train_jointly
from petapter.joint.memory import JointPlan
from petapter.joint.trainer import OnSteps
from petapter.runtime import Engine
from petapter.selection.grouped_folds import GroupedFolds
from petapter.selection.pattern_pool import PooledPattern
from petapter.task import Example
from petapter.task.encoding import Fields
from petapter.trained import TrainedModule
from petapter.training.options import TrainingOptions
from petapter.training.trainer import EncodedRows, checked_rows
from petapter_schemas.task import LabelSpec, TaskSpec

Name = TypeVar("Name", bound=Hashable)

OnMembers = Callable[[int, int, str], None]
"""Called with how many members are trained, how many there are, and a few words."""


@dataclass(frozen=True, order=True)
class Member:
    """One training run.

    Attributes:
        fold: Which rows it does not see.
        pattern: Number of its pattern in the pool.
        seed: Its seed.
    """

    fold: int
    pattern: int
    seed: int


@dataclass(frozen=True)
class Asked:
    """What tuning is about.

    Attributes:
        task: Labels and words.
        patterns: The pool.
        examples: Labelled rows.
        unlabelled: Texts without labels.
        folds: Of the rows.
        labels: With the words that were mined without each fold, and last by all rows; None where the task's own words
            stand alone.
    """

    task: TaskSpec
    patterns: Sequence[PooledPattern]
    examples: Sequence[Example]
    unlabelled: Sequence[Fields]
    folds: GroupedFolds
    labels: Sequence[tuple[LabelSpec, ...]] | None = None

    def task_in(self, fold: int | None) -> TaskSpec:
        """The task with the words that were mined without a fold; by all rows for None."""
        if self.labels is None:
            return self.task
        return self.task.model_copy(update={"labels": self.labels[-1 if fold is None else fold]})

    @property
    def texts(self) -> list[Fields]:
        """The rows' texts, then those without labels; N + U."""
        return [*(example.fields for example in self.examples), *self.unlabelled]


Said = dict[Member, Tensor]
"""What members say of all texts, log-probabilities [N + U, L]; one that diverged says not-a-number, [1, 1]."""

Trains = Callable[[Sequence[Member], OnMembers | None], Generator[Said, None, None]]
"""Trains members in parts, in any order, and yields what those of a part say when it is finished."""


class MemberRuns:
    """Trains members here, each part in one stack."""

    def __init__(
        self,
        asked: Asked,
        backbone: Backbone,
        options: TrainingOptions,
        *,
        at_once: int | None = None,
        memory_bytes: int | None = None,
        on_plan: Callable[[JointPlan], None] | None = None,
    ) -> None:
        """Name what is trained; nothing is read yet.

        Args:
            asked: What tuning is about.
            backbone: The frozen masked language model.
            options: Of all members; their seeds are replaced.
            at_once: Members of a part; all that are asked for by default.
            memory_bytes: As `train_jointly`.
            on_plan: As `train_jointly`.
        """
        self._asked, self._backbone, self._options = asked, backbone, options
        self._at_once, self._memory_bytes, self._on_plan = at_once, memory_bytes, on_plan
        self._rows: dict[int, EncodedRows] = {}

    def __call__(self, members: Sequence[Member], on_members: OnMembers | None = None) -> Generator[Said, None, None]:
        """Train members; see `Trains`.

        Raises:
            TaskError: The rows cannot work.
            BackboneError: An engine has the backbone.
            InputError: Not even one member fits the memory.
        """
        done, lower = 0, LowerStates()
        for part in parts_of(members, self._at_once or max(1, len(members))):
            tell = None if on_members is None else _told(on_members, done, len(members), len(part))
            yield self._trained(part, lower, tell)
            done += len(part)

    def _trained(self, part: Sequence[Member], lower: LowerStates, on_step: OnSteps | None) -> Said:
        runs = [self._run(member) for member in part]
        found = train_jointly(
            runs,
            self._backbone,
            memory_bytes=self._memory_bytes,
            lower=lower,
            on_plan=self._on_plan,
            on_step=on_step,
        )
        modules = {
            member: module for member, module in zip(part, found, strict=True) if isinstance(module, TrainedModule)
        }
        said = says(modules, self._asked.texts, self._backbone)
        return {member: said.get(member, torch.full((1, 1), torch.nan)) for member in part}

    def _run(self, member: Member) -> JointRun:
        options, left_out = replace(self._options, seed=member.seed), self._asked.folds.rows(member.fold)
        task = self._asked.patterns[member.pattern].alone(self._asked.task_in(member.fold))
        rows = replace(self._encoded(member.pattern), task=task)
        return run_without(options, rows, left_out, self._backbone)

    def _encoded(self, pattern: int) -> EncodedRows:
        if pattern not in self._rows:
            task, examples = self._asked.patterns[pattern].alone(self._asked.task), self._asked.examples
            self._rows[pattern] = EncodedRows(task, examples, checked_rows(task, examples, self._backbone))
        return self._rows[pattern]


def parts_of(members: Sequence[Member], size: int) -> list[Sequence[Member]]:
    """Members in parts of a size, the last of which may be smaller."""
    return [members[start : start + size] for start in range(0, len(members), size)]


def _told(tell: OnMembers, done: int, total: int, part: int) -> OnSteps:
    """Steps of a part as members of all."""
    return lambda step, steps, loss: tell(done + round(part * step / max(1, steps)), total, f"loss {loss:.3f}")


def says(modules: Mapping[Name, TrainedModule], texts: Sequence[Fields], backbone: Backbone) -> dict[Name, Tensor]:
    """What modules say of texts, all asked together, log-probabilities [T, L] before any calibration."""
    return asked_of({name: (module, texts) for name, module in modules.items()}, backbone)


def asked_of(
    questions: Mapping[Name, tuple[TrainedModule, Sequence[Fields]]], backbone: Backbone
) -> dict[Name, Tensor]:
    """As `says`, each of texts of its own; a module without any is left out."""
    with Engine(backbone) as engine:
        asked: list[tuple[int, str, Fields]] = []
        names: dict[str, Name] = {}
        for number, (name, (module, texts)) in enumerate(questions.items()):
            if texts:
                names[str(number)] = name
                engine.load(replace(module, calibration=None), str(number))
                asked += [(at, str(number), text) for at, text in enumerate(texts)]
        asked.sort(key=lambda each: each[0])  # what many are asked about stands together, and runs in one trunk
        scores = engine.score([(alias, text) for _, alias, text in asked]) if asked else {}
    return {names[alias]: said.log_probabilities.cpu() for alias, said in scores.items()}
