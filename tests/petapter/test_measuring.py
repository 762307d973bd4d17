"""Measuring a directory gives what the engine says of the same rows, and refuses what is not what it was told."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from petapter import Backbone, Engine, TrainedModule, measuring
from petapter.measuring import main, measure_directory
from petapter.module import ModuleInfo, save_module
from petapter.task import Example, rows_digest
from petapter_schemas.errors import (
    BackboneMismatchError,
    DataError,
    DigestMismatchError,
    GoldenMismatchError,
    PetapterError,
)
from petapter_schemas.evaluation_rows import rows_bytes
from petapter_schemas.manifest import MANIFEST_FILE, EvaluationSet, manifest_digest
from petapter_schemas.measurement import (
    BAD_INPUT_CODE,
    MODULE_FOLDER,
    OUT_OF_MEMORY_CODE,
    ROWS_FILE,
    TASK_FILE,
    MeasuringTask,
    parse_measurement,
)
from tests.petapter.conftest import SENTIMENT_ROWS

TaskOf = Callable[..., Path]


@pytest.fixture
def task_of(tmp_path: Path, sentiment: TrainedModule, directories: dict[str, Path]) -> TaskOf:
    """Writes a directory for the module `sentiment`; what is given stands in the place of what is right."""

    def write(
        *,
        module: TrainedModule = sentiment,
        rows: Sequence[Example] = SENTIMENT_ROWS,
        backbone: str = "bert",
        digest: str | None = None,
        n: int = 6,
    ) -> Path:
        directory = tmp_path / "task"
        directory.mkdir()
        save_module(module, directory / MODULE_FOLDER, ModuleInfo("sentiment"))
        cells = [{**row.fields, "label": row.label} for row in rows]
        (directory / ROWS_FILE).write_bytes(rows_bytes(cells))
        named = EvaluationSet(name="team/reviews", sha256=rows_digest(SENTIMENT_ROWS), split="test", n=n)
        right = manifest_digest((directory / MODULE_FOLDER / MANIFEST_FILE).read_bytes())
        task = MeasuringTask(module_sha256=digest or right, backbone=str(directories[backbone]), evaluation_set=named)
        (directory / TASK_FILE).write_text(task.model_dump_json(), encoding="utf-8")
        return directory

    return write


def test_measurement_is_what_the_engine_says(task_of: TaskOf, sentiment: TrainedModule, bert: Backbone) -> None:
    measured = measure_directory(task_of())
    with Engine(bert) as engine:
        engine.load(sentiment, "it")
        examined = engine.examine("it", SENTIMENT_ROWS, name="team/reviews", split="test")
    assert [(each.metric, each.value) for each in measured.figures] == [
        (each.metric, pytest.approx(each.value, abs=1e-6)) for each in examined.figures
    ]
    assert {"accuracy", "macro_f1"} <= {each.metric for each in measured.figures}
    assert measured.figures[0].interval.low <= measured.figures[0].value <= measured.figures[0].interval.high
    assert examined.confusion is not None
    assert (measured.labels, measured.confusion) == (("pos", "neg"), examined.confusion.counts)
    assert {"torch", "transformers", "petapter"} <= measured.libraries.keys()


def test_rows_that_are_not_those_of_the_digest_are_refused(task_of: TaskOf) -> None:
    other = [*SENTIMENT_ROWS[:-1], Example({"text": "no business in that market"}, "pos")]
    with pytest.raises(DataError, match=r"the rows of team/reviews are not those of its digest: 6 rows of sha256"):
        measure_directory(task_of(rows=other))


def test_number_of_rows_that_is_not_the_promised_one_is_refused(task_of: TaskOf) -> None:
    with pytest.raises(DataError, match="and it says 7 of"):
        measure_directory(task_of(n=7))


def test_module_of_another_digest_is_refused(task_of: TaskOf) -> None:
    with pytest.raises(DigestMismatchError, match=r"has the digest [0-9a-f]{12}…, not 000000000000…"):
        measure_directory(task_of(digest="0" * 64))


def test_backbone_with_other_weights_is_refused(task_of: TaskOf) -> None:
    with pytest.raises(BackboneMismatchError, match="weights"):
        measure_directory(task_of(backbone="other-bert"))


def test_module_with_a_changed_weight_is_refused(task_of: TaskOf) -> None:
    directory = task_of()
    weights = directory / MODULE_FOLDER / "adapter_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(DigestMismatchError, match=r"adapter_model\.safetensors"):
        measure_directory(directory)


def test_module_that_answers_otherwise_than_it_says_is_refused(task_of: TaskOf, sentiment: TrainedModule) -> None:
    """Every digest holds: its author promised another answer than it gives."""
    first, *others = sentiment.golden.probes
    other = first.model_copy(update={"log_probabilities": first.log_probabilities[::-1]})
    lying = replace(sentiment, golden=sentiment.golden.model_copy(update={"probes": (other, *others)}))
    with pytest.raises(GoldenMismatchError):
        measure_directory(task_of(module=lying))


def test_program_prints_a_measurement_or_one_line_and_its_exit_code(
    task_of: TaskOf, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = task_of()
    monkeypatch.setattr(sys, "argv", ["measuring", str(directory)])
    main()
    assert parse_measurement(capsys.readouterr().out.encode()).evaluation_set.name == "team/reviews"
    (directory / ROWS_FILE).write_bytes(b'{"label":"odd","text":"one"}\n')
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert (ended.value.code, said.out, said.err.count("\n")) == (BAD_INPUT_CODE, "", 1)
    assert "label 'odd' is not in the task" in said.err


@pytest.mark.parametrize(
    ("error", "code"),
    [(MemoryError(), OUT_OF_MEMORY_CODE), (RuntimeError("can't allocate memory: 9 bytes"), OUT_OF_MEMORY_CODE)],
)
def test_program_without_memory_says_so_by_its_exit_code(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The errors that Python and torch raise there."""

    def fail(_directory: Path) -> None:
        raise error

    monkeypatch.setattr(measuring, "measure_directory", fail)
    monkeypatch.setattr(sys, "argv", ["measuring", "directory"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().err) == (code, "there is not enough memory\n")


def test_program_settles_its_process_before_it_measures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[str] = []

    def refuse(_directory: Path) -> None:
        done.append("measured")
        raise PetapterError("no such task")

    monkeypatch.setattr(measuring, "settle", lambda: done.append("settled"))
    monkeypatch.setattr(measuring, "measure_directory", refuse)
    monkeypatch.setattr(sys, "argv", ["measuring", "directory"])
    with pytest.raises(SystemExit):
        main()
    assert (done, capsys.readouterr().err) == (["settled", "measured"], "no such task\n")


def test_program_that_has_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_directory: Path) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(measuring, "measure_directory", fail)
    monkeypatch.setattr(sys, "argv", ["measuring", "directory"])
    with pytest.raises(RuntimeError, match="a bug"):
        main()


def test_task_of_a_later_version_is_refused(task_of: TaskOf) -> None:
    directory = task_of()
    document = json.loads((directory / TASK_FILE).read_bytes())
    (directory / TASK_FILE).write_text(json.dumps(document | {"schema_version": 2}), encoding="utf-8")
    with pytest.raises(PetapterError, match="format version 2; this petapter reads 1"):
        measure_directory(directory)
