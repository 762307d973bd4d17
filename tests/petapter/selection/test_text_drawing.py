"""Texts are drawn from a file in one pass, each with the same chance, and fetched whole by their numbers."""

import json
from collections import Counter
from pathlib import Path

import pytest

from petapter.selection.near_duplicates import near_duplicate_groups
from petapter.selection.text_drawing import draw_texts, texts_at
from petapter_schemas.errors import DataError


@pytest.fixture
def many(tmp_path: Path) -> Path:
    path = tmp_path / "many.csv"
    path.write_text("id,text\n" + "".join(f"{number},text {number}\n" for number in range(1, 101)))
    return path


def test_all_texts_of_a_small_file_are_drawn_in_their_order(many: Path) -> None:
    drawn = draw_texts(many, ["text"], 100, seed=0)
    assert [text.row for text in drawn.texts] == list(range(1, 101))
    assert [text.fields["text"] for text in drawn.texts[:2]] == ["text 1", "text 2"]
    assert (drawn.readable, drawn.broken) == (100, 0)


def test_of_a_larger_file_as_many_are_drawn_each_with_the_same_chance(many: Path) -> None:
    count = Counter(text.row for seed in range(400) for text in draw_texts(many, ["text"], 10, seed=seed).texts)
    assert sum(count.values()) == 4000
    assert len(count) == 100
    # 40 each on average, standard deviation 6: five of them to either side
    assert all(10 < number < 70 for number in count.values())
    assert abs(sum(count[row] for row in range(1, 51)) - 2000) < 160


def test_the_seed_decides(many: Path) -> None:
    once, again, other = (draw_texts(many, ["text"], 5, seed=seed) for seed in (3, 3, 4))
    assert once == again
    assert once != other


def test_rows_without_text_are_counted_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    path.write_text('text\nfirst\n""\n"a, b"\none,two\n')
    drawn = draw_texts(path, ["text"], 10, seed=0)
    assert [(text.row, text.fields["text"]) for text in drawn.texts] == [(1, "first"), (3, "a, b")]
    assert (drawn.readable, drawn.broken) == (2, 2)
    assert drawn.first_broken is not None
    assert drawn.first_broken.number == 2


def test_long_texts_are_kept_in_part_and_fetched_whole(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    long = "word " * 10_000 + "end"
    path.write_text("\n".join(json.dumps({"text": text}) for text in ("short", long)))
    drawn = draw_texts(path, ["text"], 10, seed=0)
    assert len(drawn.texts[1].fields["text"]) == 20_000
    assert texts_at(path, ["text"], [2]) == {2: {"text": long}}


def test_a_file_without_a_text_is_one_line(tmp_path: Path) -> None:
    for name, content, message in (
        ("empty.csv", "", "is empty: it needs a header line with text"),
        ("header.csv", "text\n", "holds no text"),
        ("other.csv", "body\nx\n", "has no column 'text'"),
        ("other.jsonl", '{"body": "x"}\n', "holds no text .row 1 column 'text' is empty"),
        ("nothing.jsonl", "", "holds no text"),
    ):
        path = tmp_path / name
        path.write_text(content)
        with pytest.raises(DataError, match=message):
            draw_texts(path, ["text"], 5, seed=0)
    with pytest.raises(DataError, match="cannot be read"):
        draw_texts(tmp_path / "none.csv", ["text"], 5, seed=0)


def test_a_file_that_has_become_shorter_is_one_line(many: Path) -> None:
    with pytest.raises(DataError, match="was changed while it was read"):
        texts_at(many, ["text"], [1, 101])


def test_texts_that_share_nearly_all_runs_of_words_belong_together() -> None:
    texts = ["One two three four five six.", "seven", "one TWO three four five six", "Seven!", "eight nine ten"]
    assert list(near_duplicate_groups(texts)) == [[0, 2], [1, 3], [4]]
