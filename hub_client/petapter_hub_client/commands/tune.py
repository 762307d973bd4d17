# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter tune`: which patterns to ask in, by the labelled rows alone, and one module that does."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from petapter_hub_client.commands.options import (
    DataArgument,
    DeviceOption,
    EngineOption,
    HeldOutNameOption,
    HeldOutOption,
    JsonOption,
    LabelsOption,
    ModuleDescriptionOption,
    ModuleLicenseOption,
    ModuleNameOption,
    ModuleOutOption,
    ModuleVersionOption,
    NewBackboneOption,
    RayAddressOption,
    RayWorkersOption,
    TaskOption,
    prepare_torch,
)
from petapter_hub_client.output import (
    above,
    hush_huggingface,
    is_quiet,
    note,
    plain,
    say,
    say_facts,
    say_json,
    say_table,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from petapter.joint.memory import JointPlan
    from petapter.selection import TriedWord
    from petapter.tuning import PatternStanding, Tuned, Watcher
    from petapter.tuning.words import FoldWords


def tune(  # noqa: PLR0913 (a command's options)
    data: DataArgument,
    *,
    out: ModuleOutOption,
    task: TaskOption = None,
    pattern: Annotated[
        list[str] | None, typer.Option("--pattern", help="A pattern that is to be among those tried; may be repeated.")
    ] = None,
    label: LabelsOption = None,
    language: Annotated[
        list[str] | None, typer.Option(help="Try the grammar's patterns of it; may be repeated. Default: en.")
    ] = None,
    own_only: Annotated[bool, typer.Option("--own-only", help="Try the given patterns alone.")] = False,
    unlabelled: Annotated[
        Path | None,
        typer.Option("--unlabelled", metavar="TEXTS.csv", help="Texts without labels, to learn the vote from."),
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option("--work", metavar="DIR", help="Where finished parts, report and plot are. Default: DIR.tuning."),
    ] = None,
    patterns: Annotated[int, typer.Option(min=1, help="Most patterns in which members are trained.")] = 4,
    seeds: Annotated[int, typer.Option(min=1, help="Members of each pattern and fold.")] = 3,
    folds: Annotated[int, typer.Option(min=2, help="Into which the rows are spread.")] = 5,
    generations: Annotated[
        int, typer.Option(min=1, max=2, help="Of students: the second learns from the first too; wants --unlabelled.")
    ] = 1,
    mine_words: Annotated[
        bool, typer.Option("--mine-words", help="Look for further label words in the backbone's vocabulary.")
    ] = False,
    init_from: Annotated[
        str | None,
        typer.Option("--init-from", metavar="MODULE", help="Another task's module to begin with, if rows prefer it."),
    ] = None,
    memory: Annotated[
        int | None,
        typer.Option(
            "--memory", metavar="MIB", min=1, help="Of each process, for training. Default: half of what is free."
        ),
    ] = None,
    engine: EngineOption = "local",
    ray_address: RayAddressOption = None,
    ray_workers: RayWorkersOption = None,
    backbone: NewBackboneOption = "minilm",
    device: DeviceOption = None,
    name: ModuleNameOption = None,
    version: ModuleVersionOption = "0.1.0",
    description: ModuleDescriptionOption = "",
    license_: ModuleLicenseOption = None,
    test: HeldOutOption = None,
    test_name: HeldOutNameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try patterns on labelled texts, and train one module; run it again to go on where it was stopped."""
    prepare_torch("tune")
    from petapter.tuning import TuneOptions
    from petapter_hub_client.commands.answering import EngineChoice
    from petapter_hub_client.fetching import check_new_directory
    from petapter_hub_client.stated_facts import StatedFacts
    from petapter_hub_client.training_runs import HeldOut, TaskSource
    from petapter_hub_client.tuning_runs import PLOT_FILE, REPORT_FILE, TuningRun
    from petapter_schemas.errors import InputError

    hush_huggingface()
    check_new_directory(out)
    if generations > 1 and unlabelled is None:
        raise InputError("--generations 2 learns from texts without labels: give them as --unlabelled, or drop it")
    choice = EngineChoice(engine, ray_address, ray_workers)
    choice.check()
    run = TuningRun(
        data=data,
        task=TaskSource(task, pattern or [], label or []),
        backbone=backbone,
        options=TuneOptions(
            patterns=patterns,
            seeds=seeds,
            folds=folds,
            generations=generations,
            mine_words=mine_words,
            memory_bytes=None if memory is None else memory << 20,
        ),
        facts=StatedFacts.check(
            name=name or out.resolve().name,
            version=version,
            description=description,
            license=license_,
            languages=tuple(language or ()),
        ),
        work=work or out.with_name(f"{out.name}.tuning"),
        languages=tuple(language or ("en",)),
        unlabelled=unlabelled,
        held_out=None if test is None else HeldOut(test, test_name or test.stem),
        device=device,
        init_from=init_from,
        cluster=choice.cluster(),
        with_grammar=not own_only,
    )
    with _shown() as watcher:
        manifest, tuned = run.run(out, watcher)
    if as_json:
        say_json({"directory": str(out), "manifest": manifest.model_dump(mode="json"), **_as_json(tuned)})
        return
    _report(tuned)
    say_facts(
        (
            ("module", f"{manifest.name} {manifest.version}"),
            ("directory", out),
            ("report", run.work / REPORT_FILE),
            ("plot", run.work / PLOT_FILE),
        )
    )


@contextmanager
def _shown() -> "Iterator[Watcher]":
    """A table on a terminal's standard error that changes as more is known; elsewhere plans of memory alone."""
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    from petapter.tuning import Watcher

    console = Console(stderr=True)
    if is_quiet():
        yield Watcher()
        return
    on_plan = _plans_on(console)
    if not console.is_terminal:
        yield Watcher(on_plan=on_plan)
        return
    state: dict[str, str] = {"stage": "", "words": ""}
    table: list[Table] = []

    def picture() -> Group:
        line = Text(plain(f"{state['stage']} {state['words']}".strip()))
        return Group(*table, line)

    with Live(console=console, transient=True, refresh_per_second=4, get_renderable=picture), above(console):

        def on_stage(words: str) -> None:
            state.update(stage=words, words="")

        def on_pattern(done: int, total: int, words: str) -> None:
            state["words"] = f"{done + 1} of {total}: {words}"

        def on_members(done: int, total: int, words: str) -> None:
            state["words"] = f"{done} of {total}, {words}"

        def on_standings(standings: "Sequence[PatternStanding]") -> None:
            table[:] = [_live_table(standings)]

        yield Watcher(on_stage, on_pattern, on_members, on_standings, on_plan)


def _plans_on(console: "Console") -> "Callable[[JointPlan], None]":
    """Prints plans of memory, each once, above what changes."""
    printed: set[str] = set()

    def on_plan(plan: "JointPlan") -> None:
        if str(plan) not in printed:
            printed.add(str(plan))
            console.print(str(plan), markup=False, highlight=False, soft_wrap=True)

    return on_plan


def _live_table(standings: "Sequence[PatternStanding]") -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in _COLUMNS:
        table.add_column(column)
    for row in _rows(standings):
        table.add_row(*(Text(plain(cell)) for cell in row))
    return table


_COLUMNS = ("pattern", "frozen loss", "accuracy", "in folds", "trained loss", "accuracy")


def _rows(standings: "Sequence[PatternStanding]") -> list[tuple[str, ...]]:
    return [
        (
            f"{'* ' if each.is_asked else ''}{each.template}",
            f"{each.frozen_loss:.3f}",
            f"{each.frozen_accuracy:.3f}",
            str(each.folds),
            "" if each.loss is None else f"{each.loss:.3f}",
            "" if each.accuracy is None else f"{each.accuracy:.3f}",
        )
        for each in standings
    ]


def _report(tuned: "Tuned") -> None:
    from petapter.tuning.report import transfer, verdict

    say_table(_COLUMNS, _rows(tuned.patterns))
    say("*: asked by the module; losses are of rows that were left out, in nats")
    say("")
    finalists = [
        (each.name, each.rows, f"{each.accuracy:.3f}", f"{each.loss:.3f}", f"{-each.behind_vote.mean:+.3f}")
        for each in tuned.finalists
    ]
    vote = (f"vote of {tuned.vote.members - tuned.vote.diverged}", "", f"{tuned.vote.accuracy:.3f}")
    say_table(
        ("module", "rows left out", "accuracy", "loss", "by the vote"),
        [*finalists, (*vote, f"{tuned.vote.loss:.3f}", "")],
    )
    say(verdict(tuned))
    if (stays := transfer(tuned)) is not None:
        say(stays)
    say(
        f"{tuned.chosen.name} is expected to be right in {tuned.accuracy:.3f} of cases "
        f"({tuned.interval.low:.3f} to {tuned.interval.high:.3f}); this has paid for the search"
    )
    for each in () if tuned.words is None else tuned.words.notes:
        say(f"label words: {each}")
    for each in tuned.notes:
        note(f"note: {each}")
    say("")


def _word(each: "TriedWord", words: "FoldWords") -> dict[str, object]:
    from dataclasses import asdict

    return asdict(each) | {"is_taken": each.is_taken, "folds": words.folds_of(each)}


def _as_json(tuned: "Tuned") -> dict[str, object]:
    from dataclasses import asdict

    return {
        "shipped": tuned.chosen.name,
        "accuracy": tuned.accuracy,
        "interval": tuned.interval.model_dump(mode="json"),
        "is_distinguishable": not tuned.choice.indistinguishable,
        "optimism": tuned.optimism,
        "patterns": [asdict(each) for each in tuned.patterns],
        "vote": asdict(tuned.vote) | {"interval": tuned.vote.interval.model_dump(mode="json")},
        "finalists": [
            asdict(each)
            | {"behind_vote": {"mean": each.behind_vote.mean, "interval": each.behind_vote.interval.model_dump()}}
            for each in tuned.finalists
        ],
        "words": None if tuned.words is None else [_word(each, tuned.words) for each in tuned.words.of_all.tried],
        "notes": tuned.notes,
    }
