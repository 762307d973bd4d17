import pytest

from petapter.adapters import (
    AdapterChoice,
    AdapterSlots,
    adapter_spec,
    check_places,
    lora_adapts_keys,
    peft_config,
    top_layers,
)
from petapter_schemas.adapter_spec import AdapterSpec
from petapter_schemas.errors import BackboneError, InputError, PetapterError
from tests.petapter.adapters.conftest import ModelOf
from tests.petapter.adapters.kinds import CHOICES


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"kind": "prefix"}, "'prefix' is no kind of adapter: take one of lora, ia3"),
        ({"placement": "parallel"}, "no placement of a bottleneck: take pfeiffer or houlsby"),
        ({"rank": 0}, "rank and reduction must be 1 or more"),
        ({"reduction": 0}, "rank and reduction must be 1 or more"),
        ({"alpha": 0.0}, "alpha must be more than 0"),
        ({"alpha": float("nan")}, "alpha must be more than 0"),
        ({"dropout": 1.0}, "below 1"),
        ({"dropout": -0.1}, "at least 0"),
        ({"kind": "ia3", "dropout": 0.1}, "belongs to lora alone"),
        ({"kind": "lora", "up_std": 0.02}, "up_std must be 0 to 1, and belongs to bottleneck"),
        ({"kind": "bottleneck", "up_std": -0.02}, "up_std must be 0 to 1"),
        ({"kind": "bottleneck", "up_std": float("nan")}, "up_std must be 0 to 1"),
        ({"kind": "ia3", "ia3_place": "middle"}, "'middle' is no place of .IA.*: take after-activation or before"),
        ({"kind": "lora", "ia3_place": "before-activation"}, "ia3_place belongs to ia3 alone"),
        (
            {"kind": "ia3", "ia3_place": "before-activation", "targets": ("output.dense",)},
            "ia3_place belongs to ia3 alone, where no targets are chosen",
        ),
        ({"kind": "bottleneck", "targets": ("output.dense",)}, "takes no targets"),
        ({"kind": "none", "targets": ("query",)}, "takes no targets"),
        ({"kind": "none", "layers": (0,)}, "takes no layers"),
        ({"targets": ()}, "targets must be one at least"),
        ({"targets": ("query", "query")}, "targets must be one at least, each once"),
        ({"layers": ()}, "layers must be one at least"),
        ({"layers": (1, 1)}, "layers must be one at least, each once"),
        ({"layers": (-1,)}, "counted from 0"),
    ],
)
def test_choice_that_makes_no_adapter_is_refused(wrong: dict[str, object], why: str) -> None:
    with pytest.raises(InputError, match=why):
        AdapterChoice(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("architecture", "choice", "why"),
    [
        ("bert", AdapterChoice(layers=(0, 2)), "no layer 2: it has 2, from 0"),
        ("bert", AdapterChoice(layers=(5,)), "no layer 5: it has 2, from 0"),
        ("bert", AdapterChoice(targets=("q_proj",)), "no 'q_proj' in such layers"),
        ("bert", AdapterChoice(kind="bitfit", targets=("query",)), "no 'query' in such layers"),
        ("bert", AdapterChoice(kind="bitfit", targets=("output.LayerNorm",)), "is no linear layer"),
        ("bert", AdapterChoice(targets=("attention",)), "is no linear layer"),
        ("modernbert", AdapterChoice(kind="ia3"), "one projection gives queries, keys and values at once"),
        ("modernbert", AdapterChoice(kind="bitfit"), "linear layers have no biases: take lora or bottleneck"),
        ("albert", AdapterChoice(layers=(0,)), "layers of albert share their weights"),
        ("albert", AdapterChoice(kind="bottleneck", layers=(0,)), "layers of albert share their weights"),
    ],
)
def test_choice_that_the_backbone_has_no_place_for_is_refused(
    model_of: ModelOf, architecture: str, choice: AdapterChoice, why: str
) -> None:
    with pytest.raises(BackboneError, match=why):
        adapter_spec(choice, model_of(architecture))


@pytest.mark.parametrize(
    ("choice", "why"),
    [
        (AdapterChoice(kind="bottleneck", reduction=33), "reduction 33 leaves no neuron of 32"),
        (AdapterChoice(kind="bitfit", targets=("(a+)+",)), "no name of a module"),
        (AdapterChoice(targets=("query\n",)), "no name of a module"),
    ],
)
def test_choice_that_is_no_description_is_refused(model_of: ModelOf, choice: AdapterChoice, why: str) -> None:
    with pytest.raises(InputError, match=why):
        adapter_spec(choice, model_of("bert"))


def test_unknown_architecture_is_refused_with_the_known_ones(model_of: ModelOf) -> None:
    model = model_of("bert")
    model.config.model_type, before = "mpnet", model.config.model_type
    try:
        with pytest.raises(
            BackboneError, match=r"on a mpnet model is not supported: take one of albert, .*xlm-roberta"
        ):
            adapter_spec(AdapterChoice(kind="ia3"), model)
    finally:
        model.config.model_type = before


