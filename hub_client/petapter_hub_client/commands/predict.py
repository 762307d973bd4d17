# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter predict`: many modules, one backbone, one pass."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from petapter_hub_client.commands.options import BackboneOption, JsonOption, prepare_torch
from petapter_hub_client.output import OnStep, hush_huggingface, progress, say, say_json, say_table, warn
from petapter_schemas.errors import InputError

if TYPE_CHECKING:
    from petapter.backbone import Backbone
    from petapter.runtime import Prediction
    from petapter.runtime.files import FileProgress, FileReport, FileRun, OnProgress
    from petapter_hub_client.local_runs import LocalModule

_SHOWN_CHARACTERS = 60
_PARTS = 1000


def predict(  # noqa: PLR0913 (a command's options)
    text: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="Texts to classify.")] = None,
    *,
    module: Annotated[list[str], typer.Option("--module", "-m", help="A directory or reference; may be repeated.")],
    input_: Annotated[
        Path | None,
        typer.Option("--input", "-i", metavar="TEXTS", help="The modules' text fields: .csv, .jsonl or .parquet."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="ANSWERS", help="Write answers to a .csv, .jsonl or .parquet file."),
    ] = None,
    keep_columns: Annotated[
        str, typer.Option("--keep-columns", metavar="NAME,…", help="Columns of --input that --output bears too.")
    ] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --output, at the end.")] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Throw away what a run that was stopped left of --output.")
    ] = False,
    backbone: BackboneOption = None,
    check: Annotated[bool, typer.Option("--check", help="First reproduce each module's golden outputs.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Classify texts with one or more modules on one backbone."""
    prepare_torch("predict")
    hush_huggingface()
    asked = _Asked(module, backbone, check=check, as_json=as_json)
    if output is not None:
        if text or input_ is None:
            raise InputError("--output goes with --input FILE and without texts: give one file")
        keep = tuple(dict.fromkeys(name for name in keep_columns.split(",") if name))
        _predict_file(asked, _Files(input_, output, keep, overwrite=overwrite, restart=restart))
        return
    if keep_columns or overwrite or restart:
        raise InputError("--keep-columns, --overwrite and --restart are about --output: give it too")
    _predict_texts(asked, text or [], input_)


@dataclass(frozen=True)
class _Asked:
    """What is asked of the modules, whatever the texts."""

    modules: Sequence[str]
    backbone: str | None
    check: bool
    as_json: bool

    def locate(self) -> "list[LocalModule]":
        """The modules, pulled if need be."""
        from petapter_hub_client.local_runs import locate_modules

        return locate_modules(self.modules)

    def load_backbone(self, modules: "Sequence[LocalModule]") -> "Backbone":
        """The backbone they share."""
        from petapter_hub_client.local_runs import load_backbone, shared_backbone

        return load_backbone(shared_backbone(self.backbone, [module.manifest for module in modules]))


@dataclass(frozen=True)
class _Files:
    """Where texts come from and answers go."""

    input: Path
    output: Path
    keep: tuple[str, ...]
    overwrite: bool
    restart: bool

    def run(self, modules: "Sequence[LocalModule]") -> "FileRun":
        """The run over the file, checked as far as that goes without reading it."""
        from petapter.runtime.files import FileRun
        from petapter_hub_client.local_runs import file_modules

        known = file_modules(modules)
        return FileRun(self.input, self.output, known, self.keep, overwrite=self.overwrite, restart=self.restart)


def _predict_texts(asked: _Asked, words: list[str], file: Path | None) -> None:
    from petapter_hub_client.local_runs import predict_all

    with progress("predicting"):
        modules = asked.locate()
        texts = _texts(words, file, modules)
        answers = predict_all(asked.load_backbone(modules), modules, texts, check=asked.check)
    _warn_of_cut_texts(sum(map(_is_cut, answers)), len(answers), "lost_tokens in --json")
    if asked.as_json:
        say_json([_json(given, answer) for given, answer in zip(texts, answers, strict=True)])
    else:
        aliases = [found.alias for found in modules]
        rows = [_row(given, answer, aliases) for given, answer in zip(texts, answers, strict=True)]
        say_table(("text", *aliases), rows)


def _predict_file(asked: _Asked, files: _Files) -> None:
    from petapter_hub_client.local_runs import predict_file

    with progress("predicting") as on_step:
        modules = asked.locate()
        run = files.run(modules)
        report = predict_file(asked.load_backbone(modules), modules, run, _shown(on_step), check=asked.check)
    _say_report(report, as_json=asked.as_json)


def _shown(on_step: OnStep) -> "OnProgress":
    """Show rows done and, of this run, rows per second."""
    begun: tuple[float, int] | None = None

    def told(done: "FileProgress") -> None:
        nonlocal begun
        start, rows = begun = begun or (time.monotonic(), done.rows)
        rate = f", {(done.rows - rows) / (time.monotonic() - start):,.0f} rows/s" if done.rows > rows else ""
        on_step(round(done.share * _PARTS), _PARTS, f"{done.rows:,} rows{rate}")

    return told


def _say_report(report: "FileReport", *, as_json: bool) -> None:
    _warn_of_cut_texts(report.cut, report.rows, f"lost_tokens in {report.output}")
    if as_json:
        errors = None if report.errors is None else str(report.errors)
        say_json(
            {
                "output": str(report.output),
                "rows": report.rows,
                "unread": report.broken,
                "cut": report.cut,
                "errors": errors,
            }
        )
    else:
        say(f"{report.rows - report.broken:,} rows answered in {report.output}")
    if report.broken:
        raise InputError(f"{report.broken} of {report.rows} rows could not be read: {report.errors} says which and why")


def _texts(words: list[str], file: Path | None, modules: "Sequence[LocalModule]") -> list[str | Mapping[str, str]]:
    from petapter.task import read_texts

    if file is not None:
        if words:
            raise InputError("give texts or --input, not both")
        if file.suffix.lower() == ".parquet":
            raise InputError(f"{file} is Parquet: give --output FILE too, for the answers")
        fields = dict.fromkeys(field for module in modules for field in module.manifest.task.fields)
        return list(read_texts(file, tuple(fields)))
    if not words:
        raise InputError("there is nothing to classify: give texts, or --input FILE.csv")
    return list(words)


def _is_cut(answer: "Mapping[str, Prediction]") -> bool:
    return any(prediction.lost_tokens for prediction in answer.values())


def _warn_of_cut_texts(cut: int, texts: int, where: str) -> None:
    if cut:
        warn(f"{cut} of {texts} texts are longer than the backbone reads and were cut: see {where}")


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
