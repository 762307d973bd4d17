import hashlib
from pathlib import Path

import pytest

from petapter.task.examples import Example, read_examples, read_texts, rows_digest
from petapter_schemas.errors import DataError
from petapter_schemas.tables import MAX_CELL_CHARACTERS
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import SENTIMENT, TOPIC

MULTI = SENTIMENT.model_copy(update={"type": "multi-label"})
ODD = TaskSpec.model_validate(
    {"type": "multi-label", "labels": {"a|b": "great", "c\\d": "good", "e": "bad"}, "patterns": ["{text} {mask}"]}
)


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


def test_rows_without_a_weight_column_weigh_one(table: Path) -> None:
    table.write_text("text,label\nfine,pos\n", encoding="utf-8")
    assert read_examples(table, SENTIMENT)[0].weight == 1.0


@pytest.mark.parametrize(("cell", "weight"), [("2", 2.0), ("0.25", 0.25), (" 1e-3 ", 0.001)])
def test_weight_column_weighs_the_row(table: Path, cell: str, weight: float) -> None:
    table.write_text(f"text,label,weight\nfine,pos,{cell}\n", encoding="utf-8")
    assert read_examples(table, SENTIMENT) == [Example({"text": "fine"}, "pos", weight)]


@pytest.mark.parametrize("cell", ["", "0", "-1", "nan", "inf", "1e999", "1_0", "heavy"])
def test_weight_that_is_no_positive_number_is_refused_with_its_line(table: Path, cell: str) -> None:
    table.write_text(f"text,label,weight\nfine,pos,1\nbad,neg,{cell}\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 3: column 'weight' must be a number above 0"):
        read_examples(table, SENTIMENT)


def test_text_field_named_weight_is_a_text(table: Path) -> None:
    task = TaskSpec.model_validate(
        {"fields": ["weight"], "labels": {"pos": "great", "neg": "bad"}, "patterns": ["{weight} {mask}"]}
    )
    table.write_text("weight,label\nheavy,pos\n", encoding="utf-8")
    assert read_examples(table, task) == [Example({"weight": "heavy"}, "pos")]


@pytest.mark.parametrize("column", ["label", "labels"])
@pytest.mark.parametrize(
    ("cell", "labels"),
    [("pos", ("pos",)), ("neg|pos", ("pos", "neg")), (" neg | pos ", ("pos", "neg")), ("", ()), ("  ", ())],
)
def test_multi_label_cell_holds_names_and_empty_means_none(
    table: Path, column: str, cell: str, labels: tuple[str, ...]
) -> None:
    table.write_text(f"text,{column}\nfine,{cell}\n", encoding="utf-8")
    (example,) = read_examples(table, MULTI)
    assert example.label_names == example.labels == labels


def test_bars_and_backslashes_inside_names_are_escaped(table: Path) -> None:
    table.write_text("text,labels\nfine,c\\\\d|a\\|b\n", encoding="utf-8")
    assert read_examples(table, ODD)[0].labels == ("a|b", "c\\d")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("text,labels\nfine,pos|meh\n", "line 2: label 'meh' is not in the task"),
        ("text,labels\nfine,pos||neg\n", "line 2: column 'labels': a name between two bars is empty"),
        ("text,labels\nfine,|pos\n", "a name between two bars is empty"),
        ("text,labels\nfine,pos|\n", "a name between two bars is empty"),
        ("text,labels\nfine,pos\\n\n", "a backslash must be written"),
        ("text,labels\nfine,pos|pos\n", "a label is named twice"),
        ("text\nfine\n", "no column 'label' or 'labels'"),
        ("text,label,labels\nfine,pos,neg\n", "both columns 'label' and 'labels'"),
        ("text,labels\nfine\n", "line 2: column 'labels' must hold names of labels: leave it empty for none"),
        ("text,labels,labels\nfine,pos,pos\n", "column 'labels' twice"),
    ],
)
def test_unusable_multi_label_row_is_refused(table: Path, content: str, complaint: str) -> None:
    table.write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as refusal:
        read_examples(table, MULTI)
    assert complaint in str(refusal.value)


