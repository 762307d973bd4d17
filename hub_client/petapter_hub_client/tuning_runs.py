# ruff: noqa: PLC0415 (torch is imported when a run starts, not before)
"""One tuning from files to a module directory: read, search, train, measure, save; it goes on where it was stopped."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from petapter_hub_client.backbones import ResolvedBackbone, resolve_backbone
from petapter_hub_client.beginnings import begin_at
from petapter_hub_client.local_runs import examine, load_backbone
from petapter_hub_client.stated_facts import StatedFacts
from petapter_hub_client.training_runs import HeldOut, TaskSource
from petapter_schemas.manifest import EvaluationSet, EvaluationSpec, LineageSpec, Manifest
from petapter_schemas.plot_data import Confusion, PlotData

if TYPE_CHECKING:
    from petapter.runtime.ray_cluster import Cluster
    from petapter.task import Example
    from petapter.tuning import Trains, Tuned, TuneOptions, Watcher
    from petapter.tuning.members import Asked

REPORT_FILE, PLOT_FILE = "report.md", "patterns.svg"


@dataclass(frozen=True)
class TuningRun:
    """Everything a tuning needs, named but not yet read.

    Attributes:
        data: Labelled rows.
        task: Labels, and patterns that are to be in the pool.
        backbone: As `--backbone` takes it.
        options: How to tune.
        facts: What the author says of the module.
        work: The folder that remembers what is finished, and gets report and plot.
        languages: Of the grammar's patterns; none of it without any.
        unlabelled: Texts without labels.
        held_out: Rows to measure the module on afterwards; nothing is chosen by them.
        device: Where it runs.
        init_from: Another task's module, a directory or a reference, with whose adapter a further student begins.
        cluster: Whose workers train the members; this process where there is none.
        with_grammar: Whether the grammar's patterns are in the pool, those without words too.
    """

    data: Path
    task: TaskSource
    backbone: str
    options: "TuneOptions"
    facts: StatedFacts
    work: Path
    languages: tuple[str, ...] = ()
    unlabelled: Path | None = None
    held_out: HeldOut | None = None
    device: str | None = None
    init_from: str | None = None
    cluster: "Cluster | None" = None
    with_grammar: bool = True

    def run(self, out: Path, watcher: "Watcher") -> "tuple[Manifest, Tuned]":
        """Tune, measure if rows were held out, and write the module directory, the report and the plot.

        Raises:
            PetapterError: Something given cannot be used; `out` was not made, and what is finished is kept in `work`.
        """
        from importlib.metadata import version

        from petapter.module import ModuleInfo, save_module
        from petapter.selection import pattern_pool
        from petapter.selection.pattern_pool import OWN
        from petapter.task import Example, read_examples, read_verbalizer, rows_digest
        from petapter.tuning import Work, tune
        from petapter.tuning.outcome import TRANSFERRED
        from petapter.tuning.report import draw_tuning, tuning_report

        task = self.task.read()
        examples = read_examples(self.data, task)
        held_out = read_examples(self.held_out.file, task) if self.held_out is not None else []
        unlabelled = self._texts(task.fields)
        watcher.on_stage("loading the backbone")
        resolved = resolve_backbone(self.backbone)
        backbone = load_backbone(resolved, device=self.device)
        begun = None if self.init_from is None else begin_at(self.init_from, backbone)
        found = pattern_pool(task, self.languages, backbone).patterns
        pool = tuple(each for each in found if self.with_grammar or each.origin == OWN)
        identity = {
            "rows": rows_digest(examples),
            "unlabelled": rows_digest([Example(text) for text in unlabelled]) if unlabelled else None,
            "task": task.model_dump(mode="json"),
            "patterns": [each.pattern.template for each in pool],
            "backbone": backbone.spec(read_verbalizer(task, backbone.tokenizer)).model_dump(mode="json"),
            "options": self.options.identity(),
            "start": None if begun is None else begun.start.sha256,
            "versions": {name: version(name) for name in ("petapter", "torch", "transformers")},
        }
        work = Work(self.work, identity)
        with self._trains(resolved) as trains:
            tuned = tune(
                task, examples, backbone, pool, self.options, unlabelled=unlabelled,
                start=None if begun is None else begun.start, work=work, trains=trains, watcher=watcher,
            )  # fmt: skip
        (self.work / REPORT_FILE).write_text(tuning_report(tuned), encoding="utf-8")
        draw_tuning(tuned.patterns, self.work / PLOT_FILE)
        evaluation: tuple[EvaluationSpec, ...] = (_searched(tuned, examples),)
        confusions: tuple[Confusion, ...] = ()
        if self.held_out is not None:
            watcher.on_stage("measuring")
            examined = examine(backbone, tuned.module, held_out, name=self.held_out.name, split="test")
            evaluation = (*evaluation, *examined.figures)
            confusions = () if examined.confusion is None else (examined.confusion,)
        info = ModuleInfo(**self.facts.model_dump())
        plot_data = PlotData(confusions=confusions)
        lineage = begun.lineage if begun is not None and tuned.chosen.name == TRANSFERRED else LineageSpec()
        written = save_module(tuned.module, out, info, evaluation=evaluation, plot_data=plot_data, lineage=lineage)
        return written, tuned

    @contextmanager
    def _trains(self, backbone: ResolvedBackbone) -> "Iterator[Callable[[Asked], Trains] | None]":
        """What trains the members, if it is not this process; what Ray prints goes to standard error."""
        if self.cluster is None:
            yield None
            return
        from petapter.tuning.ray_runs import members_on_ray

        source = (backbone.directory, backbone.repo, backbone.revision)
        with redirect_stdout(sys.stderr), members_on_ray(self.cluster, source, self.options) as trains:
            yield trains

    def _texts(self, fields: Sequence[str]) -> list[dict[str, str]]:
        """As many texts as the options ask for, drawn from the whole file while it streams by.

        Raises:
            DataError: The file cannot be read, or holds no text.
        """
        from petapter.selection.text_drawing import draw
        from petapter_schemas.tables import read_rows

        if self.unlabelled is None:
            return []
        rows = ({name: row.text(name) for name in fields} for row in read_rows(self.unlabelled, fields))
        return draw(rows, self.options.most_unlabelled, 0)


def _searched(tuned: "Tuned", examples: "Sequence[Example]") -> EvaluationSpec:
    """The score that has paid for the search, as a figure of the manifest."""
    from petapter.task import rows_digest

    rows = EvaluationSet(
        name="training rows", sha256=rows_digest(examples), split="nested cross-validation", n=len(examples)
    )
    return EvaluationSpec(
        metric="accuracy",
        value=tuned.accuracy,
        interval=tuned.interval,
        evaluation_set=rows,
        seeds=tuned.module.training.seeds,
    )
