"""The plan alone: every item runs once, tokens of a module stand together, and nothing is larger than it may be."""

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petapter.runtime.plan import Item, Pack, plan, sum_before

items = st.lists(
    st.builds(
        Item,
        bank=st.sampled_from([None, 0, 1, 2]),
        module=st.integers(0, 6),
        pattern=st.integers(0, 2),
        length=st.integers(1, 60),
    ),
    max_size=40,
).map(lambda found: [Item(item.bank, 10 * (item.bank or 0) + item.module, item.pattern, item.length) for item in found])


@given(items, st.integers(1, 200), st.booleans())
def test_every_item_runs_once_and_passes_are_not_larger_than_they_may_be(
    found: list[Item], limit: int, apart: bool
) -> None:
    packs = plan(found, limit, apart=apart)
    assert sorted(number for pack in packs for number in pack.order) == list(range(len(found)))
    for pack in packs:
        assert pack.tokens <= limit or len(pack.order) == 1
        assert pack.starts == tuple(sum_before(pack.lengths))
        for place, number in enumerate(pack.order):
            assert pack.lengths[place] >= found[number].length


@given(items, st.integers(30, 400))
def test_spans_hold_exactly_the_tokens_of_their_modules(found: list[Item], limit: int) -> None:
    for pack in plan(found, limit):
        module_of = {
            token: (found[number].bank, found[number].module)
            for start, number in zip(pack.starts, pack.order, strict=True)
            for token in range(start, start + found[number].length)
        }
        told: dict[int, tuple[int | None, int]] = {}
        for span in pack.spans:
            begins = (0, *span.ends[:-1])
            for module, begin, end in zip(span.modules, begins, span.ends, strict=True):
                assert begin < end
                told |= dict.fromkeys(range(span.start + begin, span.start + end), (span.bank, module))
        assert told == {token: owner for token, owner in module_of.items() if owner[0] is not None}
        assert len({span.bank for span in pack.spans}) == len(pack.spans)


@given(items, st.integers(30, 400))
def test_groups_cover_all_places_and_hold_one_pattern_of_one_module(found: list[Item], limit: int) -> None:
    for pack in plan(found, limit):
        assert pack.groups[0].first == 0
        assert pack.groups[-1].last == len(pack.order)
        assert all(one.last == other.first for one, other in pairwise(pack.groups))
        for group in pack.groups:
            own = [found[number] for number in pack.order[group.first : group.last]]
            assert {(item.module, item.pattern) for item in own} == {(group.module, group.pattern)}


def bucket_lengths(pack: Pack) -> list[list[int]]:
    return [[pack.lengths[place] for place in bucket] for bucket in pack.buckets]


@given(items, st.integers(30, 2000))
def test_buckets_hold_every_place_once_and_few_gaps(found: list[Item], limit: int) -> None:
    for pack in plan(found, limit):
        assert sorted(place for bucket in pack.buckets for place in bucket) == list(range(len(pack.order)))
        for lengths in bucket_lengths(pack):
            assert len(lengths) <= 8 or sum(lengths) >= 0.9 * max(lengths) * len(lengths)


def test_equal_lengths_attend_in_one_call() -> None:
    (pack,) = plan([Item(None, 0, 0, 20)] * 50, 4096)
    assert bucket_lengths(pack) == [[20] * 50]


def test_mixed_lengths_are_padded_by_few_tokens() -> None:
    draw = random.Random(0)  # noqa: S311 (of a test)
    lengths = [min(128, max(4, round(draw.lognormvariate(3.6, 0.7)))) for _ in range(400)]
    packs = plan([Item(None, 0, 0, length) for length in lengths], 4096)
    padded = sum(max(of) * len(of) for pack in packs for of in bucket_lengths(pack))
    assert padded < 1.1 * sum(lengths)


def test_apart_passes_hold_one_module_padded_to_its_longest() -> None:
    found = [Item(0, module, 0, length) for module in (0, 1) for length in (3, 5)]
    packs = plan(found, 100, apart=True)
    assert [pack.lengths for pack in packs] == [(5, 5), (5, 5)]
    assert [pack.spans[0].modules for pack in packs] == [(0,), (1,)]


def test_nothing_to_run_is_no_pass() -> None:
    assert plan([], 100) == []


@pytest.mark.parametrize("limit", [1, 10])
def test_item_that_is_larger_than_a_pass_runs_alone(limit: int) -> None:
    assert [pack.order for pack in plan([Item(None, 0, 0, 30), Item(None, 0, 0, 40)], limit)] == [(0,), (1,)]


@given(items, st.lists(st.integers(0, 4), min_size=40, max_size=40), st.integers(30, 300))
def test_trunk_holds_each_text_once_and_only_of_items_that_may_share_it(
    found: list[Item], texts: list[int], limit: int
) -> None:
    chosen = [
        replace(item, text=text, length=10 + text, lowest=item.bank or 0)
        for item, text in zip(found, texts, strict=False)
    ]
    packs = plan(chosen, limit)
    assert sorted(number for pack in packs for number in pack.order) == list(range(len(chosen)))
    for pack in packs:
        own = [chosen[number] for number in pack.order]
        if pack.trunk is None:
            continue
        assert {item.lowest for item in own} == {pack.trunk.layers}
        like = [chosen[number] for number in pack.trunk.order]
        assert len({item.text for item in like}) == len(like) < len(own)
        assert pack.trunk.lengths == tuple(item.length for item in like)
        assert pack.trunk.starts == tuple(sum_before(pack.trunk.lengths))
        for item, place in zip(own, pack.trunk.place_of, strict=True):
            assert like[place].text == item.text


def test_texts_of_many_modules_go_together() -> None:
    chosen = [Item(0, module, 0, 10, text=text, lowest=3) for module in range(4) for text in range(6)]
    packs = plan(chosen, 80)
    assert all(pack.trunk is not None and len(pack.trunk.order) == 2 for pack in packs)
    assert len(packs) == 3
