# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter evalset`: rows that modules are measured on, published, found, fetched and compared; and who did best."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from petapter_hub_client.commands.completion import complete_remote
from petapter_hub_client.commands.options import JsonOption
from petapter_hub_client.output import (
    hush_huggingface,
    is_quiet,
    note,
    report,
    say,
    say_facts,
    say_json,
    say_table,
    size_text,
)

if TYPE_CHECKING:
    from petapter_hub_client.evaluation_sets import LocalSet
    from petapter_schemas.evaluation_api import EvaluationSetFacts, Leaderboard

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Evaluation sets: the rows that modules are measured on, and their leaderboards.",
)

SetArgument = Annotated[str, typer.Argument(metavar="REFERENCE", help="[remote:]namespace/name[@1.0.0]")]
RowsArgument = Annotated[Path, typer.Argument(metavar="ROWS", help="Labelled rows, .csv with a header or .jsonl.")]
_SHOWN_LABELS = 8


@app.command()
def create(  # noqa: PLR0913 (a command's options)
    rows: RowsArgument,
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The directory to make.")],
    name: Annotated[str | None, typer.Option("--name", help="Default: the name of --out.")] = None,
    version: Annotated[str, typer.Option("--version", help="Its version.")] = "1.0.0",
    split: Annotated[str, typer.Option("--split", help="Which part of its source it is.")] = "test",
    label: Annotated[
        list[str] | None, typer.Option("--label", help="One of the label set; default: the labels of the rows.")
    ] = None,
    field: Annotated[list[str] | None, typer.Option("--field", help="A column with texts; default: text.")] = None,
    multi_label: Annotated[bool, typer.Option("--multi-label", help="Rows have any number of labels.")] = False,
    description: Annotated[str, typer.Option("--description", help="What the rows are.")] = "",
    language: Annotated[list[str] | None, typer.Option("--language", help="A language code; may be repeated.")] = None,
    license_: Annotated[str | None, typer.Option("--license", help="Of the rows: an SPDX identifier.")] = None,
    source: Annotated[str, typer.Option("--source", help="Where the rows come from, for whoever lacks them.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Make an evaluation set of labelled rows."""
    from petapter_hub_client.evaluation_sets import SetOptions, create_evaluation_set

    options = SetOptions(
        name=name or out.name,
        version=version,
        description=description,
        license=license_,
        languages=tuple(language or ()),
        source=source,
        split=split,
        type="multi-label" if multi_label else "single-label",
        fields=tuple(field or ("text",)),
        labels=tuple(label or ()),
    )
    made = create_evaluation_set(rows, out, options)
    _show_local(made, as_json=as_json)
    if not as_json and options.license is None:
        note("no --license: others cannot tell whether they may use the rows; 'push --without-rows' keeps them here")


@app.command()
def push(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="What 'create' made.")],
    reference: Annotated[str, typer.Argument(metavar="REFERENCE", help="[remote:]namespace/name")],
    *,
    private: Annotated[bool, typer.Option("--private", help="A new set is for its namespace alone.")] = False,
    without_rows: Annotated[bool, typer.Option("--without-rows", help="Publish the digest alone.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Publish an evaluation set; a published version never changes."""
    from petapter_hub_client.evaluation_sets import push_evaluation_set

    hush_huggingface()
    facts = push_evaluation_set(directory, reference, private=private, without_rows=without_rows)
    _show(facts, _remote_of(reference), as_json=as_json)


@app.command("list")
def list_(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Words of its name or of what it says.")] = "",
    *,
    namespace: Annotated[str | None, typer.Option("--namespace", help="Whose.")] = None,
    rows: Annotated[str, typer.Option("--rows", metavar="SHA256", help="How the sha256 of its rows begins.")] = "",
    remote: Annotated[
        str | None,
        typer.Option("--remote", help="Default: the default remote.", autocompletion=complete_remote),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Most results.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List evaluation sets on a registry."""
    from petapter_hub_client.evaluation_sets import list_evaluation_sets

    hush_huggingface()
    found = list_evaluation_sets(text, remote=remote, namespace=namespace, rows=rows, limit=limit)
    if as_json:
        say_json([each.model_dump(mode="json") for each in found])
    elif is_quiet():
        for each in found:
            say(f"{_remote(remote)}:{each.id}@{each.facts.version}")
    elif found:
        columns = ("evaluation set", "version", "split", "n", "labels", "modules", "rows", "sha256")
        say_table(columns, [
            (each.id, each.facts.version, each.facts.split, each.facts.n, len(each.facts.labels), each.modules,
             "digest alone" if each.facts.rows_bytes is None else size_text(each.facts.rows_bytes),
             each.facts.rows_sha256[:12])
            for each in found
        ])  # fmt: skip
    else:
        note("no evaluation set matches: use other words, or name another --remote")


@app.command()
def show(reference: SetArgument, *, as_json: JsonOption = False) -> None:
    """Show what an evaluation set is."""
    from petapter_hub_client.evaluation_sets import show_evaluation_set

    hush_huggingface()
    _show(show_evaluation_set(reference), _remote_of(reference), as_json=as_json)


@app.command()
def pull(
    reference: SetArgument,
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The directory to make.")],
    as_json: JsonOption = False,
) -> None:
    """Fetch an evaluation set, and check every row."""
    from petapter_hub_client.evaluation_sets import pull_evaluation_set

    hush_huggingface()
    _show_local(pull_evaluation_set(reference, out), as_json=as_json)


@app.command()
def check(reference: SetArgument, rows: RowsArgument, *, as_json: JsonOption = False) -> None:
    """Tell whether a file holds exactly the rows of a set, in any order; the rows stay here."""
    from petapter_hub_client.evaluation_sets import check_evaluation_rows

    hush_huggingface()
    facts = check_evaluation_rows(reference, rows)
    if as_json:
        say_json(facts.model_dump(mode="json"))
    else:
        report(f"{rows} holds the {facts.n} rows of {facts.id} {facts.version}, sha256:{facts.rows_sha256}")


@app.command()
def board(
    reference: SetArgument,
    *,
    metric: Annotated[str | None, typer.Option("--metric", help="For example macro_f1.")] = None,
    status: Annotated[
        list[str] | None,
        typer.Option("--status", help="verified, reproduced, declared or disputed figures alone; may be repeated."),
    ] = None,
    sort: Annotated[
        Literal["standing", "value", "name", "updated"],
        typer.Option("--sort", help="By status and then best first; best first, whoever says it; by name; latest."),
    ] = "standing",
    limit: Annotated[int, typer.Option("--limit", min=1, max=100, help="Most lines.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Show how modules were measured on an evaluation set."""
    from petapter_hub_client.evaluation_sets import leaderboard

    hush_huggingface()
    found = leaderboard(reference, metric=metric, status=status or (), sort=sort, limit=limit)
    if as_json:
        say_json(found.model_dump(mode="json"))
    elif is_quiet():
        for line in found.lines:
            say(f"{_remote_of(reference)}:{line.id}@{line.revision}")
    elif found.lines:
        _show_board(found)
    else:
        note(f"no module was measured on {found.id} {found.version} with that status, or none that you may see")


def _show_board(found: "Leaderboard") -> None:
    columns = ("module", "version", "rank", found.metric or "", "interval", "n", "status", "by")
    say_table(columns, [
        (line.id, line.version or "-", _rank(line.rank, tied=line.tied), f"{line.value:.3f}",
         f"{line.low:.3f} to {line.high:.3f}", line.n, line.status, line.by)
        for line in found.lines
    ])  # fmt: skip
    more = "" if found.complete else f" these are the best {len(found.lines)};"
    note(
        f"{'more' if found.higher_is_better else 'less'} is better;{more} modules of one status that share a rank are "
        "not told apart by their intervals"
    )
    others = [f"{each.metric} ({each.modules})" for each in found.metrics if each.metric != found.metric]
    if others:
        note(f"also: {', '.join(others)}")


def _rank(rank: int | None, *, tied: bool) -> str:
    return "-" if rank is None else f"{rank} tie" if tied else str(rank)


def _remote_of(reference: str) -> str:
    from petapter_schemas.references import Reference

    return _remote(Reference.parse(reference).remote)


def _remote(name: str | None) -> str:
    from petapter_hub_client.remotes import find_remote

    return find_remote(name).name


def _labels(facts: "EvaluationSetFacts") -> str:
    shown = ", ".join(facts.labels[:_SHOWN_LABELS])
    return shown if len(facts.labels) <= _SHOWN_LABELS else f"{shown}, … {len(facts.labels) - _SHOWN_LABELS} more"


def _show(facts: "EvaluationSetFacts", remote: str, *, as_json: bool) -> None:
    if as_json:
        say_json(facts.model_dump(mode="json"))
        return
    if is_quiet():
        say(f"{remote}:{facts.id}@{facts.version}")
        return
    rows = "were taken back" if facts.withdrawn else "digest alone"
    say_facts([
        ("evaluation set", f"{remote}:{facts.id}@{facts.version}"),
        *([("description", facts.description)] if facts.description else []),
        ("rows", f"{facts.n}, {facts.split}, {rows if facts.rows_bytes is None else size_text(facts.rows_bytes)}"),
        ("labels", f"{facts.type}: {_labels(facts)}"),
        ("fields", ", ".join(facts.fields)),
        ("license", facts.license or "not said"),
        *([("source", facts.source)] if facts.source else []),
        ("published", f"{facts.published[:10]} by {facts.by}"),
        ("rows digest", f"sha256:{facts.rows_sha256}"),
        ("digest", f"sha256:{facts.digest}"),
    ])  # fmt: skip


def _show_local(local: "LocalSet", *, as_json: bool) -> None:
    spec = local.spec
    if as_json:
        said = {"directory": str(local.directory), "digest": spec.digest, "has_rows": local.rows is not None}
        say_json({**said, **spec.model_dump(mode="json")})
    elif is_quiet():
        say(str(local.directory))
    else:
        counts = ", ".join(f"{name} {count}" for name, count in zip(spec.labels, spec.counts, strict=True))
        say_facts([
            ("evaluation set", f"{spec.name} {spec.version}"),
            ("directory", local.directory),
            ("rows", f"{spec.n}, {spec.split}{'' if local.rows else ', not here'}"),
            ("labels", counts if len(spec.labels) <= _SHOWN_LABELS else f"{len(spec.labels)}"),
            ("rows digest", f"sha256:{spec.rows_sha256}"),
            ("digest", f"sha256:{spec.digest}"),
        ])  # fmt: skip
