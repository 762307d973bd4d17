# ruff: noqa: PLC0415 (torch is imported when a run starts, so that --help stays fast)
"""What `predict` and `stack predict` share: texts or a file in, answers of all modules out, shown or written."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from petapter_hub_client.output import OnStep, progress, say, say_json, say_table, warn
from petapter_schemas.errors import InputError

if TYPE_CHECKING:
    from petapter.backbone import Backbone, Precision
    from petapter.runtime import Prediction
    from petapter.runtime.files import FileProgress, FileReport, FileRun, OnProgress
    from petapter.runtime.ray_cluster import Cluster
    from petapter_hub_client.backbones import ResolvedBackbone
    from petapter_hub_client.local_runs import LocalModule

_SHOWN_CHARACTERS = 60
_PARTS = 1000


@dataclass(frozen=True)
class EngineChoice:
    """Which engine answers a file or trains members, and of Ray where it is and how many workers."""

    name: Literal["local", "ray"]
    ray_address: str | None
    ray_workers: int | None

    def cluster(self) -> "Cluster | None":
        """The cluster, if one is to answer.

        Raises:
            InputError: The options do not go together, or Ray is missing.
        """
        from petapter.runtime.ray_cluster import Cluster

        return Cluster(self.ray_address, self.ray_workers) if self.name == "ray" else None

    def check(self) -> None:
        """Refuse options that do not go together.

        Raises:
            InputError: They do not.
        """
        if self.name != "ray" and (self.ray_address is not None or self.ray_workers is not None):
            raise InputError("--ray-address and --ray-workers are about --engine ray: give it too")


@dataclass(frozen=True)
class Question:
    """What is asked, whatever the modules: the options that both commands have.

    Attributes:
        texts: From the command line.
        input: A file of texts instead.
        output: A file for the answers, which needs `input`.
        keep_columns: Names joined by commas, which `output` bears too.
        overwrite: Replace `output`.
        restart: Throw away what a stopped run left.
        engine: Which engine answers a file.
        check: First reproduce golden outputs.
        precision: Of the backbone's layers.
        as_json: Say JSON.
        device: Where the backbone runs.
    """

    texts: Sequence[str]
    input: Path | None
    output: Path | None
    keep_columns: str
    overwrite: bool
    restart: bool
    engine: EngineChoice
    check: bool
    precision: "Precision"
    as_json: bool
    device: str | None = None


@dataclass(frozen=True)
class Found:
    """The modules that answer, on this machine.

    Attributes:
        modules: In the order of their answers.
        find_backbone: Called once the rest of the question turned out well.
    """

    modules: "Sequence[LocalModule]"
    find_backbone: "Callable[[], ResolvedBackbone]"

    def load_backbone(self, question: Question) -> "Backbone":
        """The backbone they share, on the device and in the precision that are asked for."""
        from petapter_hub_client.local_runs import load_backbone

        return load_backbone(self.find_backbone(), question.precision, device=question.device)


def answer(question: Question, find: Callable[[], Found]) -> None:
    """Answer a question on standard output or in a file.

    Args:
        question: What is asked.
        find: Fetches the modules; called once the options turned out to go together.

    Raises:
        PetapterError: Options do not go together, or anything else prevents an answer.
    """
    question.engine.check()
    if question.engine.name == "ray" and question.output is None:
        raise InputError("--engine ray answers files: give --input FILE and --output FILE")
    if question.device is not None and question.engine.name == "ray":
        raise InputError("--device is about --engine local: Ray gives its workers their devices")
    if question.output is not None:
        if question.texts or question.input is None:
            raise InputError("--output goes with --input FILE and without texts: give one file")
        _answer_file(question, question.input, question.output, find)
        return
    if question.keep_columns or question.overwrite or question.restart:
        raise InputError("--keep-columns, --overwrite and --restart are about --output: give it too")
    _answer_texts(question, find)


def _answer_texts(question: Question, find: Callable[[], Found]) -> None:
    from petapter_hub_client.local_runs import predict_all

    with progress("predicting"):
        found = find()
        texts = _texts(question, found.modules)
        answers = predict_all(found.load_backbone(question), found.modules, texts, check=question.check)
    _warn_of_cut_texts(sum(map(_is_cut, answers)), len(answers), "lost_tokens in --json")
    if question.as_json:
        say_json([_json(given, answer) for given, answer in zip(texts, answers, strict=True)])
    else:
        aliases = [module.alias for module in found.modules]
        rows = [_row(given, answer, aliases) for given, answer in zip(texts, answers, strict=True)]
        say_table(("text", *aliases), rows)


def _answer_file(question: Question, source: Path, target: Path, find: Callable[[], Found]) -> None:
    from petapter_hub_client.local_runs import predict_file, predict_file_on_ray, ray_module_set

    cluster = question.engine.cluster()
    with progress("predicting") as on_step:
        found = find()
        run = _file_run(question, source, target, found.modules)
        shown = _shown(on_step)
        if cluster is None:
            report = predict_file(found.load_backbone(question), found.modules, run, shown, check=question.check)
        else:
            module_set = ray_module_set(found.find_backbone(), found.modules, question.precision, check=question.check)
            report = predict_file_on_ray(module_set, run, cluster, shown)
    _say_report(report, as_json=question.as_json)


def _file_run(question: Question, source: Path, target: Path, modules: "Sequence[LocalModule]") -> "FileRun":
    """The run over the file, checked as far as that goes without reading it."""
    from petapter.runtime.files import FileRun
    from petapter_hub_client.local_runs import file_modules

    keep = tuple(dict.fromkeys(name for name in question.keep_columns.split(",") if name))
    known = file_modules(modules)
    return FileRun(source, target, known, keep, overwrite=question.overwrite, restart=question.restart)


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


def _texts(question: Question, modules: "Sequence[LocalModule]") -> list[str | Mapping[str, str]]:
    from petapter.task import read_texts

    file = question.input
    if file is not None:
        if question.texts:
            raise InputError("give texts or --input, not both")
        if file.suffix.lower() == ".parquet":
            raise InputError(f"{file} is Parquet: give --output FILE too, for the answers")
        fields = dict.fromkeys(field for module in modules for field in module.manifest.task.fields)
        return list(read_texts(file, tuple(fields)))
    if not question.texts:
        raise InputError("there is nothing to classify: give texts, or --input FILE.csv")
    return list(question.texts)


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
