from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from peft.utils.merge_utils import ties

from petapter import Backbone, Engine, Example, PaperOptions, TrainedModule, TrainingOptions, train
from petapter.adapters import AdapterChoice
from petapter.merging import Recipe, merge
from petapter.merging.changes import merged_changes
from petapter_schemas.errors import BackboneMismatchError, InputError
from petapter_schemas.manifest import CalibrationSpec
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS, BackboneOf
from tests.petapter.merging.conftest import CHOICES, TEXTS, ModuleOf, log_probabilities, products

KINDS = tuple(CHOICES)
METHODS = ("linear", "ties", "dare-linear", "dare-ties")
LOSSLESS = [(kind, method) for kind in KINDS for method in METHODS if kind != "bottleneck" or method == "linear"]


def merged(
    bert: Backbone, modules: Sequence[TrainedModule], weights: tuple[float, ...] | None = None, method: str = "linear"
) -> TrainedModule:
    """By a density that drops nothing."""
    return merge(modules, bert, Recipe(method, weights, density=1.0))  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "method"), LOSSLESS)
def test_equal_modules_merge_into_themselves(kind: str, method: str, bert: Backbone, module_of: ModuleOf) -> None:
    module = module_of(kind, 0)
    same = merged(bert, [module] * 3, (0.5, 0.3, 0.2), method)
    assert torch.allclose(log_probabilities(bert, same), log_probabilities(bert, module), atol=1e-5)
    assert same.adapter.parameters == module.adapter.parameters


@pytest.mark.parametrize(("kind", "method"), LOSSLESS)
def test_all_the_weight_gives_the_member(kind: str, method: str, bert: Backbone, module_of: ModuleOf) -> None:
    one, other = module_of(kind, 0), module_of(kind, 1)
    merge_ = merged(bert, [one, other], (0.0, 1.0), method)
    assert torch.allclose(log_probabilities(bert, merge_), log_probabilities(bert, other), atol=1e-5)
    assert not torch.allclose(log_probabilities(bert, merge_), log_probabilities(bert, one), atol=1e-3)


@pytest.mark.parametrize(("kind", "method"), [each for each in LOSSLESS if not each[1].startswith("dare")])
def test_the_order_of_members_does_not_matter(kind: str, method: str, bert: Backbone, module_of: ModuleOf) -> None:
    modules = [module_of(kind, seed) for seed in range(3)]
    one = merged(bert, modules, (0.5, 0.3, 0.2), method)
    turned = merged(bert, modules[::-1], (0.2, 0.3, 0.5), method)
    assert torch.allclose(log_probabilities(bert, one), log_probabilities(bert, turned), atol=1e-5)


def test_only_ratios_of_weights_matter(bert: Backbone, module_of: ModuleOf) -> None:
    modules = [module_of("lora", 0), module_of("lora", 1)]
    one, scaled = merged(bert, modules, (0.25, 0.75)), merged(bert, modules, (1.0, 3.0))
    assert torch.equal(log_probabilities(bert, one), log_probabilities(bert, scaled))


def test_linear_gives_lora_the_mean_of_the_changes(bert: Backbone, module_of: ModuleOf) -> None:
    one, other = module_of("lora", 0), module_of("lora", 1)
    merge_ = merged(bert, [one, other], (0.7, 0.3))
    a, b = products(one.adapter_tensors, 2.0), products(other.adapter_tensors, 2.0)
    for place, change in products(merge_.adapter_tensors).items():
        assert torch.allclose(change, 0.7 * a[place] + 0.3 * b[place], atol=1e-5)
    assert (merge_.adapter.rank, merge_.adapter.alpha) == (6, 6.0)


def test_loras_of_other_ranks_and_alphas_merge_without_loss(bert: Backbone, module_of: ModuleOf) -> None:
    wide = train(SENTIMENT, SENTIMENT_ROWS, bert, TrainingOptions(steps=6, adapter_lr=0.1, rank=5, alpha=20.0))
    merge_ = merged(bert, [module_of("lora", 0), wide])
    a, b = products(module_of("lora", 0).adapter_tensors, 2.0), products(wide.adapter_tensors, 4.0)
    for place, change in products(merge_.adapter_tensors).items():
        assert torch.allclose(change, 0.5 * a[place] + 0.5 * b[place], atol=1e-5)
    assert merge_.adapter.rank == 8


