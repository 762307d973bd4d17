"""Passes filled up to few shapes: every token has the module that it had, and what fills up is of none."""

import random

from hypothesis import given
from hypothesis import strategies as st

from petapter.runtime.plan import Item, pack_of, plan
from petapter.runtime.shapes import Shape, ends_in, filled
from tests.petapter.runtime.test_plan import items


@given(items.filter(bool), st.integers(30, 4000))
def test_a_pass_is_filled_up_behind_its_texts(found: list[Item], limit: int) -> None:
    for pack in plan(found, limit):
        made = filled(pack, frozenset(), 70)
        assert pack.tokens + sum(made.filling) == made.shape.tokens
        assert all(0 < length <= made.shape.longest <= 70 for length in made.filling)
        assert max(pack.lengths) <= made.shape.longest
        assert len(pack.lengths) + len(made.filling) <= made.shape.texts
        assert made.shape.tokens <= max(64, 1.5 * pack.tokens)


@given(items.filter(bool), st.integers(30, 4000))
def test_every_token_is_of_its_module_in_its_bank_and_of_none_in_others(found: list[Item], limit: int) -> None:
    for pack in plan(found, limit):
        shape = filled(pack, frozenset(), 512).shape
        assert [bank for bank, _ in shape.rooms] == [span.bank for span in pack.spans]
        told: dict[int, list[tuple[int, int]]] = {token: [] for token in range(shape.tokens)}
        for span, (bank, room) in zip(pack.spans, shape.rooms, strict=True):
            ends = ends_in(span, room, shape.tokens)
            assert len(ends) == room
            assert ends[-1] == ends[len(span.modules) + 1] == shape.tokens  # one at least is behind the modules
            assert ends == sorted(ends)
            for module, begin, end in zip(span.modules, ends, ends[1:], strict=False):
                for token in range(begin, end):
                    told[token].append((bank, module))
        for place, number in enumerate(pack.order):
            item = found[number]
            expected = [] if item.bank is None else [(item.bank, item.module)]
            for token in range(pack.starts[place], pack.starts[place] + pack.lengths[place]):
                assert told.pop(token) == expected
        assert not any(told.values())


def test_passes_that_differ_a_little_have_one_shape() -> None:
    shapes = {
        filled(pack_of([Item(0, 0, 0, length) for length in lengths], range(len(lengths))), frozenset(), 512).shape
        for lengths in ([20, 30, 40], [31, 17], [12, 12, 12, 30], [64])
    }
    assert [shape.tokens for shape in sorted(shapes, key=lambda shape: shape.tokens)] == [64, 96]


def test_passes_of_many_modules_have_few_shapes() -> None:
    draw = random.Random(0)  # noqa: S311 (of a test)
    shapes: set[Shape] = set()
    for _ in range(500):
        texts = [(draw.randrange(12), draw.randint(5, 60)) for _ in range(draw.randint(1, 32))]
        (pack,) = plan([Item(module % 3, module, 0, length) for module, length in texts], 4096)
        shapes.add(filled(pack, frozenset(), 512).shape)
    assert len(shapes) < 120