def test_label_and_labels_together_are_refused() -> None:
    with pytest.raises(DataError, match="give 'label' or 'labels'"):
        Example({"text": "a"}, "pos", labels=("pos",))


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".JSONL"])
def test_json_lines_are_read_as_the_csv_with_the_same_rows(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    lines = [
        '{"text": "one,\\n\\"two\\"", "label": "pos", "id": 7}',
        "",
        '{"label": "neg", "text": " NA ", "weight": 2}',
    ]
    path.write_text("\n".join(lines), encoding="utf-8-sig")
    assert read_examples(path, SENTIMENT) == [
        Example({"text": 'one,\n"two"'}, "pos"),
        Example({"text": "NA"}, "neg", 2.0),
    ]


def test_json_lines_hold_labels_as_a_list(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a", "labels": ["e", "a|b"]}\n{"text": "b", "labels": []}\n', encoding="utf-8")
    assert [example.labels for example in read_examples(path, ODD)] == [("a|b", "e"), ()]


def test_json_lines_of_texts_need_no_label(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "a"}\n', encoding="utf-8")
    assert read_texts(path, ("text",)) == [{"text": "a"}]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"text": "a"}', "line 2: column 'label' is empty"),
        ('{"text": "", "label": "pos"}', "line 2: column 'text' is empty"),
        ('{"text": "a", "label": null}', "line 2: column 'label' is empty"),
        ('{"text": 7, "label": "pos"}', "line 2: column 'text' holds a number where a text belongs"),
        ('{"text": "a", "label": ["pos"]}', "line 2: column 'label' holds a list where a text belongs"),
        ('{"text": "a", "label": "pos", "weight": true}', "line 2: column 'weight' must be a number above 0"),
        ('{"text": "a", "label": "pos", "label": "neg"}', "line 2 is no strict JSON: duplicate key 'label'"),
        ('{"text": "a", "label": "pos"', "line 2 is no strict JSON"),
        ('["a", "pos"]', "line 2 is no JSON object"),
        ('{"text": "\\ud800", "label": "pos"}', "line 2 is no strict JSON"),
    ],
)
def test_unusable_json_line_is_refused_with_its_place(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "fine", "label": "pos"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(DataError) as refusal:
        read_examples(path, SENTIMENT)
    assert complaint in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_json_lines_without_rows_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n\n", encoding="utf-8")
    with pytest.raises(DataError, match="has no rows: add some"):
        read_examples(path, SENTIMENT)


def test_json_text_of_more_than_the_largest_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"text": "{"x" * (MAX_CELL_CHARACTERS + 1)}", "label": "pos"}}', encoding="utf-8")
    with pytest.raises(DataError, match="field limit"):
        read_examples(path, SENTIMENT)


def test_digest_of_rows_without_weights_is_that_of_text_and_label() -> None:
    # by hand from schemas/README.md: canonical JSON of the sorted rows
    rows = [Example({"text": "b"}, "neg"), Example({"text": "a"}, "pos", 1.0)]
    expected = hashlib.sha256(b'[{"label":"neg","text":"b"},{"label":"pos","text":"a"}]').hexdigest()
    assert rows_digest(rows) == expected


def test_digest_of_weighted_rows_pairs_each_with_its_weight() -> None:
    rows = [Example({"text": "b"}, "neg", 2), Example({"text": "a"}, "pos")]
    expected = hashlib.sha256(b'[[{"label":"neg","text":"b"},2.0],[{"label":"pos","text":"a"},1.0]]').hexdigest()
    assert rows_digest(rows) == expected


def test_digest_of_several_labels_joins_their_names_in_ascending_order() -> None:
    rows = [Example({"text": "a"}, labels=("c|d", "b", "cc")), Example({"text": "b"}, labels=())]
    expected = hashlib.sha256(rb'[{"label":"","text":"b"},{"label":"b|cc|c\\|d","text":"a"}]').hexdigest()
    assert rows_digest(rows) == expected