@pytest.mark.parametrize("kind", ["ia3", "ia3-before", "bitfit"])
def test_linear_gives_vectors_their_mean(kind: str, bert: Backbone, module_of: ModuleOf) -> None:
    one, other = module_of(kind, 0), module_of(kind, 1)
    merge_ = merged(bert, [one, other], (0.7, 0.3))
    for name, tensor in merge_.adapter_tensors.items():
        assert torch.allclose(tensor, 0.7 * one.adapter_tensors[name] + 0.3 * other.adapter_tensors[name], atol=1e-6)


def test_a_bottleneck_gives_the_mean_of_what_its_members_give(bert: Backbone, module_of: ModuleOf) -> None:
    members = [module_of("bottleneck", seed) for seed in (0, 1)]
    merge_ = merged(bert, members, (0.7, 0.3))
    name = next(name for name in merge_.adapter_tensors if name.endswith("bottleneck_down.weight"))
    place = name.removesuffix("bottleneck_down.weight")
    states = torch.randn(4, bert.hidden_size)

    def given(module: TrainedModule) -> torch.Tensor:
        own = {key.removeprefix(place): t for key, t in module.adapter_tensors.items() if key.startswith(place)}
        inner = torch.relu(states @ own["bottleneck_down.weight"].T + own["bottleneck_down.bias"])
        return inner @ own["bottleneck_up.weight"].T + own["bottleneck_up.bias"]

    assert torch.allclose(given(merge_), 0.7 * given(members[0]) + 0.3 * given(members[1]), atol=1e-5)


def test_ties_of_equal_weights_is_that_of_peft() -> None:
    choose = torch.Generator().manual_seed(0)
    changes = [torch.randn(7, 5, generator=choose) for _ in range(3)]
    ours = merged_changes(changes, (1 / 3, 1 / 3, 1 / 3), Recipe("ties", density=0.6))
    assert torch.allclose(ours, ties(changes, torch.ones(3), 0.6), atol=1e-6)


def test_ties_counts_a_change_by_the_weights_of_those_that_agree() -> None:
    changes = [torch.tensor([1.0, 2.0, 3.0]), torch.tensor([3.0, -4.0, -1.0])]
    found = merged_changes(changes, (0.25, 0.75), Recipe("ties", density=1.0))
    assert torch.allclose(found, torch.tensor([2.5, -4.0, 3.0]))  # signs: 2.5 > 0, -2.5 < 0, 0 counts as above


def test_dare_draws_by_its_seed(bert: Backbone, module_of: ModuleOf) -> None:
    modules = [module_of("lora", 0), module_of("lora", 1)]
    said = [log_probabilities(bert, merge(modules, bert, Recipe("dare-linear", seed=seed))) for seed in (1, 1, 2)]
    assert torch.equal(said[0], said[1])
    assert not torch.allclose(said[0], said[2], atol=1e-4)


def test_the_callers_random_numbers_are_left_alone(bert: Backbone, module_of: ModuleOf) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    merge([module_of("bitfit", 0), module_of("bitfit", 1)], bert, Recipe("dare-ties"))
    assert torch.equal(torch.rand(1), expected)


def test_a_rank_that_loses_much_is_told(bert: Backbone, module_of: ModuleOf, caplog: pytest.LogCaptureFixture) -> None:
    merge_ = merge([module_of("lora", 0), module_of("lora", 1)], bert, Recipe("dare-linear", density=0.3))
    assert merge_.adapter.rank == 6
    held = merge_.training.hyperparameters["rank_holds"]
    assert isinstance(held, float)
    assert 0 < held < 0.9
    assert "rank 6 holds" in caplog.text


def test_heads_are_averaged(bert: Backbone, module_of: ModuleOf) -> None:
    one, other = module_of("none", 0), module_of("none", 1)
    merge_ = merged(bert, [one, other], (0.25, 0.75))
    for name, tensor in merge_.head_tensors.items():
        assert torch.allclose(tensor, 0.25 * one.head_tensors[name] + 0.75 * other.head_tensors[name], atol=1e-6)


