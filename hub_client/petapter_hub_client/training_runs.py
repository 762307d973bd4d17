# ruff: noqa: PLC0415 (torch is imported when a run starts, not before)
"""One training run from files to a module directory: read, train, measure, save."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from petapter_hub_client.backbones import resolve_backbone
from petapter_hub_client.beginnings import begin_at
from petapter_hub_client.local_runs import examine, load_backbone
from petapter_hub_client.output import OnStep
from petapter_hub_client.run_settings import RunSettings
from petapter_hub_client.stated_facts import StatedFacts
from petapter_schemas.errors import InputError
from petapter_schemas.manifest import LineageSpec, Manifest
from petapter_schemas.plot_data import PlotData
from petapter_schemas.task import TaskSpec

if TYPE_CHECKING:
    from petapter.runtime.answers import Examined


@dataclass(frozen=True)
class TaskSource:
    """Where labels and patterns come from: a file, or the words of the command line."""

    file: Path | None
    patterns: Sequence[str]
    labels: Sequence[str]

    def read(self) -> TaskSpec:
        """Read the task.

        Raises:
            InputError: Both places or none were given, or they make no task.
        """
        from petapter.task import read_task, task_from_options

        if self.file is not None:
            if self.patterns or self.labels:
                raise InputError("give either --task, or --pattern and --label, not both")
            return read_task(self.file)
        if not self.patterns or not self.labels:
            raise InputError("the task is missing: give --task FILE, or --pattern and at least two --label NAME=word")
        return task_from_options(self.patterns, self.labels)


@dataclass(frozen=True)
class HeldOut:
    """Labelled rows to measure on, and the name they go by."""

    file: Path
    name: str


@dataclass(frozen=True)
class TrainingRun:
    """Everything a run needs, named but not yet read; `init_from` names a module whose adapter it begins with."""

    data: Path
    task: TaskSource
    backbone: str
    settings: RunSettings
    facts: StatedFacts
    held_out: HeldOut | None
    unlabelled: Path | None = None
    device: str | None = None
    with_profile: bool = True
    init_from: str | None = None

    def run(self, out: Path, on_step: OnStep) -> Manifest:
        """Train, measure if rows were held out, and write the module directory.

        Raises:
            PetapterError: Something given cannot be used; `out` was not made.
        """
        from petapter.module import ModuleInfo, save_module
        from petapter.task import read_examples, read_texts
        from petapter.training import TrainingOptions, train
        from petapter.training.losses import module_losses
        from petapter.training.warm_start import train_from

        losses: list[float] = []

        def told(step: int, total: int, loss: float) -> None:
            losses.append(loss)
            on_step(step, total, f"loss {loss:.3f}")

        self._check_beginning()
        task = self.settings.task(self.task.read())
        examples = read_examples(self.data, task)
        held_out = read_examples(self.held_out.file, task) if self.held_out is not None else []
        unlabelled = read_texts(self.unlabelled, task.fields) if self.unlabelled is not None else []
        on_step(0, 1, "(loading the backbone)")
        backbone = load_backbone(resolve_backbone(self.backbone), device=self.device)
        on_step(0, 1, "(reading the rows)")
        begun = None if self.init_from is None else begin_at(self.init_from, backbone)
        options = self.settings.options(backbone)
        if begun is not None and isinstance(options, TrainingOptions):
            trained = train_from(begun.start, task, examples, backbone, options, on_step=told)
        else:
            trained = train(
                task,
                examples,
                backbone,
                options,
                unlabelled=unlabelled,
                calibrate_folds=self.settings.calibrate,
                abstain_error_rate=self.settings.abstain_error,
                on_step=told,
            )
        examined: Examined | None = None
        if self.held_out is not None:
            on_step(1, 1, "(measuring)")
            examined = examine(backbone, trained, held_out, name=self.held_out.name, split="test")
        if not self.with_profile:
            trained = replace(trained, profile=None)
        evaluation, confusion = (examined.figures, examined.confusion) if examined else ((), None)
        plot_data = PlotData(
            losses=module_losses(trained.training, losses), confusions=() if confusion is None else (confusion,)
        )
        info = ModuleInfo(**self.facts.model_dump())
        lineage = LineageSpec() if begun is None else begun.lineage
        return save_module(trained, out, info, evaluation=evaluation, plot_data=plot_data, lineage=lineage)

    def _check_beginning(self) -> None:
        if self.init_from is None:
            return
        settings = self.settings
        if settings.preset != "plain":
            raise InputError("--init-from belongs to --preset plain: give that preset, or let 'petapter tune' try it")
        given = {"--adapter": settings.adapter, "--rank": settings.rank, "--layers": settings.layers}
        for option, value in (given | {"--calibrate": settings.calibrate}).items():
            if value is not None:
                why = "takes no --calibrate" if option == "--calibrate" else "decides the adapter"
                raise InputError(f"--init-from {why}: drop {option}")
