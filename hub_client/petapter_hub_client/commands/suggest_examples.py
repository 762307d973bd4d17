# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter suggest-examples`: which texts of an unlabelled file to label next."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from petapter_hub_client.commands.options import DeviceOption, JsonOption, prepare_torch
from petapter_hub_client.output import (
    hush_huggingface,
    is_quiet,
    note,
    progress,
    report,
    say,
    say_json,
    say_table,
    warn,
)

if TYPE_CHECKING:
    from petapter_hub_client.labelling_runs import NextTexts, RankedPattern

_SHOWN = 90


def suggest_examples(  # noqa: PLR0913 (a command's options)
    texts: Annotated[Path, typer.Argument(metavar="TEXTS", help="Unlabelled texts: .csv, .jsonl or .parquet.")],
    *,
    labels: Annotated[
        str | None, typer.Option("--labels", metavar="NAME,NAME,…", help="Labels whose names are their words.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="NAME=word,word", help="A label and its words; may be repeated."),
    ] = None,
    pattern: Annotated[
        list[str] | None, typer.Option("--pattern", help="'{text} It is about {mask}.'; may be repeated.")
    ] = None,
    language: Annotated[
        list[str] | None, typer.Option(help="Try the grammar's patterns of it, such as en; may be repeated.")
    ] = None,
    task: Annotated[Path | None, typer.Option("--task", metavar="FILE", help="Labels and patterns as YAML.")] = None,
    labelled: Annotated[
        Path | None, typer.Option("--labelled", metavar="ROWS.csv", help="Rows that have been labelled already.")
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=1000, help="How many texts to name.")] = 10,
    draw: Annotated[
        int, typer.Option(min=1, max=20_000, help="Most texts that are compared; of more, as many are drawn.")
    ] = 2000,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="A new .csv or .jsonl file with a column to fill in."),
    ] = None,
    zero_label: Annotated[
        Path | None,
        typer.Option("--zero-label", metavar="DIR", help="Also make a module, from the label words alone."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
    backbone: Annotated[str, typer.Option(help="A Hub id, a local directory, or 'minilm'.")] = "minilm",
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Name the next texts to label: typical of many, unlike one another, and of every label."""
    prepare_torch("suggest-examples")
    from petapter_hub_client.fetching import check_new_directory
    from petapter_hub_client.labelling_runs import LabellingRun, LabelNames, check_output, write_texts

    hush_huggingface()
    if output is not None:
        check_output(output)
    if zero_label is not None:
        check_new_directory(zero_label)
    names = [] if labels is None else [name for name in labels.split(",") if name.strip()]
    run = LabellingRun(
        texts=texts,
        labels=LabelNames(task, names, label or [], pattern or [], language or []),
        labelled=labelled,
        count=count,
        draw=draw,
        seed=seed,
        backbone=backbone,
        device=device,
        zero_label=zero_label,
    )
    with progress("suggesting") as on_step:
        found = run.run(on_step)
    if output is not None:
        write_texts(output, found.texts)
    if as_json:
        written = {"output": output, "zero_label": zero_label}
        say_json(asdict(found) | {name: None if path is None else str(path) for name, path in written.items()})
        return
    _show(found, with_table=output is None)
    if output is not None:
        report(f"{output}: {len(found.texts)} texts; fill in the column label")
    if zero_label is not None:
        report(f"{zero_label}: a module from the label words alone, which no labelled row has measured")


def _show(found: "NextTexts", *, with_table: bool) -> None:
    if found.broken:
        warn(f"{found.broken} rows hold no text that can be read, and were left out")
    if with_table and is_quiet():
        for each in found.texts:
            say(str(each.row))
    elif with_table:
        has_guess = any(each.guess is not None for each in found.texts)
        columns = ("row", "stands for", *(("guess",) if has_guess else ()), "text")
        rows = [
            (each.row, each.stands_for, *((each.guess or "",) if has_guess else ()), _short(each.fields.values()))
            for each in found.texts
        ]
        say_table(columns, rows)
    if found.patterns and not is_quiet():
        say("")
        say_table(("pattern", "information", "agreement"), [_pattern(each) for each in found.patterns])
        say("*: asked; information of label and text in nats, agreement with the other patterns, both without labels")
    note(_looked_at(found))


def _pattern(each: "RankedPattern") -> tuple[str, str, str]:
    return f"{'* ' if each.is_asked else ''}{each.template}", f"{each.information:.3f}", f"{each.agreement:.3f}"


def _looked_at(found: "NextTexts") -> str:
    drawn = "all" if found.compared == found.readable else f"{found.compared:,} drawn at random of"
    repeated = f"; {found.repeated:,} of them nearly repeat another or a labelled one" if found.repeated else ""
    return f"compared: {drawn} {found.readable:,} texts{repeated}"


def _short(texts: Iterable[str]) -> str:
    text = " | ".join(" ".join(text.split()) for text in texts)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
