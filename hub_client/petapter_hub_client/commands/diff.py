# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter diff`: what is different between two modules, and on given rows whether that matters."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from petapter_hub_client.commands.completion import complete_module
from petapter_hub_client.commands.options import BackboneOption, DeviceOption, JsonOption, prepare_torch
from petapter_hub_client.output import hush_huggingface, is_quiet, progress, say, say_json, say_table, size_text

if TYPE_CHECKING:
    from petapter_hub_client.differing import AnswerChanges, Difference
    from petapter_schemas.manifest import Interval

_CUT = 60


def diff(  # noqa: PLR0913 (a command's options)
    before: Annotated[
        str, typer.Argument(metavar="BEFORE", help="A module directory or reference.", autocompletion=complete_module)
    ],
    after: Annotated[
        str, typer.Argument(metavar="AFTER", help="Another, or another version.", autocompletion=complete_module)
    ],
    *,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="ROWS.csv", help="Labelled rows to ask both about; needs torch."),
    ] = None,
    flips: Annotated[int, typer.Option(min=0, help="Most rows shown that they answer differently.")] = 20,
    backbone: BackboneOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two modules: manifest, files, figures, weights by layer, and answers to labelled rows."""
    if data is not None:
        prepare_torch("diff --data")
    from petapter_hub_client.differing import diff as compare

    hush_huggingface()
    with progress("comparing"):
        found = compare(before, after, data=data, backbone=backbone, device=device)
    if as_json:
        say_json(_as_json(found))
    elif is_quiet():
        for path in (*(change.path for change in found.fields), *(change.path for change in found.files)):
            say(path)
    else:
        _show(found, flips)


def _as_json(found: "Difference") -> dict[str, object]:
    answers = found.answers
    return {
        "before": {"module": found.before, "digest": found.digest_before},
        "after": {"module": found.after, "digest": found.digest_after},
        "is_same": found.is_same,
        "fields": [change.model_dump(mode="json") for change in found.fields],
        "files": [change.model_dump(mode="json") for change in found.files],
        "metrics": [change.model_dump(mode="json") for change in found.metrics],
        "weights": [asdict(change) for change in found.weights],
        "answers": None
        if answers is None
        else {
            **asdict(answers),
            "interval_before": answers.interval_before.model_dump(mode="json"),
            "interval_after": answers.interval_after.model_dump(mode="json"),
        },
    }


def _show(found: "Difference", most_flips: int) -> None:
    say(f"before  {found.before}  sha256:{found.digest_before}")
    say(f"after   {found.after}  sha256:{found.digest_after}")
    if found.is_same:
        say("the two are the same, byte by byte")
    if found.fields:
        say("")
        rows = [(change.path, _cut(change.before), _cut(change.after)) for change in found.fields]
        say_table(("field", "before", "after"), rows)
    if found.files:
        say("")
        files = [(change.path, _size(change.size_before), _size(change.size_after)) for change in found.files]
        say_table(("file", "before", "after"), files)
    if found.metrics:
        say("")
        metrics = [
            (each.metric, f"{each.evaluation_set} ({each.sha256[:8]})", _value(each.before), _value(each.after))
            for each in found.metrics
        ]
        say_table(("metric", "set", "before", "after"), metrics)
    if not found.is_same and found.weights:
        say("")
        layers = [(each.layer, each.what, each.numbers, _change(each.change, each.why)) for each in found.weights]
        say_table(("layer", "", "numbers", "relative change"), layers)
    if found.answers is not None:
        _show_answers(found.answers, most_flips)


def _show_answers(answers: "AnswerChanges", most_flips: int) -> None:
    say("")
    say(
        f"accuracy on {answers.rows:,} rows: before {_share(answers.accuracy_before, answers.interval_before)}, after "
        f"{_share(answers.accuracy_after, answers.interval_after)}"
    )
    test = answers.test
    say(
        f"{test.first_only} rows are right before alone, {test.second_only} after alone: p = {test.p_value:.3g} "
        "(McNemar's exact test)"
    )
    if answers.flips and most_flips:
        say("")
        rows = [(flip.row, flip.label, flip.before, flip.after) for flip in answers.flips[:most_flips]]
        say_table(("row", "label", "before", "after"), rows)
        if (more := len(answers.flips) - len(rows)) > 0:
            say(f"and {more:,} more: --flips or --json shows them")


def _share(value: float, interval: "Interval") -> str:
    return f"{value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _cut(text: str | None) -> str:
    if text is None:
        return "-"
    return text if len(text) <= _CUT else f"{text[:_CUT]}…"


def _size(size: int | None) -> str:
    return "-" if size is None else size_text(size)


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _change(change: float | None, why: str | None) -> str:
    return why or "-" if change is None else f"{change:.3f}"
