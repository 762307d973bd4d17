"""Files through the engine with tiny modules: what is written, what a kill leaves, and what is refused."""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from petapter import Backbone, Engine, TrainedModule
from petapter.runtime.files import FileModule, FileProgress, FileReport, FileRun, predict_file
from petapter_schemas.errors import DataError, InputError
from tests.petapter.conftest import SENTIMENT, TOPIC

TEXTS = ["a fine game", "the bank was bad", "good team, good ball", 'it was "great"', "not a\nbad price"]
DIGESTS = {"mood": "a" * 64, "plain": "b" * 64, "topic": "c" * 64}
MOODS = (FileModule("mood", SENTIMENT, DIGESTS["mood"]), FileModule("plain", SENTIMENT, DIGESTS["plain"]))


class Stopped(Exception):  # noqa: N818 (what a test does to a run)
    """Ends a run between two chunks."""


@pytest.fixture
def engine(bert: Backbone, sentiment: TrainedModule, head_only: TrainedModule) -> Iterator[Engine]:
    with Engine(bert) as engine:
        engine.load(sentiment, "mood")
        engine.load(head_only, "plain")
        yield engine


def write_texts(path: Path, count: int) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        rows = [(number, TEXTS[number % len(TEXTS)]) for number in range(1, count + 1)]
        csv.writer(stream).writerows([("id", "text"), *rows])
    return path


@pytest.fixture
def run(tmp_path: Path) -> FileRun:
    """23 rows, two modules, answers as JSON Lines."""
    return FileRun(write_texts(tmp_path / "texts.csv", 23), tmp_path / "answers.jsonl", MOODS, keep=("id",))


def stopped_after(rows: int) -> Callable[[FileProgress], None]:
    def told(progress: FileProgress) -> None:
        if progress.rows >= rows:
            raise Stopped

    return told


def json_lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def left(run: FileRun) -> list[str]:
    """What lies beside input and output."""
    names = (path.name for path in run.output.parent.iterdir())
    return sorted(name for name in names if name not in (run.input.name, run.output.name))


def stop(engine: Engine, run: FileRun, rows: int = 8) -> None:
    with pytest.raises(Stopped):
        predict_file(engine, run, most_rows=4, on_progress=stopped_after(rows))


def test_every_row_has_the_answers_of_every_module(engine: Engine, run: FileRun) -> None:
    report = predict_file(engine, run, most_rows=5)
    assert report == FileReport(run.output, 23, 0, 0, None)
    lines = json_lines(run.output)
    assert [(line["row"], line["columns"]) for line in lines] == [(n, {"id": str(n)}) for n in range(1, 24)]
    expected = engine.predict_all([TEXTS[number % len(TEXTS)] for number in range(1, 24)])
    for line, said in zip(lines, expected, strict=True):
        for alias, prediction in said.items():
            answer = line["answers"][alias]
            assert answer["label"] == prediction.label
            assert answer["probabilities"] == pytest.approx(prediction.probabilities, abs=1e-5)
            assert answer["probability"] == answer["probabilities"][answer["label"]]
            assert "lost_tokens" not in answer
    assert left(run) == []


def test_progress_tells_rows_on_the_disk_and_ends_at_the_whole_file(engine: Engine, run: FileRun) -> None:
    told: list[FileProgress] = []
    predict_file(engine, run, most_rows=10, on_progress=told.append)
    assert [progress.rows for progress in told] == [0, 10, 20, 23]
    assert told[-1].share == 1


def test_texts_encoded_ahead_are_answered_alike(engine: Engine, run: FileRun, monkeypatch: pytest.MonkeyPatch) -> None:
    beside = replace(run, output=run.output.with_name("beside.jsonl"))
    predict_file(engine, run, most_rows=8)
    monkeypatch.setattr(engine._runner, "ways", replace(engine._runner.ways, ahead=3))
    predict_file(engine, beside, most_rows=8)
    for here, there in zip(json_lines(beside.output), json_lines(run.output), strict=True):
        two = [[row["answers"][alias]["probabilities"] for alias in ("mood", "plain")] for row in (here, there)]
        assert all(one == pytest.approx(other, abs=1e-5) for one, other in zip(*two, strict=True))


