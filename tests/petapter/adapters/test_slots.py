import warnings
from collections.abc import Iterator

import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor
from transformers import PreTrainedModel

from petapter import Backbone
from petapter.adapters import AdapterSlots, adapter_spec, peft_config
from petapter_schemas.adapter_spec import AdapterSpec
from petapter_schemas.errors import BackboneError, TensorFileError
from tests.petapter.adapters.kinds import CHOICES, made_up

CONFIG = peft_config(AdapterSpec(kind="lora", rank=2, alpha=4.0, targets=("query", "value"), parameters=1))
WIDER = peft_config(AdapterSpec(kind="lora", rank=5, alpha=5.0, targets=("query", "value"), parameters=1))


@pytest.fixture
def slots(bert: Backbone) -> Iterator[AdapterSlots]:
    slots = AdapterSlots(bert.model)
    yield slots
    slots.close()


def fill(slots: AdapterSlots, name: str, value: float) -> None:
    slots.write(name, {key: torch.full_like(tensor, value) for key, tensor in slots.read(name).items()})


def output(backbone: Backbone) -> Tensor:
    with torch.no_grad():
        return backbone.model(input_ids=torch.tensor([[2, 5, 6, 4, 3]])).logits


def layers(backbone: Backbone) -> list[tuple[str, str]]:
    return [(name, type(layer).__name__) for name, layer in backbone.model.named_modules()]


def test_new_adapter_acts_at_once(slots: AdapterSlots, bert: Backbone) -> None:
    before = output(bert)
    slots.add("a", CONFIG)
    fill(slots, "a", 0.1)
    assert not torch.allclose(output(bert), before)


def test_adapter_starts_without_effect(slots: AdapterSlots, bert: Backbone) -> None:
    before = output(bert)
    slots.add("a", CONFIG)
    assert torch.equal(output(bert), before)


def test_no_adapter_acts_after_none_is_chosen(slots: AdapterSlots, bert: Backbone) -> None:
    before = output(bert)
    slots.add("a", CONFIG)
    fill(slots, "a", 0.1)
    slots.activate(None)
    assert torch.equal(output(bert), before)


def test_only_the_chosen_adapter_acts(slots: AdapterSlots, bert: Backbone) -> None:
    alone = {}
    for name, config, value in (("a", CONFIG, 0.1), ("b", WIDER, 0.2)):
        slots.add(name, config)
        fill(slots, name, value)
        alone[name] = output(bert)
    for name in ("a", "b", "a"):
        slots.activate(None)
        slots.activate(name)
        assert torch.equal(output(bert), alone[name])


def test_removed_adapter_leaves_the_others(slots: AdapterSlots, bert: Backbone) -> None:
    slots.add("a", CONFIG)
    fill(slots, "a", 0.1)
    expected = output(bert)
    slots.add("b", WIDER)
    fill(slots, "b", 0.2)
    slots.remove("b")
    slots.activate("a")
    assert torch.equal(output(bert), expected)


def test_last_adapter_removed_leaves_the_model_bare(slots: AdapterSlots, bert: Backbone) -> None:
    before = layers(bert)
    slots.add("a", CONFIG)
    slots.remove("a")
    assert layers(bert) == before


def test_adapter_may_be_added_after_the_last_was_removed(slots: AdapterSlots, bert: Backbone) -> None:
    slots.add("a", CONFIG)
    slots.remove("a")
    slots.add("a", WIDER)
    assert {tuple(tensor.shape) for tensor in slots.read("a").values()} == {(5, 32), (32, 5)}


def test_closed_model_is_as_before(bert: Backbone) -> None:
    before, attributes = layers(bert), set(vars(bert.model))
    slots = AdapterSlots(bert.model)
    slots.add("a", CONFIG)
    slots.add("b", WIDER)
    slots.close()
    assert layers(bert) == before
    assert set(vars(bert.model)) == attributes
    assert not any(parameter.requires_grad for parameter in bert.model.parameters())


def test_closing_twice_is_harmless(bert: Backbone) -> None:
    slots = AdapterSlots(bert.model)
    slots.close()
    slots.close()


def test_second_owner_is_refused_while_the_first_has_adapters(slots: AdapterSlots, bert: Backbone) -> None:
    slots.add("a", CONFIG)
    with pytest.raises(BackboneError, match="another Engine has this backbone: close it"):
        AdapterSlots(bert.model)


def test_second_owner_is_refused_before_the_first_has_adapters(slots: AdapterSlots, bert: Backbone) -> None:
    with pytest.raises(BackboneError, match="another Engine has this backbone: close it"):
        AdapterSlots(bert.model)


def test_owner_that_was_dropped_without_adapters_does_not_block(bert: Backbone) -> None:
    AdapterSlots(bert.model)
    AdapterSlots(bert.model).close()


