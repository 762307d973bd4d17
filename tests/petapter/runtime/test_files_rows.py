"""Readers of files that need not fit the memory: the same rows however they are cut, and every kind of broken row."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petapter.runtime.files import chunks as chunking
from petapter.runtime.files.chunks import Chunk, chunk_rows, chunks
from petapter.runtime.files.csv_rows import CsvRows
from petapter.runtime.files.input_row import InputRow
from petapter.runtime.files.json_rows import JsonRows
from petapter.runtime.files.lines import Lines
from petapter.runtime.files.rows import open_rows
from petapter.task import read_texts
from petapter_schemas.errors import DataError

CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
FILES = st.lists(st.tuples(CELLS, CELLS), max_size=12)
ODD_BYTES = st.lists(
    st.sampled_from([b"a", b"1,b", b',"', b'"', b'""', b"\n", b"\r\n", b"\xff", b"\xc3\xa9", b",", b" "]), max_size=40
).map(b"".join)


def csv_rows(data: bytes) -> list[InputRow]:
    return list(CsvRows(Lines(io.BytesIO(data), Path("x.csv"), len(data)), Path("x.csv"), ("text",)).rows())


def json_rows(data: bytes) -> list[InputRow]:
    return list(JsonRows(Lines(io.BytesIO(data), Path("x.jsonl"), len(data))).rows())


def flat(parts: list[Chunk]) -> list[object]:
    rows = [row for part in parts for row in (*part.rows, *part.broken)]
    return sorted(rows, key=lambda row: row.number)


def written(rows: list[tuple[str, str]]) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerows([("id", "text"), *rows])
    return stream.getvalue().encode()


@given(rows=FILES, size=st.integers(1, 15))
@settings(max_examples=100, deadline=None)
def test_chunks_of_any_size_hold_the_same_rows_as_one(rows: list[tuple[str, str]], size: int) -> None:
    read = csv_rows(written(rows))
    parts = list(chunks(read, ("text",), ("id",), size))
    assert flat(parts) == flat(list(chunks(read, ("text",), ("id",), 1000)))
    assert all(part.size == size for part in parts[:-1])
    assert sum(part.size for part in parts) == len(read)


@given(rows=FILES)
@settings(max_examples=100, deadline=None)
def test_whole_rows_are_read_as_the_csv_module_reads_them(rows: list[tuple[str, str]]) -> None:
    read = csv_rows(written(rows))
    assert [(row.cells["id"], row.cells["text"]) for row in read] == rows
    assert [row.number for row in read] == list(range(1, len(rows) + 1))


@given(data=ODD_BYTES)
@settings(max_examples=200, deadline=None)
def test_any_bytes_behind_the_header_are_rows_or_broken_rows_in_ascending_lines(data: bytes) -> None:
    read = csv_rows(b"id,text\n" + data)
    lines = [row.line or 0 for row in read]
    assert lines == sorted(set(lines))
    assert all(line <= 1 + len(data.split(b"\n")) for line in lines)
    assert all(bool(row.cells) == (row.reason is None) for row in read)


def test_line_is_where_the_row_begins_behind_cells_with_line_breaks_and_quotes() -> None:
    read = csv_rows(b'id,text\n1,"two\nlines, ""quoted"""\n\n2,plain\n')
    assert [(row.number, row.line, row.cells["text"]) for row in read] == [
        (1, 2, 'two\nlines, "quoted"'),
        (2, 5, "plain"),
    ]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"2\n", "has 1 cells where the header has 2"),
        (b"2,two,extra\n", "has 3 cells where the header has 2"),
        (b"2,caf\xe9\n", "is not UTF-8"),
        (b'2,"a"b\n', "is no readable CSV (',' expected after '\"')"),
        (b'2,"never closed\n', "is no readable CSV (unexpected end of data)"),
        (b'2,"' + b"x" * 1_000_001 + b'"\n', "is no readable CSV (field larger than field limit (1000000))"),
    ],
)
def test_broken_csv_row_costs_no_other_row(bad: bytes, reason: str) -> None:
    read = csv_rows(b"id,text\n1,one\n" + bad + b"3,three\n4,four\n")
    assert [row.number for row in read if row.reason is None] == [1, 3, 4]
    assert [(row.number, row.line, row.reason) for row in read if row.reason] == [(2, 3, reason)]