def test_the_trust_in_label_words_is_averaged(bert: Backbone, module_of: ModuleOf) -> None:
    one = module_of("none", 0)
    other = replace(one, head=one.head.model_copy(update={"words": 3.0}))
    assert merged(bert, [one, other], (0.75, 0.25)).head.words == pytest.approx(1.5)


def test_half_precision_stays_half_precision(bert: Backbone, module_of: ModuleOf) -> None:
    one = module_of("none", 0)
    half = replace(
        one,
        head=one.head.model_copy(update={"dtype": "float16"}),
        head_tensors={name: tensor.half() for name, tensor in one.head_tensors.items()},
    )
    assert {tensor.dtype for tensor in merged(bert, [half, half]).head_tensors.values()} == {torch.float16}
    assert merged(bert, [half, one]).head.dtype == "float32"


def test_a_merge_reproduces_its_golden_outputs_in_the_engine(bert: Backbone, module_of: ModuleOf) -> None:
    merge_ = merge([module_of("lora", 0), module_of("lora", 1)], bert, Recipe("ties"))
    with Engine(bert) as engine:
        engine.load(merge_, "m", check=True)


def test_calibrations_are_dropped_with_a_warning(
    bert: Backbone, module_of: ModuleOf, caplog: pytest.LogCaptureFixture
) -> None:
    sure = replace(module_of("lora", 0), calibration=CalibrationSpec(temperature=2.0))
    assert merged(bert, [sure, module_of("lora", 1)]).calibration is None
    assert "--tune" in caplog.text


def test_rows_to_tune_on_calibrate_anew(bert: Backbone, module_of: ModuleOf) -> None:
    modules = [module_of("lora", 0), module_of("lora", 1)]
    merge_ = merge(modules, bert, Recipe(), tune=SENTIMENT_ROWS)
    assert merge_.calibration is not None
    assert len(str(merge_.training.hyperparameters["tuned_on"])) == 64


def test_a_multi_label_merge_gets_thresholds(bert: Backbone) -> None:
    task = TaskSpec.model_validate(SENTIMENT.model_dump() | {"type": "multi-label"})
    rows = [Example(row.fields, labels=(row.label,)) for row in SENTIMENT_ROWS]
    modules = [train(task, rows, bert, TrainingOptions(steps=2, rank=2, alpha=4.0, seed=seed)) for seed in (0, 1)]
    calibration = merge(modules, bert, Recipe(), tune=rows).calibration
    assert calibration is not None
    assert calibration.thresholds is not None
    assert len(calibration.thresholds) == 2


def test_rows_that_members_share_are_counted_once(bert: Backbone, module_of: ModuleOf) -> None:
    one, other = module_of("lora", 0), module_of("lora", 1)
    apart = replace(other, training=other.training.model_copy(update={"rows_sha256": "0" * 64}))
    together, both = merged(bert, [one, other]).training, merged(bert, [one, apart]).training
    assert together.examples_per_class == (3, 3)
    assert together.rows_sha256 == one.training.rows_sha256
    assert both.examples_per_class == (6, 6)
    assert (both.preset, both.seeds, both.steps) == ("merge", (0, 1), 4)


def _other_words(module: TrainedModule) -> TrainedModule:
    words = {"labels": {"pos": "good", "neg": ["awful", "bad"]}, "patterns": ["{text} It was {mask}."]}
    return replace(module, task=TaskSpec.model_validate(words))


def _turned(module: TrainedModule) -> TrainedModule:
    return replace(module, task=module.task.model_copy(update={"labels": module.task.labels[::-1]}))


def _other_pattern(module: TrainedModule) -> TrainedModule:
    pattern = module.task.patterns[0].model_copy(update={"keep": "tail"})
    return replace(module, task=module.task.model_copy(update={"patterns": (pattern,)}))


def _other_layers(module: TrainedModule) -> TrainedModule:
    return replace(module, adapter=module.adapter.model_copy(update={"layers": (0,)}))


def _other_head(module: TrainedModule) -> TrainedModule:
    return replace(module, head=module.head.model_copy(update={"reads": "both"}))


def _other_backbone(module: TrainedModule) -> TrainedModule:
    return replace(module, backbone=module.backbone.model_copy(update={"weights_sha256": "0" * 64}))


