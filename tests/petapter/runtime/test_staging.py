"""Modules that come back to a device: beside what runs, without waiting, and never too late."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from petapter import Backbone, Engine, Prediction, TrainedModule
from petapter.runtime.staging import Ready, Staging
from tests.petapter.conftest import BackboneOf
from tests.petapter.runtime.conftest import assert_same, inputs, load_all
from tests.petapter.runtime.devices import Traffic, shapes_alone
from tests.petapter.runtime.test_equality import modules_for

CPU, SHAPES = torch.device("cpu"), torch.device("meta")


class Late(Staging):
    """A device on which what was sent holds no numbers until a pass waits for it."""

    def __init__(self) -> None:
        super().__init__(CPU)
        self._under_way: list[tuple[Tensor, Tensor]] = []

    def sent(self, ready: Ready) -> Ready:
        return ready.moved(self._send)

    def arrive(self) -> None:
        for there, tensor in self._under_way:
            there.copy_(tensor)
        self._under_way.clear()

    def _send(self, tensor: Tensor) -> Tensor:
        there = torch.full_like(tensor, torch.nan)
        self._under_way.append((there, tensor))
        return there


def test_a_pass_waits_for_the_modules_that_come_back_for_it(
    bert: Backbone, modules: dict[str, TrainedModule], alone: dict[str, list[Prediction]]
) -> None:
    with Engine(bert, module_bytes=0) as engine:
        engine._runner.staging = Late()
        load_all(engine, modules)
        for alias in (*modules, *modules):
            assert_same(engine.predict([(alias, text) for text in inputs(alias)]), alone[alias])
        assert engine.stats().misses > len(modules)


def tensors_of(ready: Ready) -> list[Tensor]:
    found: list[Tensor] = []
    ready.moved(lambda tensor: found.append(tensor) or tensor)
    return found


@pytest.mark.parametrize("family", ["bert", "roberta", "electra"])
def test_nothing_waits_for_a_module_that_comes_back(backbone_of: BackboneOf, family: str) -> None:
    backbone = backbone_of(family)
    modules = modules_for(backbone)
    with Engine(backbone, module_bytes=1 << 40) as engine:
        load_all(engine, modules)
        kept = list(engine._kept.values())
    staging = Staging(SHAPES)
    for ready in kept:
        assert {tensor.device for tensor in tensors_of(ready)} == {CPU}
        with torch.inference_mode(), shapes_alone(), Traffic() as traffic:
            there = staging.sent(ready)
            assert {tensor.device for tensor in tensors_of(there)} == {SHAPES}
        assert (traffic.sent, traffic.waited, traffic.read) == (len(tensors_of(ready)), 0, 0)
        assert there.nbytes == ready.nbytes


def test_a_moved_module_is_the_same_but_for_where_its_numbers_are(bert: Backbone, sentiment: TrainedModule) -> None:
    with Engine(bert) as engine:
        ready = engine._runner.ready(sentiment)
        again = ready.moved(torch.clone)
    for before, after in zip(tensors_of(ready), tensors_of(again), strict=True):
        assert before.data_ptr() != after.data_ptr()
        torch.testing.assert_close(before, after, rtol=0, atol=0)
    assert again.head.features is ready.head.features is ready.shared  # the backbone's own stays where it is
    assert replace(again, row=None, head=ready.head) == replace(ready, row=None)


def test_on_a_cpu_what_is_kept_is_what_runs(bert: Backbone, modules: dict[str, TrainedModule]) -> None:
    with Engine(bert, module_bytes=0) as engine:
        load_all(engine, modules)
        engine.predict([(alias, text) for alias in modules for text in inputs(alias)])
        for ready in engine._kept.values():
            assert ready.row is None or any(
                row is ready.row for bank in engine._runner._banks for row in bank._rows.values()
            )