def test_chosen_targets_are_adapted(model_of: ModelOf) -> None:
    choice = AdapterChoice(kind="bitfit", targets=("output.dense", "attention.output.dense"))
    assert adapter_spec(choice, model_of("bert")).parameters == 2 * (32 + 32)  # by hand: 2 layers, H = 32


def test_target_of_the_feed_forward_block_is_scaled_at_its_input(model_of: ModelOf) -> None:
    choice = AdapterChoice(kind="ia3", targets=("attention.self.query", "output.dense"))
    spec = adapter_spec(choice, model_of("bert"))
    assert spec.feedforward == ("output.dense",)
    assert spec.parameters == 2 * (32 + 64)  # by hand: 2 layers, H = 32, 64 in the middle


def test_target_before_the_activation_is_scaled_at_its_output(model_of: ModelOf) -> None:
    choice = AdapterChoice(kind="ia3", targets=("attention.self.key", "attention.self.value", "intermediate.dense"))
    named = AdapterChoice(kind="ia3", ia3_place="before-activation")
    assert adapter_spec(choice, model_of("bert")) == adapter_spec(named, model_of("bert"))


@pytest.mark.parametrize("architecture", ["modernbert", "bert", "deberta-v2", "albert", "distilbert"])
def test_one_projection_for_queries_keys_and_values_is_that_of_modernbert(model_of: ModelOf, architecture: str) -> None:
    assert lora_adapts_keys(model_of(architecture)) == (architecture == "modernbert")


def test_layers_are_written_in_order(model_of: ModelOf) -> None:
    assert adapter_spec(AdapterChoice(layers=(1, 0)), model_of("bert")).layers == (0, 1)


def test_bottleneck_starts_as_wide_as_is_chosen(model_of: ModelOf) -> None:
    # AdapterHub starts both layers at N(0, 0.02); bounds: 5 standard errors of the mean and of the deviation
    model = model_of("bert")
    spec = adapter_spec(AdapterChoice(kind="bottleneck", reduction=1, up_std=0.02), model)
    slots = AdapterSlots(model)
    slots.add("it", peft_config(spec, up_std=0.02))
    tensors = slots.read("it")
    slots.close()
    for name, tensor in tensors.items():
        if "weight" in name:
            assert abs(float(tensor.mean())) < 5 * 0.02 / 32  # of 32 x 32 numbers
            assert abs(float(tensor.std()) - 0.02) < 5 * 0.02 / 45  # sqrt(2 x 1024)
        else:
            assert not bool(tensor.any())


def test_no_adapter_is_described_as_none(model_of: ModelOf) -> None:
    assert adapter_spec(AdapterChoice(kind="none"), model_of("bert")) == AdapterSpec(kind="none", parameters=0)


@pytest.mark.parametrize(("share", "layers"), [(0.5, (1,)), (1.0, (0, 1)), (0.01, (1,)), (0.7, (1,)), (0.8, (0, 1))])
def test_top_layers_are_the_nearest_to_the_head(model_of: ModelOf, share: float, layers: tuple[int, ...]) -> None:
    assert top_layers(model_of("bert"), share) == layers


@pytest.mark.parametrize("share", [0.0, -0.5, 1.1, float("nan")])
def test_share_that_is_none_is_refused(model_of: ModelOf, share: float) -> None:
    with pytest.raises(InputError, match="share of layers must be above 0 and at most 1"):
        top_layers(model_of("bert"), share)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("houlsby", {"placement": "pfeiffer"}),
        ("pfeiffer", {"targets": ("output.dropout",)}),
        ("ia3", {"feedforward": ()}),
        ("ia3", {"feedforward": ("attention.self.key", "output.dense")}),
        ("ia3-before", {"feedforward": ("intermediate.dense",)}),
        ("bitfit", {"targets": ("query",)}),
        ("bitfit", {"targets": ("attention.self.query", "nowhere")}),
        ("lora", {"layers": (0, 7)}),
    ],
)
def test_description_that_means_something_else_here_is_refused(
    model_of: ModelOf, name: str, changed: dict[str, object]
) -> None:
    model = model_of("bert")
    spec = adapter_spec(CHOICES[name], model)
    assert check_places(spec, model) == spec.parameters
    with pytest.raises(PetapterError) as refusal:
        check_places(spec.model_copy(update=changed), model)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (AdapterChoice(rank=4), {"adapter": "lora", "adapter_rank": 4, "adapter_alpha": 16.0, "adapter_dropout": 0.0}),
        (AdapterChoice(kind="ia3"), {"adapter": "ia3"}),
        (AdapterChoice(kind="ia3", ia3_place="before-activation"), {"adapter": "ia3"}),  # its targets say where
        (
            AdapterChoice(kind="bottleneck", placement="houlsby"),
            {
                "adapter": "bottleneck",
                "adapter_reduction": 16,
                "adapter_placement": "houlsby",
                "adapter_up_std": 0.0,
            },
        ),
        (AdapterChoice(kind="none"), {"adapter": "none"}),
    ],
)
def test_manifest_gets_what_belongs_to_the_kind(choice: AdapterChoice, expected: dict[str, object]) -> None:
    assert choice.hyperparameters() == expected