def test_csv_has_one_column_for_each_label(engine: Engine, run: FileRun, tmp_path: Path) -> None:
    run = replace(run, output=tmp_path / "answers.csv", keep=("text",))
    predict_file(engine, run, most_rows=5)
    with run.output.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, strict=True))
    assert list(rows[0]) == [
        "row", "text",
        "mood.label", "mood.probability", "mood.lost_tokens", "mood.probability.pos", "mood.probability.neg",
        "plain.label", "plain.probability", "plain.lost_tokens", "plain.probability.pos", "plain.probability.neg",
    ]  # fmt: skip
    assert [row["text"] for row in rows] == [TEXTS[number % len(TEXTS)] for number in range(1, 24)]
    assert all(row["mood.probability"] == row[f"mood.probability.{row['mood.label']}"] for row in rows)
    assert {row["mood.lost_tokens"] for row in rows} == {""}


def test_modules_of_different_fields_share_a_file(
    bert: Backbone, sentiment: TrainedModule, topic: TrainedModule, tmp_path: Path
) -> None:
    source = tmp_path / "in.jsonl"
    row = {"text": "good", "title": "the match", "body": "a goal"}
    source.write_text("".join(f"{json.dumps(row | change)}\n" for change in ({}, {"body": None}, {"body": "a " * 99})))
    modules = (MOODS[0], FileModule("topic", TOPIC, DIGESTS["topic"]))
    with Engine(bert) as engine:
        engine.load(sentiment, "mood")
        engine.load(topic, "topic")
        report = predict_file(engine, FileRun(source, tmp_path / "out.jsonl", modules))
    first, third = json_lines(tmp_path / "out.jsonl")
    assert (first["row"], third["row"], report.broken, report.cut) == (1, 3, 1, 1)
    assert third["answers"]["topic"]["lost_tokens"] > 0
    assert "lost_tokens" not in third["answers"]["mood"]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_stopped_run_goes_on_to_the_same_bytes(suffix: str, engine: Engine, run: FileRun, tmp_path: Path) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    whole = replace(run, output=tmp_path / f"whole{suffix}")
    predict_file(engine, whole, most_rows=4)
    run = replace(run, output=tmp_path / f"answers{suffix}")
    stop(engine, run)
    assert not run.output.exists()
    told: list[int] = []
    predict_file(engine, run, most_rows=4, on_progress=lambda progress: told.append(progress.rows))
    assert told[0] == 8
    assert run.output.read_bytes() == whole.output.read_bytes()
    assert not [path for path in tmp_path.iterdir() if ".part" in path.name]


def test_torn_end_of_the_part_is_cut_off(engine: Engine, run: FileRun, tmp_path: Path) -> None:
    whole = replace(run, output=tmp_path / "whole.jsonl")
    predict_file(engine, whole, most_rows=4)
    stop(engine, run)
    with (tmp_path / "answers.jsonl.part").open("ab") as stream:
        stream.write(b'{"row": 9, "answ')
    predict_file(engine, run, most_rows=4)
    assert run.output.read_bytes() == whole.output.read_bytes()


def test_part_that_lost_bytes_is_not_gone_on_with(engine: Engine, run: FileRun, tmp_path: Path) -> None:
    stop(engine, run)
    (tmp_path / "answers.jsonl.part").write_bytes(b"{}\n")
    with pytest.raises(InputError, match="--restart"):
        predict_file(engine, run, most_rows=4)


BROKEN = {3: "3\n", 6: "6,\n", 9: '9,"a"b\n', 14: "14,x,y\n"}


@pytest.fixture
def broken_run(run: FileRun) -> FileRun:
    """The same rows, four of them broken."""
    lines = ["id,text\n", *(BROKEN.get(number, f"{number},a fine game\n") for number in range(1, 24))]
    run.input.write_text("".join(lines), encoding="utf-8")
    return run


def test_broken_rows_are_listed_and_the_others_answered(engine: Engine, broken_run: FileRun) -> None:
    report = predict_file(engine, broken_run, most_rows=5)
    errors = broken_run.output.with_name("answers.jsonl.errors.jsonl")
    assert report == FileReport(broken_run.output, 23, 4, 0, errors)
    assert [(line["row"], line["line"]) for line in json_lines(errors)] == [(number, number + 1) for number in BROKEN]
    assert all(line["reason"] for line in json_lines(errors))
    assert [line["row"] for line in json_lines(broken_run.output)] == [n for n in range(1, 24) if n not in BROKEN]


