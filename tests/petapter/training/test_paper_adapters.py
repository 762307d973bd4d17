"""The three adapters of preset `paper`: how they begin, and the losses and weights of their training.

The references know neither petapter nor peft: `paper_reference.py` writes AdapterHub's formulas out.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import RobertaConfig, RobertaForMaskedLM

from petapter import Backbone, Engine, ModuleInfo, TrainedModule, open_module, save_module
from petapter.adapters import AdapterChoice, adapter_spec
from petapter.benchmark.module_methods import paper_method
from petapter.training import PaperOptions, train_paper
from petapter.training.paper import PaperAdapter
from petapter.training.recorded import recorded_options
from petapter_schemas.errors import InputError
from petapter_schemas.manifest import Manifest, read_manifest
from tests.petapter.conftest import BackboneOf
from tests.petapter.training.paper_reference import Reference, ones_of_ia3, read_as_in_the_paper
from tests.petapter.training.test_paper import ROWS, TASK, TWO_MASKS, assert_answers, tensors

STILL = 1e-30
"""A learning rate at which nothing moves."""


def begun(backbone: Backbone, kind: PaperAdapter, **options: object) -> dict[str, Tensor]:
    """The adapter's tensors as they begin."""
    chosen = replace(PaperOptions(epochs=1, adapter=kind, lr=STILL), **options)  # type: ignore[arg-type]
    return dict(train_paper(TASK, ROWS, backbone, chosen).adapter_tensors)


def together(found: Mapping[str, Tensor], part: str) -> Tensor:
    return torch.cat([tensor.flatten() for name, tensor in found.items() if name.endswith(part)])


def test_ia3_begins_at_ones_on_keys_values_and_what_the_activation_gets(directories: dict[str, Path]) -> None:
    for family in ("bert", "roberta"):
        found = begun(Backbone.load(directories[family], device="cpu"), "ia3")
        expected = ones_of_ia3(directories[family])
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_bottleneck_begins_at_small_random_numbers_in_both_layers(bert: Backbone) -> None:
    # AdapterHub's init_weights "bert": N(0, 0.02), biases at 0; bounds: 5 standard errors of mean and deviation
    for run in (1, 2):
        found = begun(bert, "bottleneck", run=run)
        for part in ("bottleneck_down.weight", "bottleneck_up.weight"):
            drawn = together(found, part)
            assert len(drawn) == 2 * 2 * 32  # two layers of two neurons
            assert abs(float(drawn.mean())) < 5 * 0.02 / math.sqrt(len(drawn))
            assert abs(float(drawn.std()) - 0.02) < 5 * 0.02 / math.sqrt(2 * len(drawn))
        assert not bool(together(found, ".bias").abs().gt(1e-20).any())


def test_lora_begins_at_kaimings_numbers_and_zeros(bert: Backbone) -> None:
    # torch's kaiming_uniform_ with a = sqrt(5), as Hu et al. and AdapterHub: uniform to +-sqrt(6 / (1 + 5) / in)
    found = begun(bert, "lora")
    down, bound = together(found, "lora_A.weight"), 1 / math.sqrt(32)
    assert len(down) == 2 * 2 * 8 * 32
    assert 0.99 * bound < float(down.abs().max()) <= bound
    assert abs(float(down.std()) - bound / math.sqrt(3)) < 5 * 0.45 * bound / math.sqrt(3 * len(down))
    assert abs(float(down.mean())) < 5 * bound / math.sqrt(3 * len(down))
    assert not bool(together(found, "lora_B.weight").abs().gt(1e-20).any())


@pytest.mark.parametrize(
    ("kind", "family", "lr"),
    [
        ("ia3", "bert", 5e-5),
        ("ia3", "roberta", 2e-3),
        ("bottleneck", "bert", 5e-5),
        ("bottleneck", "roberta", 2e-3),
    ],
)
def test_losses_tensors_and_answers_are_those_of_a_straight_loop(
    still_directory_of: Callable[[str], Path], kind: PaperAdapter, family: str, lr: float
) -> None:
    # of LoRA in test_paper.py
    directory = still_directory_of(family)
    backbone, task = Backbone.load(directory, device="cpu"), TWO_MASKS
    losses: list[float] = []
    options = PaperOptions(run=3, epochs=3, lr=lr, adapter=kind)
    start = train_paper(task, ROWS, backbone, replace(options, lr=STILL))
    module = train_paper(task, ROWS, backbone, options, on_step=lambda _, __, loss: losses.append(loss))

    words = [backbone.tokenizer.encode(label.words[0], add_special_tokens=False)[:2] for label in task.labels]
    template = task.patterns[0].template
    texts = [read_as_in_the_paper(backbone.tokenizer, template, row.fields["text"], 64)[:2] for row in ROWS]
    first = ones_of_ia3(directory) if kind == "ia3" else start.adapter_tensors
    reference = Reference(directory, first, start.head_tensors)
    labels = [task.label_names.index(row.label) for row in ROWS]
    expected = reference.train(texts, labels, words, epochs=3, seed=3 * 1895, lr=lr)

    assert losses == pytest.approx(expected, abs=2e-4)
    before, after = {**start.head_tensors, **first}, tensors(module)
    assert after.keys() == before.keys()
    for name, value in {**reference.adapter, **reference.head}.items():
        way = value.detach() - before[name]
        assert float((after[name] - before[name] - way).norm() / way.norm()) < 0.02, name
        assert float(way.abs().max()) > lr / 10
    assert_answers(backbone, module, [reference.logits(*text, words) for text in texts])


