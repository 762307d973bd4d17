"""Merges beside peft's own `add_weighted_adapter` on a real PeftModel."""

from dataclasses import replace

import pytest
import torch
from peft import PeftModel
from peft.utils.merge_utils import dare_linear, dare_ties
from torch import Tensor

from petapter import Backbone, TrainedModule
from petapter.adapters import AdapterSlots, peft_config
from petapter.merging import Recipe, merge
from petapter.merging.changes import merged_changes
from tests.petapter.merging.conftest import ModuleOf, products


def by_peft(
    backbone: Backbone, modules: list[TrainedModule], weights: list[float], kind: str, rank: int | None = None
) -> dict[str, Tensor]:
    """What peft's merge adds at each place, [out, in]."""
    slots = AdapterSlots(backbone.model)
    try:
        for name, module in zip("ab", modules, strict=True):
            slots.add(name, peft_config(module.adapter))
            slots.write(name, module.adapter_tensors)
        (bay,) = slots._bays.values()
        model: PeftModel = bay.peft
        torch.manual_seed(0)
        model.base_model.add_weighted_adapter(  # type: ignore[operator]
            ["a", "b"], weights, "both", combination_type=kind, svd_rank=rank, density=0.6
        )
        return {
            f"base_model.model.{path}": layer.around.get_delta_weight("both").detach()  # type: ignore[operator]
            for path, layer in bay.layers.items()
        }
    finally:
        slots.close()


def ours(
    backbone: Backbone, modules: list[TrainedModule], weights: tuple[float, float], method: str
) -> dict[str, Tensor]:
    merged = merge(modules, backbone, Recipe(method, weights, density=0.6, seed=0))  # type: ignore[arg-type]
    return products(merged.adapter_tensors)


def one_place(module: TrainedModule) -> TrainedModule:
    """The module's adapter at the query of the first layer alone, so that random draws come in one order."""
    kept = {name: t for name, t in module.adapter_tensors.items() if "layer.0.attention.self.query" in name}
    spec = module.adapter.model_copy(update={"targets": ("query",), "layers": (0,)})
    count = sum(tensor.numel() for tensor in kept.values())
    return replace(module, adapter=spec.model_copy(update={"parameters": count}), adapter_tensors=kept)


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for place, change in found.items():
        assert torch.allclose(change, expected[place], atol=1e-5), place


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.7, 0.3)])
def test_linear_is_cat_of_peft(weights: tuple[float, float], bert: Backbone, module_of: ModuleOf) -> None:
    modules = [module_of("lora", 0), module_of("lora", 1)]
    assert_same(ours(bert, modules, weights, "linear"), by_peft(bert, modules, list(weights), "cat"))


def test_ties_is_ties_svd_of_peft_where_all_weigh_one(bert: Backbone, module_of: ModuleOf) -> None:
    modules = [module_of("lora", 0), module_of("lora", 1)]
    assert_same(ours(bert, modules, (0.5, 0.5), "ties"), by_peft(bert, modules, [1.0, 1.0], "ties_svd", rank=6))


def test_dare_is_that_of_peft_where_all_weigh_alike() -> None:
    """On tensors: `add_weighted_adapter` draws the new adapter's first weights before it draws what is dropped."""
    choose = torch.Generator().manual_seed(0)
    changes = [torch.randn(7, 5, generator=choose) for _ in range(2)]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        linear = merged_changes(changes, (0.7, 0.3), Recipe("dare-linear", density=0.6))
        signs = merged_changes(changes, (0.5, 0.5), Recipe("dare-ties", density=0.6))
        torch.manual_seed(1)
        assert torch.allclose(linear, dare_linear(changes, torch.tensor([0.7, 0.3]), 0.6), atol=1e-6)
        assert torch.allclose(signs, dare_ties(changes, torch.ones(2), 0.6), atol=1e-6)


@pytest.mark.parametrize(("kind", "factor"), [("linear", 2.0), ("ties_svd", 0.5)])
def test_peft_makes_something_else_of_two_equal_modules(
    kind: str, factor: float, bert: Backbone, module_of: ModuleOf
) -> None:
    module = one_place(module_of("lora", 0))
    (found,) = by_peft(bert, [module, module], [0.5, 0.5], kind, rank=32).values()
    (change,) = products(module.adapter_tensors, 2.0).values()
    kept = found != 0 if kind == "linear" else found.abs() > found.abs().max() / 2  # ties drops the smallest
    assert torch.allclose(found[kept], factor * change[kept], atol=1e-4)