@pytest.mark.parametrize("rows", [1, 4, 8, 12, 16, 20])
def test_list_of_broken_rows_survives_a_stop(rows: int, engine: Engine, broken_run: FileRun, tmp_path: Path) -> None:
    stop(engine, broken_run, rows)
    torn = tmp_path / "answers.jsonl.errors.jsonl.part"
    torn.write_bytes((torn.read_bytes() if torn.exists() else b"") + b'{"row": 9')
    report = predict_file(engine, broken_run, most_rows=4)
    assert report.errors is not None
    assert [line["row"] for line in json_lines(report.errors)] == list(BROKEN)
    assert left(broken_run) == ["answers.jsonl.errors.jsonl"]


def test_file_of_broken_rows_alone_gives_an_empty_output(engine: Engine, run: FileRun) -> None:
    run.input.write_text("id,text\n1\n2\n", encoding="utf-8")
    assert predict_file(engine, run).broken == 2
    assert run.output.read_bytes() == b""


def test_replaced_output_takes_its_old_list_of_broken_rows_along(engine: Engine, broken_run: FileRun) -> None:
    report = predict_file(engine, broken_run)
    write_texts(broken_run.input, 3)
    assert predict_file(engine, replace(broken_run, overwrite=True)).rows == 3
    assert report.errors is not None
    assert not report.errors.exists()


def other_input(run: FileRun) -> FileRun:
    write_texts(run.input, 22)
    return run


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (other_input, "another input"),
        (lambda run: replace(run, modules=run.modules[::-1]), "other modules"),
        (lambda run: replace(run, modules=(replace(run.modules[0], sha256="d" * 64), run.modules[1])), "other modules"),
        (lambda run: replace(run, keep=()), "other columns to keep"),
    ],
)
def test_part_of_another_run_is_refused_and_restart_throws_it_away(
    change: Callable[[FileRun], FileRun], cause: str, engine: Engine, run: FileRun
) -> None:
    stop(engine, run)
    before = {path.name: path.read_bytes() for path in run.output.parent.iterdir()}
    changed = change(run)
    with pytest.raises(InputError, match=f"{cause}: --restart"):
        predict_file(engine, changed, most_rows=4)
    after = {path.name: path.read_bytes() for path in run.output.parent.iterdir()}
    assert {name: after[name] for name in before if ".part" in name} == {
        name: data for name, data in before.items() if ".part" in name
    }
    report = predict_file(engine, replace(changed, restart=True), most_rows=4)
    assert len(json_lines(run.output)) == report.rows
    assert left(run) == []


def test_part_in_another_precision_is_refused_and_goes_on_in_its_own(
    engine: Engine, run: FileRun, directories: dict[str, Path], sentiment: TrainedModule, head_only: TrainedModule
) -> None:
    rough = Backbone.load(directories["bert"], device="cpu", precision="bfloat16")
    with Engine(rough) as other:
        other.load(sentiment, "mood")
        other.load(head_only, "plain")
        stop(other, run)
        with pytest.raises(InputError, match="another precision of the backbone, bfloat16: --restart"):
            predict_file(engine, run, most_rows=4)
        assert predict_file(other, run, most_rows=4).rows == 23


def test_checkpoint_that_names_no_precision_is_of_float32(engine: Engine, run: FileRun, tmp_path: Path) -> None:
    stop(engine, run)
    path = tmp_path / "answers.jsonl.part.json"
    document = json.loads(path.read_text())
    assert document["run"].pop("precision") == "float32"
    path.write_text(json.dumps(document))
    assert predict_file(engine, run, most_rows=4).rows == 23


def test_the_same_bytes_elsewhere_are_the_same_input(engine: Engine, run: FileRun, tmp_path: Path) -> None:
    stop(engine, run)
    moved = run.input.rename(tmp_path / "moved.csv")
    assert predict_file(engine, replace(run, input=moved), most_rows=4).rows == 23