def test_read_gives_copies(slots: AdapterSlots, bert: Backbone) -> None:
    slots.add("a", CONFIG)
    before = output(bert)
    for tensor in slots.read("a").values():
        tensor.fill_(1.0)
    assert torch.equal(output(bert), before)


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_tensors_that_are_not_the_adapters_are_refused(slots: AdapterSlots, change: str) -> None:
    slots.add("a", CONFIG)
    tensors = slots.read("a")
    first = next(iter(tensors))
    if change == "missing":
        del tensors[first]
    elif change == "extra":
        tensors[f"{first}.more"] = torch.zeros(1)
    else:
        tensors[first] = torch.zeros(3, 3)
    with pytest.raises(TensorFileError, match="do not fit this backbone"):
        slots.write("a", tensors)


@pytest.fixture
def every_kind(slots: AdapterSlots, bert: Backbone) -> dict[str, Tensor]:
    """Adapters of all kinds in one model, and what the model says with each; reference: each alone in a bare model."""
    alone = {}
    for name, choice in CHOICES.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            slots.add(name, peft_config(adapter_spec(choice, _bare(bert, slots))))
        slots.write(name, made_up(slots.read(name), seed=len(name)))
    held = {name: slots.read(name) for name in CHOICES}
    slots.close()
    for name, choice in CHOICES.items():
        single = AdapterSlots(bert.model)
        single.add("only", peft_config(adapter_spec(choice, bert.model)))
        single.write("only", held[name])
        alone[name] = output(bert)
        single.close()
    for name, choice in CHOICES.items():
        slots.add(name, peft_config(adapter_spec(choice, _bare(bert, slots))))
        slots.write(name, held[name])
    return alone


def _bare(backbone: Backbone, slots: AdapterSlots) -> PreTrainedModel:
    slots.activate(None)
    return backbone.model


def test_each_of_many_kinds_computes_what_it_computes_alone(
    slots: AdapterSlots, bert: Backbone, every_kind: dict[str, Tensor]
) -> None:
    assert len({tuple(values.flatten().tolist()) for values in every_kind.values()}) == len(CHOICES)
    for name in [*CHOICES, *reversed(CHOICES)]:
        slots.activate(name)
        assert torch.equal(output(bert), every_kind[name])


@pytest.mark.usefixtures("every_kind")
def test_model_is_bare_while_adapters_of_many_kinds_wait(slots: AdapterSlots, bert: Backbone) -> None:
    slots.activate(None)
    assert not any(isinstance(layer, BaseTunerLayer) for layer in bert.model.modules())
    slots.activate("houlsby")
    assert any(isinstance(layer, BaseTunerLayer) for layer in bert.model.modules())


def test_reading_and_writing_need_no_adapter_to_act(
    slots: AdapterSlots, bert: Backbone, every_kind: dict[str, Tensor]
) -> None:
    slots.activate("ia3")
    for name in CHOICES:
        slots.write(name, slots.read(name))
    assert torch.equal(output(bert), every_kind["ia3"])


@pytest.mark.parametrize("gone", CHOICES)
def test_kind_removed_leaves_the_others_and_the_active_one(
    slots: AdapterSlots, bert: Backbone, every_kind: dict[str, Tensor], gone: str
) -> None:
    staying = "bitfit" if gone != "bitfit" else "lora"
    slots.activate(staying)
    slots.remove(gone)
    assert torch.equal(output(bert), every_kind[staying])
    for name in CHOICES:
        if name != gone:
            slots.activate(name)
            assert torch.equal(output(bert), every_kind[name])


def test_active_adapter_removed_leaves_none_active(slots: AdapterSlots, bert: Backbone) -> None:
    before = output(bert)
    for name in ("a", "b"):
        slots.add(name, CONFIG)
        fill(slots, name, 0.1)
    slots.remove("b")
    assert torch.equal(output(bert), before)


def test_closed_model_with_many_kinds_is_bit_identical(bert: Backbone) -> None:
    before, structure, attributes = bert.model.state_dict(), layers(bert), set(vars(bert.model))
    before = {name: value.clone() for name, value in before.items()}
    slots = AdapterSlots(bert.model)
    for name, choice in CHOICES.items():
        slots.add(name, peft_config(adapter_spec(choice, _bare(bert, slots))))
        output(bert)
    slots.close()
    after = bert.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (layers(bert), set(vars(bert.model))) == (structure, attributes)


def test_waiting_layers_learn_whether_the_model_trains(slots: AdapterSlots, bert: Backbone) -> None:
    slots.add("a", CONFIG)
    slots.activate(None)
    bert.model.train()
    slots.activate("a")
    trains = {layer.training for layer in bert.model.modules()}
    bert.model.eval()
    assert trains == {True}
