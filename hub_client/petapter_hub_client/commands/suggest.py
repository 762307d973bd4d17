# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter suggest`: which modules of a remote may answer a few labelled rows, measured on them."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from petapter_hub_client.commands.completion import complete_remote
from petapter_hub_client.commands.options import (
    BackboneOption,
    DataArgument,
    DeviceOption,
    JsonOption,
    prepare_torch,
)
from petapter_hub_client.output import hush_huggingface, is_quiet, note, progress, say, say_json, say_table
from petapter_schemas.errors import InputError

if TYPE_CHECKING:
    from petapter_hub_client.suggesting import Suggestion, Suggestions


def suggest(  # noqa: PLR0913 (a command's options)
    data: DataArgument,
    *,
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="MINE=THEIRS", help="What modules call a label of the rows; may be repeated."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=50, help="Most modules that are downloaded and measured.")] = 5,
    language: Annotated[str | None, typer.Option(help="A language code that they must have.")] = None,
    remote: Annotated[
        str | None,
        typer.Option(help="Where to search. Default: the default remote.", autocompletion=complete_remote),
    ] = None,
    backbone: BackboneOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find modules by the labels of a few rows, measure them on these, and rank them; none is chosen."""
    prepare_torch("suggest")
    from petapter_hub_client.suggesting import SuggestOptions
    from petapter_hub_client.suggesting import suggest as find

    hush_huggingface()
    options = SuggestOptions(_mapped(map_ or []), language, limit, remote, backbone, device)
    with progress("fetching") as on_step:
        found = find(data, options=options, on_module=on_step)
    if as_json:
        say_json(_as_json(found))
    elif is_quiet():
        for each in found.ranked:
            if each.is_module and not each.is_apart:
                say(each.module)
    else:
        _show(found)


def _mapped(pairs: list[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for pair in pairs:
        mine, equals, theirs = pair.partition("=")
        if not mine or not equals or not theirs:
            raise InputError(f"--map {pair!r} names no two labels: write MINE=THEIRS, the label of the rows first")
        names[mine] = theirs
    return names


def _as_json(found: "Suggestions") -> dict[str, object]:
    ranked = [
        {
            **asdict(each),
            "interval": each.interval.model_dump(mode="json"),
            "accuracy": each.accuracy,
            "is_apart": each.is_apart,
        }
        for each in found.ranked
    ]
    return {
        "rows": found.rows,
        "labels": found.labels,
        "of_several": found.of_several,
        "ranked": ranked,
        "skipped": [{"module": name, "why": why} for name, why in found.skipped],
        "beats_none": found.beats_none,
    }


def _show(found: "Suggestions") -> None:
    rows = [
        (
            each.module,
            f"{each.right} of {each.rows}",
            f"{each.accuracy:.3f}",
            f"{each.interval.low:.3f} to {each.interval.high:.3f}",
            "" if each is found.ranked[0] else f"{each.p_value:.3g}",
            _verdict(each, found.ranked[0]),
        )
        for each in found.ranked
    ]
    say_table(("module", "right", "accuracy", "interval", "p", ""), rows)
    say("interval: 95%, Wilson; p: McNemar's exact test against the first, not corrected for how many there are")
    if found.of_several:
        say("right: all labels of a row are given, and no other")
    for each in found.ranked:
        if each.further_labels:
            note(f"note: {each.module} has {len(each.further_labels)} further labels, which count as wrong here")
    for name, why in found.skipped:
        note(f"note: {name} was not measured: {why}")
    say(_conclusion(found))


def _verdict(each: "Suggestion", first: "Suggestion") -> str:
    if each is first:
        return "most right"
    return "worse" if each.is_apart else "not distinguishable from the first"


def _conclusion(found: "Suggestions") -> str:
    close = [each.module for each in found.ranked[1:] if each.is_module and not each.is_apart]
    if not found.beats_none:
        return "these rows do not show that any module is better than none: give more rows, or train one"
    if close:
        return f"these rows do not tell {found.ranked[0].module} from {', '.join(close)}: give more, or choose by size"
    return f"{found.ranked[0].module} is better than all others on these rows, and better than none"