def test_part_without_checkpoint_is_not_overwritten(engine: Engine, run: FileRun, tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl.part").write_text("somebody's")
    with pytest.raises(InputError, match="--restart throws it away"):
        predict_file(engine, run)
    assert (tmp_path / "answers.jsonl.part").read_text() == "somebody's"


def test_damaged_checkpoint_is_refused(engine: Engine, run: FileRun, tmp_path: Path) -> None:
    stop(engine, run)
    (tmp_path / "answers.jsonl.part.json").write_text("{}")
    with pytest.raises(InputError, match="--restart"):
        predict_file(engine, run)


def test_output_that_exists_is_replaced_only_on_request_and_only_at_the_end(engine: Engine, run: FileRun) -> None:
    run.output.write_text("mine")
    with pytest.raises(InputError, match=r"exists.*--overwrite"):
        predict_file(engine, run)
    stop(engine, replace(run, overwrite=True))
    assert run.output.read_text() == "mine"
    predict_file(engine, replace(run, overwrite=True), most_rows=4)
    assert len(json_lines(run.output)) == 23


def test_output_that_appears_meanwhile_is_kept_and_so_is_the_part(engine: Engine, run: FileRun) -> None:
    def told(progress: FileProgress) -> None:
        if progress.rows == 23:
            run.output.write_text("mine")

    with pytest.raises(InputError, match="exists"):
        predict_file(engine, run, on_progress=told)
    assert run.output.read_text() == "mine"
    assert predict_file(engine, replace(run, overwrite=True)).rows == 23
    assert len(json_lines(run.output)) == 23


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("step", ["errors", "answers", "discard"])
def test_end_that_was_cut_short_is_done_by_the_next_run(
    step: str, suffix: str, engine: Engine, broken_run: FileRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    whole = replace(broken_run, output=tmp_path / f"whole{suffix}")
    predict_file(engine, whole, most_rows=4)
    run = replace(broken_run, output=tmp_path / f"answers{suffix}")
    cut_short(step, monkeypatch)
    with pytest.raises(Stopped):
        predict_file(engine, run, most_rows=4)
    monkeypatch.undo()
    report = predict_file(engine, run, most_rows=4)
    assert run.output.read_bytes() == whole.output.read_bytes()
    assert report.errors is not None
    assert [line["row"] for line in json_lines(report.errors)] == list(BROKEN)
    assert not [path for path in tmp_path.iterdir() if ".part" in path.name]


def cut_short(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """End the run before broken rows, or answers, get their name, or before the rest is removed."""

    def stopped(*_arguments: object) -> None:
        raise Stopped

    where = "petapter.runtime.files.running"
    if step == "errors":
        monkeypatch.setattr(f"{where}.GrowingFile.publish", stopped)
    elif step == "answers":
        monkeypatch.setattr(f"{where}.TextAnswers.publish", stopped)
        monkeypatch.setattr(f"{where}.ParquetAnswers.publish", stopped)
    else:
        monkeypatch.setattr(f"{where}._Files._discard", stopped)


@pytest.mark.parametrize(
    ("data", "cause"), [(b"", "is empty"), (b"id,text\n", "has no rows"), (b"id\n1\n", "no column")]
)
def test_file_without_rows_is_refused_and_nothing_stays(data: bytes, cause: str, engine: Engine, run: FileRun) -> None:
    run.input.write_bytes(data)
    with pytest.raises(DataError, match=cause):
        predict_file(engine, run)
    assert left(run) == []
    assert not run.output.exists()


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"output": Path("answers.xlsx")}, "must end in"),
        ({"output": Path("nowhere/answers.csv")}, "is no directory"),
        ({"keep": ("row",), "output": Path("answers.csv")}, "column 'row' twice"),
    ],
)
def test_run_that_cannot_work_is_refused_before_anything_is_read(
    change: dict[str, Any], cause: str, run: FileRun
) -> None:
    with pytest.raises(InputError, match=cause):
        replace(run, **change)


def test_input_is_never_the_output(run: FileRun) -> None:
    with pytest.raises(InputError, match="input itself"):
        replace(run, output=run.input, overwrite=True)


def test_missing_column_to_keep_is_refused(engine: Engine, run: FileRun) -> None:
    with pytest.raises(DataError, match="no column 'uid'"):
        predict_file(engine, replace(run, keep=("uid",)))


def test_second_run_to_the_same_output_is_refused(engine: Engine, run: FileRun) -> None:
    with FileLock(run.output.with_name("answers.jsonl.part.lock")), pytest.raises(InputError, match="another run"):
        predict_file(engine, run)


def test_full_disk_is_one_line_and_the_run_can_go_on(
    engine: Engine, run: FileRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop(engine, run)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("petapter.runtime.files.sinks.os.fsync", full)
    with pytest.raises(InputError, match=r"No space left.*goes on where it was"):
        predict_file(engine, run, most_rows=4)
    monkeypatch.undo()
    assert predict_file(engine, run, most_rows=4).rows == 23
