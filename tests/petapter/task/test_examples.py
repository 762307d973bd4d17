from pathlib import Path

import pytest

from petapter.task.examples import MAX_CELL_CHARACTERS, Example, read_examples, read_texts, rows_digest
from petapter_schemas.errors import DataError
from tests.petapter.conftest import SENTIMENT, TOPIC


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "rows.csv"


def test_rows_are_read_in_order_with_field_and_label(table: Path) -> None:
    table.write_text("text,label\nfine,pos\nbad,neg\n", encoding="utf-8")
    assert read_examples(table, SENTIMENT) == [Example({"text": "fine"}, "pos"), Example({"text": "bad"}, "neg")]


def test_columns_may_stand_in_any_order_and_further_ones_are_ignored(table: Path) -> None:
    table.write_text("label,id,body,title\nsports,7,goal,match\n", encoding="utf-8")
    assert read_examples(table, TOPIC) == [Example({"title": "match", "body": "goal"}, "sports")]


@pytest.mark.parametrize("text", ["NA", "null", "None", "nan", "NaN", "N/A", "0", "1e3", "true", "-"])
def test_text_that_looks_like_a_missing_value_or_number_stays_text(table: Path, text: str) -> None:
    table.write_text(f"text,label\n{text},pos\n", encoding="utf-8")
    assert read_examples(table, SENTIMENT)[0].fields == {"text": text}


def test_byte_order_mark_is_no_part_of_the_first_column(table: Path) -> None:
    table.write_text("text,label\nfine,pos\n", encoding="utf-8-sig")
    assert read_examples(table, SENTIMENT)[0].fields == {"text": "fine"}


def test_quoted_newlines_commas_and_quotes_stay_in_the_cell(table: Path) -> None:
    table.write_text('text,label\n"one, ""two""\nthree",pos\n', encoding="utf-8", newline="")
    assert read_examples(table, SENTIMENT)[0].fields == {"text": 'one, "two"\nthree'}


def test_windows_line_ends_are_read(table: Path) -> None:
    table.write_bytes(b"text,label\r\nfine,pos\r\n")
    assert read_examples(table, SENTIMENT) == [Example({"text": "fine"}, "pos")]


def test_texts_need_no_label_column(table: Path) -> None:
    table.write_text("text\nfine\n", encoding="utf-8")
    assert read_texts(table, ("text",)) == [{"text": "fine"}]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"text,class\nfine,pos\n", "no column 'label'"),
        (b"words,label\nfine,pos\n", "no column 'text'"),
        (b"text,label\n,pos\n", "line 2: column 'text' is empty"),
        (b"text,label\n   ,pos\n", "line 2: column 'text' is empty"),
        (b"text,label\nfine\n", "line 2: column 'label' is empty"),
        (b"text,label\nfine,pos\nbad,meh\n", "line 3: label 'meh' is not in the task"),
        (b"text,label\nfine,Pos\n", "label 'Pos' is not in the task"),
        (b"text,label,text\nfine,pos,bad\n", "column 'text' twice"),
        ("text,label\ncaf\u00e9,pos\n".encode("latin-1"), "not UTF-8"),
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"text,label\n", "no rows"),
        (b'text,label\n"never closed,pos\n', "no readable CSV"),
    ],
)
def test_unusable_file_is_refused_with_its_place(table: Path, content: bytes, complaint: str) -> None:
    table.write_bytes(content)
    with pytest.raises(DataError, match=complaint) as refusal:
        read_examples(table, SENTIMENT)
    assert str(table) in str(refusal.value)


def test_line_number_counts_lines_of_the_file_when_cells_span_several(table: Path) -> None:
    table.write_text('text,label\n"one\ntwo",pos\n,neg\n', encoding="utf-8", newline="")
    with pytest.raises(DataError, match="line 4"):
        read_examples(table, SENTIMENT)


def test_cell_of_the_largest_size_is_read(table: Path) -> None:
    table.write_text(f"text,label\n{'x' * MAX_CELL_CHARACTERS},pos\n", encoding="utf-8")
    assert len(read_examples(table, SENTIMENT)[0].fields["text"]) == MAX_CELL_CHARACTERS


def test_larger_cell_is_refused(table: Path) -> None:
    table.write_text(f"text,label\n{'x' * (MAX_CELL_CHARACTERS + 1)},pos\n", encoding="utf-8")
    with pytest.raises(DataError, match="field limit"):
        read_examples(table, SENTIMENT)


def test_missing_file_is_a_data_error(table: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_examples(table, SENTIMENT)


def test_folder_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_examples(tmp_path, SENTIMENT)


def test_digest_does_not_depend_on_the_order_of_rows() -> None:
    rows = [Example({"text": text}, label) for text, label in [("a", "pos"), ("b", "neg"), ("a", "neg")]]
    assert rows_digest(rows) == rows_digest(rows[::-1])


def test_digest_changes_with_text_label_and_repetition() -> None:
    rows = [Example({"text": "a"}, "pos")]
    others = [[Example({"text": "b"}, "pos")], [Example({"text": "a"}, "neg")], rows * 2]
    assert rows_digest(rows) not in {rows_digest(other) for other in others}