def test_bad_byte_in_a_cell_of_several_lines_breaks_that_row_alone() -> None:
    read = csv_rows(b'id,text\n1,"one\n\xff,x\n"\n2,two\n')
    assert [(row.number, row.line, row.reason) for row in read] == [(1, 2, "is not UTF-8"), (2, 5, None)]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"[1]\n", "is no JSON object"),
        (b"null\n", "is no JSON object"),
        (b'{"text": "secret"\n', "is no JSON (character 19)"),
        (b'{"text": "\xff"}\n', "is not UTF-8 (byte 11)"),
        (b'{"secret": 1, "secret": 2}\n', "is no strict JSON"),
        (b'{"text": "\\ud800"}\n', "is no strict JSON"),
        (b"[" * 5000 + b"\n", "is no strict JSON"),
    ],
)
def test_broken_json_line_costs_no_other_line(bad: bytes, reason: str) -> None:
    read = json_rows(b'{"text": "one"}\n\n' + bad + b'{"text": "three"}\n')
    assert [(row.number, row.line) for row in read if row.reason is None] == [(1, 1), (3, 4)]
    (broken,) = [row for row in read if row.reason]
    assert (broken.number, broken.line) == (2, 3)
    assert str(broken.reason).startswith(reason)
    assert "secret" not in str(broken.reason)


def test_line_that_is_too_long_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("petapter.runtime.files.lines.MAX_LINE_BYTES", 20)
    read = json_rows(b'{"text": "' + b"x" * 100 + b'"}\n{"text": "two"}\n')
    assert [(row.line, row.reason is None) for row in read] == [(1, False), (2, True)]


@pytest.mark.parametrize("value", ["", "  ", None, 7, ["a"]])
def test_row_without_a_text_is_broken(value: object) -> None:
    (part,) = chunks([InputRow(1, 2, {"text": value}), InputRow(2, 3, {"text": "fine"})], ("text",), (), 10)
    assert [row.number for row in part.rows] == [2]
    assert "column 'text'" in part.broken[0].reason


def test_row_without_the_field_is_broken() -> None:
    (part,) = chunks([InputRow(1, 2, {"title": "a"})], ("title", "body"), (), 10)
    assert "column 'body' is empty" in part.broken[0].reason


def test_texts_are_those_that_read_texts_gives(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'\xef\xbb\xbfid,text\r\n1, NA \r\n2,"a\r\nb"\r\n')
    with open_rows(path, ("text",)) as reader:
        (part,) = chunks(reader.rows(), ("text",), (), 10)
    assert [row.fields for row in part.rows] == read_texts(path, ("text",))


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "is empty"),
        (b"id,body\n", "has no column 'text'"),
        (b"text,text\n", "has column 'text' twice"),
        (b"\xfftext\n", "the header is not UTF-8"),
        (b'"text\n', "the header is no readable CSV"),
    ],
)
def test_file_that_cannot_be_read_at_all_is_refused(data: bytes, cause: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(data)
    with pytest.raises(DataError, match=cause), open_rows(path, ("text",)):
        pass


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"), open_rows(tmp_path / "none.csv", ("text",)):
        pass


class CountingStream(io.BytesIO):
    """Counts the bytes that were taken from it."""

    taken = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        data = super().readline(size)
        self.taken += len(data)
        return data


@pytest.mark.parametrize(("form", "count"), [("csv", 200_000), ("jsonl", 20_000)])
def test_no_more_than_a_chunk_of_a_large_file_is_read_ahead(form: str, count: int) -> None:
    line = b"7,short\n" if form == "csv" else json.dumps({"text": "short"}).encode() + b"\n"
    stream = CountingStream((b"id,text\n" if form == "csv" else b"") + line * count)
    lines = Lines(stream, Path("rows"), len(stream.getvalue()))
    rows = CsvRows(lines, Path("rows"), ("text",)).rows() if form == "csv" else JsonRows(lines).rows()
    done = 0
    for part in chunks(rows, ("text",), (), 1000):
        done += part.size
        assert stream.taken <= len(line) * (done + 1)
    assert done == count


def test_long_texts_close_a_chunk_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunking, "MAX_CHARACTERS", 10)
    rows: Iterator[Any] = (InputRow(number, number, {"text": "1234"}) for number in range(1, 8))
    assert [part.size for part in chunks(rows, ("text",), (), 100)] == [3, 3, 1]


def test_many_modules_make_smaller_chunks() -> None:
    assert [chunk_rows(modules) for modules in (1, 8, 16, 100, 10_000)] == [4096, 4096, 2048, 327, 256]