REFUSALS = [
    (_other_words, "label words"),
    (_turned, "labels \\(or their order\\)"),
    (_other_pattern, "patterns"),
    (_other_layers, "layers"),
    (_other_head, "head"),
    (_other_backbone, "backbones"),
]


@pytest.mark.parametrize(("change", "reason"), REFUSALS)
def test_what_differs_is_refused(change: object, reason: str, bert: Backbone, module_of: ModuleOf) -> None:
    module = module_of("lora", 0)
    with pytest.raises((InputError, BackboneMismatchError), match=reason):
        merged(bert, [module, change(module)])  # type: ignore[operator]


def test_another_kind_is_refused(bert: Backbone, module_of: ModuleOf) -> None:
    with pytest.raises(InputError, match=r"kinds of adapter.*ensemble"):
        merged(bert, [module_of("lora", 0), module_of("ia3", 0)])


def test_ia3_of_another_place_is_refused(bert: Backbone, module_of: ModuleOf) -> None:
    with pytest.raises(InputError, match=r"adapted modules or layers.*ensemble"):
        merged(bert, [module_of("ia3", 0), module_of("ia3-before", 0)])


def test_bottlenecks_of_other_widths_are_refused(bert: Backbone, module_of: ModuleOf) -> None:
    wide = AdapterChoice(kind="bottleneck", reduction=4, placement="houlsby")
    other = train(SENTIMENT, SENTIMENT_ROWS, bert, TrainingOptions(steps=1, adapter=wide))
    with pytest.raises(InputError, match="bottlenecks"):
        merged(bert, [module_of("bottleneck", 0), other])


@pytest.mark.parametrize("method", METHODS[1:])
def test_bottlenecks_merge_by_linear_alone(method: str, bert: Backbone, module_of: ModuleOf) -> None:
    with pytest.raises(InputError, match="take linear or ensemble"):
        merged(bert, [module_of("bottleneck", 0), module_of("bottleneck", 1)], None, method)


def test_bottlenecks_too_wide_together_are_refused(bert: Backbone, module_of: ModuleOf) -> None:
    with pytest.raises(InputError, match="merge fewer"):
        merged(bert, [module_of("bottleneck", seed) for seed in range(6)])


def test_random_heads_of_different_seeds_are_refused(bert: Backbone) -> None:
    rows = SENTIMENT_ROWS
    one_word = TaskSpec.model_validate(
        {"labels": {"pos": "great", "neg": "bad"}, "patterns": ["{text} It was {mask}."]}
    )
    runs = [train(one_word, rows, bert, PaperOptions(run=run)) for run in (1, 2)]
    with pytest.raises(InputError, match="different random weights"):
        merged(bert, runs)
    assert merged(bert, [runs[0], runs[0]]).head.parts == runs[0].head.parts


@pytest.mark.parametrize("weights", [(1.0,), (0.0, 0.0), (1.0, -1.0), (float("nan"), 1.0), (0.2, 0.3, 0.5)])
def test_weights_that_are_none_are_refused(weights: tuple[float, ...], bert: Backbone, module_of: ModuleOf) -> None:
    with pytest.raises(InputError, match="weights"):
        merged(bert, [module_of("none", 0), module_of("none", 1)], weights)


@pytest.mark.parametrize("density", [0.0, -1.0, 1.5, float("nan")])
def test_densities_that_are_none_are_refused(density: float) -> None:
    with pytest.raises(InputError, match="density"):
        Recipe("ties", density=density)


def test_a_single_module_is_refused(bert: Backbone, module_of: ModuleOf) -> None:
    with pytest.raises(InputError, match="2 to 64"):
        merged(bert, [module_of("none", 0)])


def test_another_backbone_is_refused(backbone_of: BackboneOf, module_of: ModuleOf) -> None:
    with pytest.raises(BackboneMismatchError):
        merged(backbone_of("other-bert"), [module_of("none", 0), module_of("none", 1)])


def test_the_backbone_is_bare_afterwards(bert: Backbone, module_of: ModuleOf) -> None:
    plain = module_of("none", 0)
    before = log_probabilities(bert, plain)
    merged(bert, [module_of("lora", 0), module_of("lora", 1)])
    assert torch.equal(log_probabilities(bert, plain), before)
    assert len(TEXTS) == len(before)
