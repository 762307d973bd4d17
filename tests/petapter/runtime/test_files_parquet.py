"""Parquet in and out, where pyarrow is installed."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from petapter import Backbone, Engine, TrainedModule
from petapter.runtime.files import FileModule, FileProgress, FileRun, predict_file
from petapter.runtime.files.rows import open_rows
from petapter_schemas.errors import DataError, InputError
from tests.petapter.conftest import SENTIMENT

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

MODULE = FileModule("mood", SENTIMENT, "a" * 64)


@pytest.fixture
def run(tmp_path: Path) -> FileRun:
    texts = ["a fine game", None, "the bank was bad", " ", "good ball", "a bad price"]
    pq.write_table(pa.table({"id": list(range(6)), "text": texts, "unused": [{"a": 1}] * 6}), tmp_path / "in.parquet")
    return FileRun(tmp_path / "in.parquet", tmp_path / "out.parquet", (MODULE,), keep=("id",))


@pytest.fixture
def engine(bert: Backbone, sentiment: TrainedModule) -> Iterator[Engine]:
    with Engine(bert) as engine:
        engine.load(sentiment, "mood")
        yield engine


def test_parquet_goes_in_and_comes_out(engine: Engine, run: FileRun) -> None:
    report = predict_file(engine, run, most_rows=2)
    table = pq.read_table(run.output)
    assert table.column("row").to_pylist() == [1, 3, 5, 6]
    assert table.column("id").to_pylist() == ["0", "2", "4", "5"]
    assert set(table.column("mood.label").to_pylist()) <= {"pos", "neg"}
    assert str(table.schema.field("mood.probability.pos").type) == "float"
    assert table.column("mood.lost_tokens").to_pylist() == [None] * 4
    assert pq.ParquetFile(run.output).num_row_groups == 3
    assert report.errors is not None
    assert report.errors.read_text().splitlines() == [
        '{"row": 2, "reason": "column \'text\' is empty: fill it in or drop the row"}',
        '{"row": 4, "reason": "column \'text\' is empty: fill it in or drop the row"}',
    ]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_parquet_gives_the_answers_of_the_same_rows_as_text(
    suffix: str, engine: Engine, run: FileRun, tmp_path: Path
) -> None:
    predict_file(engine, replace(run, output=tmp_path / f"a{suffix}"), most_rows=2)
    source = tmp_path / "in.csv"
    source.write_text('id,text\n0,a fine game\n1,""\n2,the bank was bad\n3," "\n4,good ball\n5,a bad price\n')
    predict_file(engine, replace(run, input=source, output=tmp_path / f"b{suffix}"), most_rows=2)
    found, expected = ((tmp_path / f"{name}{suffix}").read_text() for name in "ab")
    assert found.replace('"id": ', "").replace('"', "") == expected.replace('"id": ', "").replace('"', "")


def test_row_groups_are_read_one_after_another(run: FileRun) -> None:
    with open_rows(run.input, ("text",)) as reader:
        rows = reader.rows()
        assert [next(rows).cells for _ in range(3)][2] == {"text": "the bank was bad"}
        assert reader.share == 0.5


def test_stray_files_of_a_killed_chunk_are_replaced(engine: Engine, run: FileRun, tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def told(progress: FileProgress) -> None:
        if progress.rows == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        predict_file(engine, run, most_rows=2, on_progress=told)
    parts = tmp_path / "out.parquet.part"
    (parts / "00000002.parquet").write_bytes(b"torn")
    (parts / "00000003.tmp").write_bytes(b"torn")
    predict_file(engine, run, most_rows=2)
    assert pq.read_table(run.output).column("row").to_pylist() == [1, 3, 5, 6]
    assert not parts.exists()


def test_text_that_is_not_utf8_is_a_broken_row(tmp_path: Path) -> None:
    bad = pa.array([b"fine", b"\xff"]).cast(pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": bad}), tmp_path / "bad.parquet")
    with open_rows(tmp_path / "bad.parquet", ("text",)) as reader:
        assert [row.reason for row in reader.rows()] == [None, "column 'text' is not UTF-8"]


def test_damaged_or_other_files_are_refused(run: FileRun, tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_text("text\nfine\n")
    with pytest.raises(DataError, match="no readable Parquet"), open_rows(tmp_path / "bad.parquet", ("text",)):
        pass
    with pytest.raises(DataError, match="no column 'body'"), open_rows(run.input, ("body",)):
        pass


def test_without_pyarrow_the_remedy_is_named(run: FileRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("petapter.runtime.files.parquet.find_spec", lambda _name: None)
    with pytest.raises(InputError, match=r"petapter\[parquet\]"):
        replace(run, keep=())
