"""Students of a tuning: one of each fold and one of all rows, each taught by those who saw what it may see alone.

In two generations the first student learns the texts without labels of which its teachers are surest, as many of every
label as texts of its kind are thought to be. What it then says of all of them counts half beside the vote, and a second
student learns that: iPET (Schick and Schütze 2021, arXiv 2001.07676, section 3.4), by small modules. A fold's students
have never seen the fold, nor has anybody who taught them, nor the convex head that is added to what they say
(petapter/tuning/heads.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from petapter.backbone import Backbone
from petapter.joint import JointRun, train_jointly
from petapter.joint.memory import JointPlan
from petapter.joint.trainer import OnSteps
from petapter.task import Example
from petapter.task.encoding import Fields
from petapter.trained import TrainedModule
from petapter.tuning.distilling import Lesson, Teaching, student_run
from petapter.tuning.frozen import FrozenHead
from petapter.tuning.heads import with_frozen_head
from petapter.tuning.learnt import begun_at
from petapter.tuning.members import asked_of
from petapter_schemas.errors import InputError
from petapter_schemas.task import TaskSpec

_FIRST_SHARE = 0.5
"""Of the texts without labels, what the first of two generations learns; a choice that was not compared with others."""


@dataclass(frozen=True)
class Pupil:
    """Who is to be taught.

    Attributes:
        task: In the patterns that it asks in.
        rows: Numbers of the labelled rows that it may see.
        vote: Log-probabilities [N + U, L] of its teachers, who saw no other rows.
        left_out: Numbers of the rows that it is asked about afterwards.
        head: The convex head of the same rows and patterns, added to what it says in the end; None for none.
    """

    task: TaskSpec
    rows: Sequence[int]
    vote: Tensor
    left_out: Sequence[int] = ()
    head: FrozenHead | None = None


@dataclass(frozen=True)
class Graduate:
    """A student that was taught.

    Attributes:
        module: It.
        said: Log-probabilities of the rows that it was asked about, [R, L].
    """

    module: TrainedModule
    said: Tensor


class School:
    """Teaches students on the same rows and texts."""

    def __init__(
        self,
        rows: tuple[Sequence[Example], Sequence[Fields]],
        teaching: Teaching,
        backbone: Backbone,
        *,
        memory_bytes: int | None = None,
        on_plan: Callable[[JointPlan], None] | None = None,
        on_step: OnSteps | None = None,
    ) -> None:
        """Name what is learnt; nothing is trained yet.

        Args:
            rows: Labelled rows, and texts without labels.
            teaching: How.
            backbone: The frozen masked language model.
            memory_bytes: As `train_jointly`.
            on_plan: As `train_jointly`.
            on_step: As `train_jointly`; each generation begins anew.
        """
        self._rows, self._teaching, self._backbone = rows, teaching, backbone
        self._memory_bytes, self._on_plan, self._on_step = memory_bytes, on_plan, on_step

    def teach(self, pupils: Sequence[Pupil], generations: int) -> list[Graduate]:
        """Train students, all of a generation in one stack.

        Args:
            pupils: Who.
            generations: 1, or 2 where there are texts without labels.

        Raises:
            InputError: The training of one diverged.
            TaskError: The rows cannot work.
        """
        if generations > 1:
            pupils = self._taught_again(pupils)
        trained = self._trained(pupils, 1.0)
        modules = [self._with_head(module, pupil) for module, pupil in zip(trained, pupils, strict=True)]
        examples, _ = self._rows
        asked = {
            number: (module, [examples[row].fields for row in pupil.left_out])
            for number, (module, pupil) in enumerate(zip(modules, pupils, strict=True))
        }
        said = asked_of(asked, self._backbone)
        nothing = torch.zeros(0, len(pupils[0].task.labels))
        return [Graduate(module, said.get(number, nothing)) for number, module in enumerate(modules)]

    def _taught_again(self, pupils: Sequence[Pupil]) -> list[Pupil]:
        """The pupils, their teachers joined by a first student of each."""
        examples, texts = self._rows
        modules = self._trained(pupils, _FIRST_SHARE)
        said = asked_of({number: (module, texts) for number, module in enumerate(modules)}, self._backbone)
        return [replace(pupil, vote=_joined(pupil.vote, said[at], len(examples))) for at, pupil in enumerate(pupils)]

    def _trained(self, pupils: Sequence[Pupil], share: float) -> list[TrainedModule]:
        runs = [self._run(pupil, share) for pupil in pupils]
        found = train_jointly(
            runs, self._backbone, memory_bytes=self._memory_bytes, on_plan=self._on_plan, on_step=self._on_step
        )
        modules = [module for module in found if isinstance(module, TrainedModule)]
        if len(modules) < len(found):
            raise InputError("the training of the module that learns the vote diverged: take another backbone")
        return modules

    def _with_head(self, module: TrainedModule, pupil: Pupil) -> TrainedModule:
        """As loud as the student, by what it was taught and by no row's label."""
        times = 1 / self._teaching.temperature
        return module if pupil.head is None else with_frozen_head(module, pupil.head, times, self._backbone)

    def _run(self, pupil: Pupil, share: float) -> JointRun:
        lesson = Lesson(pupil.rows, pupil.vote, share)
        run = student_run(pupil.task, self._rows, lesson, self._teaching, self._backbone)
        start = self._teaching.start
        return run if start is None else begun_at(run, start, self._backbone)


def _joined(vote: Tensor, said: Tensor, rows: int) -> Tensor:
    """The vote [N + U, L], by half what a student says [U, L] of the texts behind the rows."""
    both = (vote[rows:].double().exp() + said.double().exp()) / 2
    return torch.cat([vote[:rows].double(), both.log()])
