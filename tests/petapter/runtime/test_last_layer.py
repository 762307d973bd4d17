"""The last layer runs for the tokens that heads read, and the answers are those of the whole layer."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from petapter import Backbone, Engine, StrongOptions, TrainedModule, TrainingOptions, train
from petapter.runtime import runner
from petapter.runtime.last_layer import LastLayer, read_tokens
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS, BackboneOf

LONG = " ".join(["good"] * 40)
MIDDLE: dict[str, Callable[[nn.Module], nn.Module]] = {
    "bert": lambda base: base.get_submodule("encoder.layer.1.intermediate.dense"),
    "roberta": lambda base: base.get_submodule("encoder.layer.1.intermediate.dense"),
    "electra": lambda base: base.get_submodule("encoder.layer.1.intermediate.dense"),
    "distilbert": lambda base: base.get_submodule("transformer.layer.1.ffn.lin1"),
}


def tokens_in_the_middle(backbone: Backbone, family: str, module: TrainedModule, texts: list[str]) -> int:
    """Tokens for which the last feed-forward block runs."""
    counted: list[int] = []

    def count(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
        counted.append(given[0].numel() // backbone.hidden_size)

    handle = MIDDLE[family](backbone.model.base_model).register_forward_pre_hook(count)
    try:
        with Engine(backbone) as engine:
            engine.load(module, "m")
            engine.predict([("m", text) for text in texts])
    finally:
        handle.remove()
    return sum(counted)


@pytest.mark.parametrize("family", list(MIDDLE))
def test_a_head_of_masks_costs_one_token_per_text_in_the_last_layer(backbone_of: BackboneOf, family: str) -> None:
    module = train(SENTIMENT, SENTIMENT_ROWS, backbone_of(family), TrainingOptions(steps=1, rank=2))
    assert tokens_in_the_middle(backbone_of(family), family, module, [LONG, "fine", LONG]) == 3


def test_a_head_that_pools_the_last_layer_reads_the_tokens_of_the_text_and_the_mask(bert: Backbone) -> None:
    module = train(SENTIMENT, SENTIMENT_ROWS, bert, StrongOptions(delta="never"))
    assert bert.layers in module.head.pool_layers
    texts = ["a good game", "fine"]  # [CLS] a good game it was [MASK] . [SEP]
    assert tokens_in_the_middle(bert, "bert", module, texts) == 3 + 1 + 2


@pytest.mark.parametrize("family", list(MIDDLE))
def test_answers_are_those_of_the_whole_layer(
    backbone_of: BackboneOf, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = backbone_of(family)
    masks = train(SENTIMENT, SENTIMENT_ROWS, backbone, TrainingOptions(steps=2, rank=2, adapter_lr=0.05))
    pools = train(SENTIMENT, SENTIMENT_ROWS, backbone, StrongOptions(delta="never"))
    asked = [(alias, text) for text in (LONG, "fine", "a bad game", LONG) for alias in ("masks", "pools")]
    said = {}
    for most in (0.0, 0.8):  # whole, narrow
        monkeypatch.setattr(runner, "_MOST_READ", most)
        with Engine(backbone) as engine:
            engine.load(masks, "masks")
            engine.load(pools, "pools")
            said[most] = [list(answer.probabilities.values()) for answer in engine.predict(asked)]
    torch.testing.assert_close(torch.tensor(said[0.8]), torch.tensor(said[0.0]), rtol=0, atol=1e-6)


def test_model_is_as_before_when_the_engine_is_closed(bert: Backbone) -> None:
    layer = bert.model.base_model.encoder.layer[-1]  # type: ignore[union-attr, index]
    with Engine(bert):
        assert "forward" in vars(layer)
    assert "forward" not in vars(layer)


def test_architectures_that_are_not_known_here_compute_the_whole_layer(backbone_of: BackboneOf) -> None:
    assert not LastLayer(backbone_of("albert").model).narrows
    assert not LastLayer(backbone_of("modernbert").model).narrows


def test_place_of_which_nothing_is_read_keeps_its_first_token() -> None:
    assert read_tokens([0, 5, 9], [[3, 1, 3], [], [0]]) == ([1, 3, 5, 9], [2, 1, 1])
