"""Passes filled up to few shapes: every text keeps its tokens, and what fills up belongs to nobody who is asked."""

from hypothesis import given
from hypothesis import strategies as st

from petapter.runtime.plan import Item, pack_of, plan
from petapter.runtime.shapes import Filled, filled
from tests.petapter.runtime.test_plan import items


@given(items.filter(bool), st.integers(30, 4000))
def test_texts_stand_in_their_order_and_sections_are_full(found: list[Item], limit: int) -> None:
    for pack in plan(found, limit):
        made = filled(pack, frozenset(), 70)
        assert [place for place, _ in made.texts if place is not None] == list(range(len(pack.order)))
        start = 0
        for place, length in made.texts:
            if place is not None:
                assert (made.starts[place], length) == (start, pack.lengths[place])
            assert 0 < length <= made.shape.longest <= 70
            start += length
        assert start == made.shape.tokens
        assert made.shape.texts >= len(made.texts)


@given(items.filter(bool), st.integers(30, 4000))
def test_every_token_is_of_the_module_that_it_had(found: list[Item], limit: int) -> None:
    for pack in plan(found, limit):
        made = filled(pack, frozenset(), 512)
        for place, number in enumerate(pack.order):
            for token in (made.starts[place], made.starts[place] + pack.lengths[place] - 1):
                item = found[number]
                assert owner(made, token) == (item.bank, None if item.bank is None else item.module)


@given(items.filter(bool))
def test_sections_have_room_for_their_modules_and_end_full(found: list[Item]) -> None:
    (pack,) = plan(found, 10_000)
    made = filled(pack, frozenset({1}), 512)
    assert made.shape.pooled == {1}
    assert [section.bank for section in made.shape.sections if section.bank is not None] == [
        span.bank for span in pack.spans
    ]
    for section, ends, modules in zip(made.shape.sections, made.ends, made.modules, strict=True):
        assert len(ends) == section.modules >= len(modules)
        if section.bank is not None:
            assert ends[-1] == section.tokens
            assert list(ends) == sorted(ends)


def test_passes_that_differ_a_little_have_one_shape() -> None:
    shapes = {
        filled(pack_of(items_of(lengths), range(len(lengths))), frozenset(), 512).shape
        for lengths in ([20, 30, 40], [31, 17], [12, 12, 12, 30], [64])
    }
    assert len(shapes) == 2  # 64 tokens or 96, of one module


def items_of(lengths: list[int]) -> list[Item]:
    return [Item(0, 0, 0, length) for length in lengths]


def owner(made: Filled, token: int) -> tuple[int | None, int | None]:
    """Bank and module of a token; the module of those without a bank is not told."""
    start = 0
    for section, ends, modules in zip(made.shape.sections, made.ends, made.modules, strict=True):
        if token < start + section.tokens:
            if section.bank is None:
                return None, None
            return section.bank, next(module for module, end in zip(modules, ends, strict=False) if token < start + end)
        start += section.tokens
    raise AssertionError(token)
