"""The last layer runs for the tokens that heads read, and the answers are those of the whole layer."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from petapter import Backbone, Engine, Prediction, StrongOptions, TrainedModule, TrainingOptions, train
from petapter.adapters import AdapterChoice
from petapter.runtime import runner
from petapter.runtime.layers import Layers, read_tokens
from petapter_schemas.adapter_spec import AdapterKind
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS, BackboneOf
from tests.petapter.runtime.test_equality import alone, assert_equal, with_adapter
from tests.petapter.tiny_backbones import build_backbone

LONG = " ".join(["good"] * 40)
MIDDLE: dict[str, Callable[[nn.Module], nn.Module]] = {
    "bert": lambda base: base.get_submodule("encoder.layer.1.intermediate.dense"),
    "roberta": lambda base: base.get_submodule("encoder.layer.1.intermediate.dense"),
    "electra": lambda base: base.get_submodule("encoder.layer.1.intermediate.dense"),
    "distilbert": lambda base: base.get_submodule("transformer.layer.1.ffn.lin1"),
    "modernbert-global": lambda base: base.get_submodule("layers.1.mlp.Wi"),
}

LOWEST = {
    "distilbert": "transformer.layer.0.ffn.lin1",
    "modernbert": "layers.0.mlp.Wi",
    "modernbert-global": "layers.0.mlp.Wi",
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


def test_last_turn_of_a_layer_that_runs_many_times_costs_one_token_per_text(backbone_of: BackboneOf) -> None:
    backbone = backbone_of("albert")
    module = train(SENTIMENT, SENTIMENT_ROWS, backbone, TrainingOptions(steps=1, rank=2))
    layer = backbone.model.base_model.get_submodule("encoder.albert_layer_groups.0.albert_layers.0.ffn")
    counted: list[int] = []
    handle = layer.register_forward_pre_hook(
        lambda _module, given: counted.append(given[0].numel() // backbone.hidden_size)
    )
    with Engine(backbone) as engine:
        engine.load(module, "m")
        engine.predict([("m", text) for text in (LONG, "fine", LONG)])
    handle.remove()
    assert len(counted) == backbone.layers
    assert counted[-1] == 3
    assert min(counted[:-1]) > 80


@pytest.mark.parametrize("family", [*MIDDLE, "albert"])
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


def upper_only(backbone: Backbone) -> dict[str, TrainedModule]:
    """Modules of one pattern that change the upper layer alone, or nothing, under heads of masks and of pools."""
    masks = train(SENTIMENT, SENTIMENT_ROWS, backbone, TrainingOptions(steps=1, rank=0))
    pools = train(SENTIMENT, SENTIMENT_ROWS, backbone, StrongOptions(delta="never"))
    top = AdapterChoice(rank=2, layers=(1,))
    kind: AdapterKind = "bottleneck" if backbone.model.config.model_type == "modernbert" else "ia3"
    other = AdapterChoice(kind=kind, layers=(1,))
    return {
        "masks": with_adapter(masks, backbone, top, 0),
        "pools": with_adapter(pools, backbone, top, 1),
        "other": with_adapter(pools, backbone, other, 2),
        "head": masks,
    }


def lower_tokens(backbone: Backbone, family: str, ask: Callable[[], object]) -> int:
    """Tokens for which the feed-forward block of the lowest layer runs."""
    path = LOWEST.get(family, "encoder.layer.0.intermediate.dense")
    counted: list[int] = []
    handle = backbone.model.base_model.get_submodule(path).register_forward_pre_hook(
        lambda _module, given: counted.append(given[0].numel() // backbone.hidden_size)
    )
    ask()
    handle.remove()
    return sum(counted)


@pytest.mark.parametrize("family", [*MIDDLE, "modernbert"])
def test_modules_of_the_upper_layers_share_the_lower_ones_and_answer_the_same(
    backbone_of: BackboneOf, family: str
) -> None:
    backbone = backbone_of(family)
    modules = upper_only(backbone)
    texts = ["a good game", LONG, "a bad game"]
    expected = {alias: alone(backbone, module, [{"text": text} for text in texts]) for alias, module in modules.items()}
    with Engine(backbone) as engine:
        for alias, module in modules.items():
            engine.load(module, alias)
        one = lower_tokens(backbone, family, lambda: engine.predict([("masks", text) for text in texts]))
        found: list[dict[str, Prediction]] = []
        assert lower_tokens(backbone, family, lambda: found.extend(engine.predict_all(texts))) == one
        for alias in modules:
            assert_equal([answers[alias] for answers in found], expected[alias])


def test_module_of_all_layers_shares_none(bert: Backbone) -> None:
    modules = upper_only(bert)
    whole = with_adapter(modules["head"], bert, AdapterChoice(rank=2), 5)
    texts = ["a good game", "a bad game"]
    with Engine(bert) as engine:
        for alias, module in {**modules, "whole": whole, "twin": whole}.items():
            engine.load(module, alias)
        one = lower_tokens(bert, "bert", lambda: engine.predict([("masks", text) for text in texts]))
        found: list[dict[str, Prediction]] = []
        assert lower_tokens(bert, "bert", lambda: found.extend(engine.predict_all(texts))) == 3 * one
    assert_equal([answers["twin"] for answers in found], alone(bert, whole, [{"text": text} for text in texts]))


def test_model_is_as_before_when_the_engine_is_closed(bert: Backbone) -> None:
    layer = bert.model.base_model.encoder.layer[-1]  # type: ignore[union-attr, index]
    with Engine(bert):
        assert "forward" in vars(layer)
    assert "forward" not in vars(layer)


def test_layers_that_share_their_weights_share_no_trunk(backbone_of: BackboneOf) -> None:
    layers = Layers(backbone_of("albert").model)
    assert (layers.known, layers.can_narrow) == (False, True)
    layers.close()
    assert "forward" not in vars(backbone_of("albert").model.base_model.encoder)


def test_architectures_that_are_not_known_here_compute_the_whole_layer(backbone_of: BackboneOf) -> None:
    layers = Layers(backbone_of("deberta-v2").model)
    assert (layers.known, layers.can_narrow) == (False, False)


def test_layers_of_several_groups_and_inner_layers_are_narrowed_too(tmp_path: Path) -> None:
    inner = Backbone.load(build_backbone("albert-inner", tmp_path), device="cpu")
    masks = train(SENTIMENT, SENTIMENT_ROWS, inner, TrainingOptions(steps=2, rank=2, adapter_lr=0.05))
    texts = [LONG, "fine", "a bad game"]
    with Engine(inner) as engine:
        engine.load(masks, "m")
        found = engine.predict([("m", text) for text in texts])
    assert_equal(found, alone(inner, masks, [{"text": text} for text in texts]))


def test_last_layer_with_a_local_window_is_computed_whole(backbone_of: BackboneOf) -> None:
    layers = Layers(backbone_of("modernbert").model)
    assert layers.known
    assert not layers.can_narrow
    layers.close()


def test_place_of_which_nothing_is_read_keeps_its_first_token() -> None:
    assert read_tokens([0, 5, 9], [[3, 1, 3], [], [0]]) == ([1, 3, 5, 9], [2, 1, 1])
