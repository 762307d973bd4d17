# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter predict`: many modules, one backbone, one pass."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from petapter_hub_client.commands.options import BackboneOption, JsonOption, prepare_torch
from petapter_hub_client.output import hush_huggingface, progress, say_json, say_table, warn
from petapter_schemas.errors import InputError

if TYPE_CHECKING:
    from petapter.runtime import Prediction
    from petapter_hub_client.local_runs import LocalModule

_SHOWN_CHARACTERS = 60


def predict(
    text: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="Texts to classify.")] = None,
    *,
    module: Annotated[list[str], typer.Option("--module", "-m", help="A directory or reference; may be repeated.")],
    input_: Annotated[
        Path | None, typer.Option("--input", "-i", metavar="TEXTS.csv", help="CSV with the modules' text fields.")
    ] = None,
    backbone: BackboneOption = None,
    check: Annotated[bool, typer.Option("--check", help="First reproduce each module's golden outputs.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Classify texts with one or more modules on one backbone."""
    prepare_torch("predict")
    from petapter_hub_client.local_runs import load_backbone, locate_modules, predict_all, shared_backbone

    hush_huggingface()
    with progress("predicting"):
        modules = locate_modules(module)
        texts = _texts(text or [], input_, modules)
        loaded = load_backbone(shared_backbone(backbone, [found.manifest for found in modules]))
        answers = predict_all(loaded, modules, texts, check=check)
    _warn_of_lost_tokens(answers)
    if as_json:
        say_json([_json(given, answer) for given, answer in zip(texts, answers, strict=True)])
    else:
        aliases = [found.alias for found in modules]
        rows = [_row(given, answer, aliases) for given, answer in zip(texts, answers, strict=True)]
        say_table(("text", *aliases), rows)


def _texts(words: list[str], file: Path | None, modules: "Sequence[LocalModule]") -> list[str | Mapping[str, str]]:
    from petapter.task import read_texts

    if file is not None:
        if words:
            raise InputError("give texts or --input, not both")
        fields = dict.fromkeys(field for module in modules for field in module.manifest.task.fields)
        return list(read_texts(file, tuple(fields)))
    if not words:
        raise InputError("there is nothing to classify: give texts, or --input FILE.csv")
    return list(words)


def _warn_of_lost_tokens(answers: "Sequence[Mapping[str, Prediction]]") -> None:
    cut = sum(any(prediction.lost_tokens for prediction in answer.values()) for answer in answers)
    if cut:
        warn(
            f"{cut} of {len(answers)} texts are longer than the backbone reads and were cut: see lost_tokens in --json"
        )


def _json(given: str | Mapping[str, str], answer: "Mapping[str, Prediction]") -> dict[str, object]:
    return {
        "fields": {"text": given} if isinstance(given, str) else dict(given),
        "predictions": [asdict(prediction) for prediction in answer.values()],
    }


def _row(
    given: str | Mapping[str, str], answer: "Mapping[str, Prediction]", aliases: Sequence[str]
) -> tuple[object, ...]:
    shown = given if isinstance(given, str) else " | ".join(given.values())
    short = shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[: _SHOWN_CHARACTERS - 1]}…"
    return (short, *(_answer_text(answer[alias]) for alias in aliases))


def _answer_text(prediction: "Prediction") -> str:
    if prediction.labels:
        return ", ".join(f"{label} {prediction.probabilities[label]:.2f}" for label in prediction.labels)
    return f"(abstains) {max(prediction.probabilities.values()):.2f}"