def test_either_place_of_ia3_is_a_switch_that_changes_the_module(bert: Backbone) -> None:
    options = PaperOptions(epochs=4, adapter="ia3", lr=0.1)
    before, after = (
        train_paper(TASK, ROWS, bert, replace(options, ia3_place=place))  # type: ignore[arg-type]
        for place in ("before-activation", "after-activation")
    )
    assert before.adapter.targets == ("attention.self.key", "attention.self.value", "intermediate.dense")
    assert before.adapter.feedforward == ()
    assert after.adapter.targets == ("attention.self.key", "attention.self.value", "output.dense")
    assert after.adapter.feedforward == ("output.dense",)
    places = [module.training.hyperparameters["ia3_place"] for module in (before, after)]
    assert places == ["before-activation", "after-activation"]
    assert [module.adapter.parameters for module in (before, after)] == [2 * (32 + 32 + 64)] * 2
    scored = [torch.tensor([p.log_probabilities for p in module.golden.probes]) for module in (before, after)]
    assert float((scored[0] - scored[1]).abs().max()) > 1e-4


@pytest.mark.parametrize(("hidden", "layers", "parameters"), [(768, 12, 55_296), (1024, 24, 147_456)])
def test_ia3_of_roberta_has_the_papers_number_of_parameters(hidden: int, layers: int, parameters: int) -> None:
    # METHOD's table of sizes: with the head 2.60 MB on roberta-base and 4.81 MB on roberta-large
    with torch.device("meta"):
        model = RobertaForMaskedLM(
            RobertaConfig(
                vocab_size=100,
                hidden_size=hidden,
                num_hidden_layers=layers,
                num_attention_heads=16,
                intermediate_size=4 * hidden,
            )
        )
    choice = PaperOptions(adapter="ia3").recipe(10).options.adapter
    assert choice == AdapterChoice(kind="ia3", ia3_place="before-activation")
    assert adapter_spec(choice, model).parameters == parameters


@pytest.mark.parametrize("place", ["before-activation", "after-activation"])
def test_saved_ia3_opens_and_its_run_is_known_again(bert: Backbone, tmp_path: Path, place: str) -> None:
    options = PaperOptions(epochs=1, adapter="ia3", lr=1e-2, ia3_place=place)  # type: ignore[arg-type]
    module = train_paper(TASK, ROWS, bert, options)
    save_module(module, tmp_path / "m", ModuleInfo("m"))
    opened: TrainedModule = open_module(tmp_path / "m", bert)
    assert opened.adapter == module.adapter
    with Engine(bert) as engine:
        engine.load(tmp_path / "m", "m", check=True)
    assert recorded_options(read_manifest(tmp_path / "m")) == options


@pytest.mark.parametrize("place", ["before-activation", "after-activation"])
def test_manifest_made_before_the_place_was_an_option_tells_it_by_its_targets(
    bert: Backbone, tmp_path: Path, place: str
) -> None:
    options = PaperOptions(epochs=1, adapter="ia3", ia3_place=place)  # type: ignore[arg-type]
    save_module(train_paper(TASK, ROWS, bert, options), tmp_path / "m", ModuleInfo("m"))
    manifest = read_manifest(tmp_path / "m")
    assert recorded_options(_without(manifest, "ia3_place")) == options


def _without(manifest: Manifest, name: str) -> Manifest:
    kept = {key: value for key, value in manifest.training.hyperparameters.items() if key != name}
    return manifest.model_copy(update={"training": manifest.training.model_copy(update={"hyperparameters": kept})})


def test_place_of_another_adapter_or_none_that_exists_is_refused() -> None:
    with pytest.raises(InputError, match="ia3_place belongs to adapter ia3, not lora: drop it"):
        PaperOptions(ia3_place="after-activation")
    with pytest.raises(InputError, match=r"'middle' is no place of \(IA\)\^3: take after-activation"):
        PaperOptions(adapter="ia3", ia3_place="middle")  # type: ignore[arg-type]


def test_keys_that_are_adapted_too_are_warned_of(backbone_of: BackboneOf, caplog: pytest.LogCaptureFixture) -> None:
    for family, kind in (("modernbert", "lora"), ("modernbert", "bottleneck"), ("bert", "lora")):
        caplog.clear()
        options = PaperOptions(epochs=1, adapter=kind)  # type: ignore[arg-type]
        module = train_paper(TASK, ROWS[:2], backbone_of(family), options)
        warned = "gives queries, keys and values, so the LoRA of preset paper adapts the keys too" in caplog.text
        assert warned == (module.adapter.targets == ("Wqkv",)) == ((family, kind) == ("modernbert", "lora"))


def test_place_of_ia3_decides_the_benchmark_runs_of_ia3_alone() -> None:
    assert "ia3_place" not in paper_method(adapter="lora").options  # so that finished runs of LoRA stay finished
    assert paper_method(adapter="ia3").options["ia3_place"] == "before-activation"
