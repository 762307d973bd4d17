"""Texts become tokens in a thread beside the device, and nothing else changes by that."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from petapter import Engine, Prediction, TrainedModule
from petapter.runtime.ahead import made_ahead
from petapter_schemas.errors import InputError
from tests.petapter.runtime.conftest import assert_same, inputs, load_all


def test_parts_are_made_in_order_the_next_while_the_one_before_is_used() -> None:
    begun = [threading.Event() for _ in range(4)]

    def make(part: int) -> int:
        begun[part].set()
        return part * part

    found = []
    for made in made_ahead(make, range(4)):
        found.append(made)
        assert begun[min(len(found), 3)].wait(60)  # by another thread: this one does nothing for it
    assert found == [0, 1, 4, 9]


def test_an_error_comes_in_the_place_of_its_part() -> None:
    def make(part: int) -> int:
        if part == 2:
            raise InputError("of the third")
        return part

    making: Iterator[int] = made_ahead(make, range(4))
    assert [next(making), next(making)] == [0, 1]
    with pytest.raises(InputError, match="of the third"):
        next(making)


@pytest.mark.parametrize("parts", [0, 1])
def test_where_nothing_can_go_on_beside_it_there_is_no_other_thread(parts: int) -> None:
    threads = list(made_ahead(lambda _: threading.current_thread(), range(parts)))
    assert threads == [threading.current_thread()] * parts


@pytest.mark.parametrize("ahead", [1, 2, 3, 100])
def test_answers_are_those_of_all_texts_at_once(
    engine: Engine,
    modules: dict[str, TrainedModule],
    alone: dict[str, list[Prediction]],
    monkeypatch: pytest.MonkeyPatch,
    ahead: int,
) -> None:
    load_all(engine, modules)
    monkeypatch.setattr(engine._runner, "ways", replace(engine._runner.ways, ahead=ahead))
    asked = [
        (alias, text, answer) for alias in modules for text, answer in zip(inputs(alias), alone[alias], strict=True)
    ]
    for order in (asked, asked[::2] + asked[1::2], asked[::-1]):
        found = engine.predict([(alias, text) for alias, text, _ in order])
        assert_same(found, [answer for *_, answer in order])
    assert engine.predict([]) == []
