"""The same code on a GPU: training runs there, and answers agree between the devices."""

from pathlib import Path

import pytest
import torch

from petapter import Backbone, Engine, ModuleInfo, StrongOptions, TrainedModule, save_module, train
from tests.petapter.conftest import QUICK, SENTIMENT, SENTIMENT_ROWS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and there is none"),
]


@pytest.fixture
def cuda(directories: dict[str, Path]) -> Backbone:
    return Backbone.load(directories["bert"], repo="bert", device="cuda")


def probabilities(backbone: Backbone, module: TrainedModule | Path) -> list[dict[str, float]]:
    with Engine(backbone) as engine:
        engine.load(module, "mood", check=True)
        requests = [("mood", row.fields["text"]) for row in SENTIMENT_ROWS]
        return [answer.probabilities for answer in engine.predict(requests)]


def test_a_module_trained_on_the_cpu_answers_alike_on_the_gpu(
    cuda: Backbone, bert: Backbone, sentiment: TrainedModule
) -> None:
    for here, there in zip(probabilities(cuda, sentiment), probabilities(bert, sentiment), strict=True):
        assert here == pytest.approx(there, abs=1e-3)


def test_a_module_trained_on_the_gpu_opens_on_the_cpu(cuda: Backbone, bert: Backbone, tmp_path: Path) -> None:
    save_module(train(SENTIMENT, SENTIMENT_ROWS, cuda, QUICK), tmp_path / "mood", ModuleInfo("mood"))
    for here, there in zip(probabilities(bert, tmp_path / "mood"), probabilities(cuda, tmp_path / "mood"), strict=True):
        assert here == pytest.approx(there, abs=1e-3)


def test_the_strong_preset_trains_its_delta_on_the_gpu(cuda: Backbone, bert: Backbone, tmp_path: Path) -> None:
    options = StrongOptions(least_rows=4, steps=12, batch_size=4, rank=2, adapter_lr=0.02)
    save_module(train(SENTIMENT, SENTIMENT_ROWS * 3, cuda, options), tmp_path / "mood", ModuleInfo("mood"))
    for here, there in zip(probabilities(bert, tmp_path / "mood"), probabilities(cuda, tmp_path / "mood"), strict=True):
        assert here == pytest.approx(there, abs=1e-3)
