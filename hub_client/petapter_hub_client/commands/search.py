# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter search`: modules on one remote by text, labels, language, backbone and metric."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from petapter_hub_client.commands.completion import complete_remote
from petapter_hub_client.commands.options import JsonOption
from petapter_hub_client.output import hush_huggingface, is_quiet, note, say, say_json, say_table

if TYPE_CHECKING:
    from petapter_hub_client.searching import FoundModule


def search(  # noqa: PLR0913 (a command's options)
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="Part of its name; on registries, words of it.")
    ] = None,
    *,
    label: Annotated[list[str] | None, typer.Option("--label", help="A label it must have; may be repeated.")] = None,
    label_match: Annotated[
        Literal["superset", "exact", "mappable"],
        typer.Option(help="It has these labels; exactly these; as many. The last two on registries alone."),
    ] = "superset",
    language: Annotated[list[str] | None, typer.Option(help="A language code; may be repeated.")] = None,
    backbone: Annotated[str | None, typer.Option(help="The backbone's name or fingerprint (16 hex digits).")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            "--min-metric",
            help="A bound on a metric: 'accuracy>=0.8', 'macro_f1@SET>=0.7'; may be repeated.",
        ),
    ] = None,
    verified: Annotated[
        bool, typer.Option("--verified", help="Count only figures that a worker of the registry verified.")
    ] = False,
    remote: Annotated[
        str | None,
        typer.Option(help="Where to search. Default: the default remote.", autocompletion=complete_remote),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most results.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Find modules on one remote."""
    from petapter_hub_client.searching import SHOWN_COLUMNS, Query
    from petapter_hub_client.searching import search as find
    from petapter_schemas.metric_bound import MetricBound

    hush_huggingface()
    query = Query(
        text=text,
        labels=tuple(label or ()),
        label_match=label_match,
        languages=tuple(language or ()),
        backbone=backbone,
        bounds=tuple(MetricBound.parse(bound) for bound in where or ()),
        verified=verified,
        limit=limit,
    )
    found = find(query, remote=remote)
    if as_json:
        say_json([_json(module) for module in found])
    elif is_quiet():
        for module in found:
            say(module.reference)
    elif found:
        say_table(SHOWN_COLUMNS, [module.shown_row() for module in found])
    else:
        note("no module matches: drop a filter, or name another --remote")


def _json(module: "FoundModule") -> dict[str, object]:
    return {**asdict(module), "updated": module.updated.isoformat() if module.updated else None}
