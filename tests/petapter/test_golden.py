from dataclasses import replace
from pathlib import Path

import pytest
import torch

from petapter import Backbone, Engine, ModuleInfo, TrainedModule, open_module, save_module
from petapter.golden import check_golden, probe_texts, record_golden
from petapter.scoring import Scores
from petapter_schemas.errors import GoldenMismatchError
from tests.petapter.conftest import TOPIC


def scores(*rows: list[float]) -> Scores:
    return Scores(torch.log(torch.tensor(rows)), (0,) * len(rows))


EIGHT = [[0.25, 0.75]] * 8


def test_probes_give_every_field_another_sentence() -> None:
    probes = probe_texts(TOPIC.fields)
    assert len(probes) == 8
    assert all(set(probe) == {"title", "body"} and probe["title"] != probe["body"] for probe in probes)


def test_recorded_scores_are_reproduced_by_themselves() -> None:
    check_golden(record_golden(probe_texts(["text"]), scores(*EIGHT)), scores(*EIGHT))


@pytest.mark.parametrize("other", [[0.2525, 0.7475], [0.7, 0.3], [float("nan"), 0.5]])
def test_scores_beyond_the_tolerance_are_refused(other: list[float]) -> None:
    golden = record_golden(probe_texts(["text"]), scores(*EIGHT))
    with pytest.raises(GoldenMismatchError, match="does not reproduce its recorded outputs"):
        check_golden(golden, scores(*EIGHT[:7], other))


def test_certainty_is_recorded_as_a_log_probability_of_zero() -> None:
    # a log-softmax in float32 can come out at +1e-8, which the format does not allow
    golden = record_golden(probe_texts(["text"]), Scores(torch.tensor([[1e-8, -30.0]] * 8), (0,) * 8))
    assert golden.probes[0].log_probabilities[0] == 0.0


@pytest.mark.parametrize("name", ["sentiment", "topic", "head_only"])
def test_fresh_module_reproduces_its_golden_outputs(request: pytest.FixtureRequest, bert: Backbone, name: str) -> None:
    module: TrainedModule = request.getfixturevalue(name)
    with Engine(bert) as engine:
        engine.load(module, "m", check=True)
        assert engine.aliases == ("m",)


@pytest.mark.parametrize("name", ["sentiment", "topic", "head_only"])
def test_saved_and_opened_module_reproduces_its_golden_outputs(
    request: pytest.FixtureRequest, bert: Backbone, tmp_path: Path, name: str
) -> None:
    module: TrainedModule = request.getfixturevalue(name)
    save_module(module, tmp_path / "module", ModuleInfo("m"))
    assert open_module(tmp_path / "module", bert).golden == module.golden
    with Engine(bert) as engine:
        engine.load(tmp_path / "module", "m", check=True)


@pytest.mark.parametrize("part", ["adapter_tensors", "head_tensors"])
def test_changed_weights_are_caught_by_the_check(sentiment: TrainedModule, bert: Backbone, part: str) -> None:
    tensors = {name: tensor + 0.05 * torch.sign(tensor) for name, tensor in getattr(sentiment, part).items()}
    with Engine(bert) as engine:
        with pytest.raises(GoldenMismatchError):
            engine.load(replace(sentiment, **{part: tensors}), "m", check=True)
        assert engine.aliases == ()


def test_module_that_fails_the_check_leaves_no_adapter_behind(sentiment: TrainedModule, bert: Backbone) -> None:
    zeros = {name: torch.zeros_like(tensor) for name, tensor in sentiment.adapter_tensors.items()}
    with Engine(bert) as engine:
        with pytest.raises(GoldenMismatchError):
            engine.load(replace(sentiment, adapter_tensors=zeros), "m", check=True)
        assert not [name for name, _ in bert.model.named_modules() if "lora" in name]


def test_without_the_check_nothing_is_reproduced(sentiment: TrainedModule, bert: Backbone) -> None:
    zeros = {name: torch.zeros_like(tensor) for name, tensor in sentiment.adapter_tensors.items()}
    with Engine(bert) as engine:
        engine.load(replace(sentiment, adapter_tensors=zeros), "m")
        assert engine.aliases == ("m",)
