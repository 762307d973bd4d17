# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter evalset verify`, `hand-in` and `results`: measured again, said to others, and looked at."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from petapter_hub_client.commands.completion import complete_reference
from petapter_hub_client.commands.options import BackboneOption, DeviceOption, JsonOption, prepare_torch
from petapter_hub_client.commands.sign import ask_passphrase
from petapter_hub_client.exit_codes import ExitCode
from petapter_hub_client.output import (
    hush_huggingface,
    is_quiet,
    note,
    progress,
    report,
    say,
    say_json,
    say_table,
)
from petapter_schemas.errors import SignatureError

if TYPE_CHECKING:
    from petapter_hub_client.evaluation_results import CheckedResult
    from petapter_hub_client.handing_in import MeasuredModule
    from petapter_schemas.measuring_api import MeasuredFigure

SetArgument = Annotated[str, typer.Argument(metavar="SET", help="The evaluation set: [remote:]namespace/name[@1.0.0].")]
ModuleArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODULE", help="A published module of the same registry.", autocompletion=complete_reference
    ),
]
RowsOption = Annotated[
    Path | None,
    typer.Option("--rows", metavar="ROWS", help="The rows, .csv or .jsonl. Default: those that the registry has."),
]


_WORDS: dict[bool | None, str] = {True: "within", False: "outside", None: ""}


def verify(  # noqa: PLR0913 (a command's options)
    evaluation_set: SetArgument,
    module: ModuleArgument,
    *,
    rows: RowsOption = None,
    tolerance: Annotated[
        float | None, typer.Option(min=0, max=1, help="By how much a figure may differ from the declared one: 0.002.")
    ] = None,
    backbone: BackboneOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a published module on exactly these rows; exit code 10 if what it declares does not come out."""
    prepare_torch("evalset verify")
    from petapter_hub_client.handing_in import MeasureOptions, measure_on_set
    from petapter_schemas.evaluation_result import DEFAULT_TOLERANCE

    hush_huggingface()
    options = MeasureOptions(rows, backbone, device, DEFAULT_TOLERANCE if tolerance is None else tolerance)
    with progress("measuring"):
        found = measure_on_set(evaluation_set, module, options=options)
    if as_json:
        say_json({**_measured_json(found), "is_within": found.is_within})
    elif is_quiet():
        say({True: "within", False: "outside", None: "nothing declared"}[found.is_within])
    else:
        _show_measured(found)
    if found.is_within is False:
        raise typer.Exit(ExitCode.NOT_REPRODUCED)


def hand_in(  # noqa: PLR0913 (a command's options)
    evaluation_set: SetArgument,
    module: ModuleArgument,
    *,
    rows: RowsOption = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="NAME", help="Which key signs. Default: the only one.")
    ] = None,
    backbone: BackboneOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure likewise, sign what came out and give it to the registry: the figures are reproduced, or disputed.

    The rows stay here. Exit code 10 if the registry calls the figures disputed.
    """
    prepare_torch("evalset hand-in")
    from petapter_hub_client import handing_in
    from petapter_hub_client.signing.keys import find_own_key

    hush_huggingface()
    signer = find_own_key(key)
    passphrase = ask_passphrase(signer) if signer.has_passphrase else None  # before a bar is drawn over the question
    options = handing_in.MeasureOptions(rows, backbone, device)
    with progress("measuring"):
        done = handing_in.hand_in(
            evaluation_set, module, options=options, key=signer.name, passphrase=lambda _key: passphrase
        )
    if as_json:
        say_json(done.state.model_dump(mode="json"))
    elif is_quiet():
        say(done.state.status)
    else:
        _show_figures(done.state.figures)
        report(f"signed with key {done.key} and handed in: {done.measured.reference} is {done.state.status}")
    if not done.state.counts:
        note("a worker of the registry has measured the same: its result counts before this one")
    if done.state.status == "disputed":
        raise typer.Exit(ExitCode.NOT_REPRODUCED)


def results(module: ModuleArgument, *, as_json: JsonOption = False) -> None:
    """Show what was measured of a module, and whether the signatures under it hold; code 6 if one does not."""
    from petapter_hub_client.evaluation_results import list_results

    hush_huggingface()
    found = list_results(module)
    if as_json:
        say_json([
            {**each.state.model_dump(mode="json"), "signature": each.verdict, "signature_detail": each.detail}
            for each in found
        ])  # fmt: skip
    elif is_quiet():
        for each in found:
            say(f"{each.state.version or each.state.commit} {each.state.rows_sha256} {each.state.status}")
    elif found:
        _show_results(found)
    else:
        note(f"nothing was measured of {module} but by its author: 'petapter evalset hand-in' says what you find")
    if broken := next((each for each in found if each.verdict == "broken"), None):
        raise SignatureError(
            f"the result {broken.state.id} of {broken.state.module} has a signature that does not hold "
            f"({broken.detail}): do not believe it before whoever runs the registry has looked"
        )


def _measured_json(found: "MeasuredModule") -> dict[str, object]:
    said = found.detail.model_dump(mode="json")
    return {
        "reference": found.reference,
        "set": found.evaluation_set,
        "digest": found.statement.manifest_sha256,
        **said,
    }


def _show_measured(found: "MeasuredModule") -> None:
    detail = found.detail
    say_table(
        ("metric", "measured", "interval", "declared", ""),
        [
            _row(
                each.metric,
                each.value,
                (each.interval.low, each.interval.high),
                each.declared,
                _WORDS[each.is_within(detail.tolerance)],
            )
            for each in detail.figures
        ],
    )
    named = f"{found.reference} on the {detail.evaluation_set.n} rows of {found.evaluation_set}"
    if found.is_within is None:
        report(f"{named}: the module declares nothing on them")
    else:
        verdict = "is what it declares" if found.is_within else "is not what it declares"
        report(f"{named}: {verdict}, within {detail.tolerance:g}" if found.is_within else f"{named}: {verdict}")


def _show_figures(figures: "Sequence[MeasuredFigure]") -> None:
    say_table(
        ("metric", "measured", "interval", "declared", ""),
        [
            _row(each.metric, each.value, (each.low, each.high), each.declared, _WORDS[each.is_within])
            for each in figures
        ],
    )


def _row(
    metric: str, value: float, interval: tuple[float, float], declared: float | None, verdict: str
) -> tuple[str, ...]:
    low, high = interval
    return (metric, f"{value:.4f}", f"{low:.4f} to {high:.4f}", "-" if declared is None else f"{declared:.4f}", verdict)


def _show_results(found: "Sequence[CheckedResult]") -> None:
    say_table(
        ("version", "rows", "n", "status", "counts", "by", "signature"),
        [
            (
                each.state.version or each.state.commit[:12], each.state.rows_sha256[:12], each.state.n,
                each.state.status, "yes" if each.state.counts else "-", each.state.by,
                each.detail if each.verdict in {"worker", "trusted"} else f"{each.verdict}: {each.detail}",
            )
            for each in found
        ],
    )  # fmt: skip
