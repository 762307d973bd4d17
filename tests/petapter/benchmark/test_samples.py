import hashlib
import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petapter import Example
from petapter.benchmark.samples import SALT, Drawing, draw_samples, draw_test_rows
from petapter_schemas.errors import DataError

LABELS = ("a", "b", "c")


def rows(per_label: int, labels: tuple[str, ...] = LABELS) -> list[Example]:
    return [Example({"text": f"text {index} of {label}"}, label) for label in labels for index in range(per_label)]


def place(row: Example) -> str:
    """An independent writing of the rule: sha256 over compact JSON of the salt and the row."""
    text = json.dumps([SALT, {"label": row.label, "text": row.fields["text"]}], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def texts(sample_rows: tuple[Example, ...]) -> set[str]:
    return {row.fields["text"] for row in sample_rows}


def test_first_sample_takes_the_rows_with_the_smallest_hashes() -> None:
    pool = rows(20)
    first = draw_samples(pool, LABELS, Drawing([6], 1))[0]
    expected = {
        row.fields["text"] for label in LABELS for row in sorted((r for r in pool if r.label == label), key=place)[:2]
    }
    assert texts(first.rows) == expected


def test_drawn_rows_never_change() -> None:
    drawn = draw_samples(rows(20), LABELS, Drawing([4, 10], 2))
    assert [(sample.size, sample.index, sample.digest[:12]) for sample in drawn] == [
        (4, 0, "217b1c1df753"),
        (4, 1, "02356a537876"),
        (10, 0, "d8dd3d3e09ce"),
        (10, 1, "8836f35bd43f"),
    ]


def test_order_of_the_file_does_not_matter() -> None:
    pool = rows(20)
    drawing = Drawing([10], 3)
    forwards, backwards = draw_samples(pool, LABELS, drawing), draw_samples(pool[::-1], LABELS, drawing)
    assert [sample.rows for sample in forwards] == [sample.rows for sample in backwards]


@settings(max_examples=40, deadline=None)
@given(
    labels=st.integers(2, 7),
    sizes=st.lists(st.integers(7, 40), min_size=1, max_size=3),
    samples=st.integers(1, 5),
)
def test_samples_are_nested_disjoint_and_as_equal_as_can_be(labels: int, sizes: list[int], samples: int) -> None:
    names = tuple(f"l{index}" for index in range(labels))
    drawn = draw_samples(rows(5 * 40, names), names, Drawing(sizes, samples))
    assert len(drawn) == len(set(sizes)) * samples
    for sample in drawn:
        counts = Counter(row.label for row in sample.rows)
        assert sum(counts.values()) == sample.size
        assert {counts[name] for name in names} <= {sample.size // labels, -(-sample.size // labels)}
        larger = next(other for other in drawn if other.size == max(sizes) and other.index == sample.index)
        assert texts(sample.rows) <= texts(larger.rows)
        others = [other for other in drawn if other.size == sample.size and other.index != sample.index]
        assert all(not texts(sample.rows) & texts(other.rows) for other in others)
        assert sample.shared == 0


def test_every_class_gets_the_extra_row_in_turn() -> None:
    drawn = draw_samples(rows(20), LABELS, Drawing([4], 3))
    extras = [Counter(row.label for row in sample.rows).most_common(1)[0][0] for sample in drawn]
    assert sorted(extras) == ["a", "b", "c"]


def test_ten_rows_of_ten_classes_are_one_each() -> None:
    names = tuple("abcdefghij")
    (sample,) = draw_samples(rows(3, names), names, Drawing([10], 1))
    assert Counter(row.label for row in sample.rows) == dict.fromkeys(names, 1)


def test_fewer_rows_than_classes_are_refused() -> None:
    with pytest.raises(DataError, match=r"n=2 is less than the 3 labels"):
        draw_samples(rows(9), LABELS, Drawing([2, 6], 1))


def test_repeated_rows_count_once() -> None:
    with pytest.raises(
        DataError, match=r"has 2 different rows, 1 samples of 9 need 3: choose fewer samples or a smaller n$"
    ):
        draw_samples(rows(2) * 5, LABELS, Drawing([9], 1, overlap=True))


def test_too_few_rows_for_disjoint_samples_are_refused() -> None:
    with pytest.raises(DataError, match="'overlap: true'"):
        draw_samples(rows(5), LABELS, Drawing([9], 2))


def test_allowed_overlap_is_counted() -> None:
    drawn = draw_samples(rows(5), LABELS, Drawing([9], 2, overlap=True))
    assert drawn[0].shared == 0
    assert drawn[1].shared == len(texts(drawn[0].rows) & texts(drawn[1].rows)) == 3


def test_another_salt_draws_other_rows() -> None:
    one, other = (draw_samples(rows(50), LABELS, Drawing([9], 1, salt=salt))[0] for salt in ("x", "y"))
    assert one.digest != other.digest


def test_test_rows_are_the_first_by_hash_and_a_smaller_set_is_part_of_a_larger() -> None:
    pool = rows(10)
    assert draw_test_rows(pool, None) == tuple(sorted(pool, key=place))
    assert draw_test_rows(pool[::-1], 4) == draw_test_rows(pool, 9)[:4]
