"""A peft LoRA classifier as a start: training begins with its weights, and what cannot be carried is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, TaskType, get_peft_model
from transformers import AutoModelForSequenceClassification

from petapter import Backbone, ModuleInfo, TrainingOptions, save_module
from petapter.training.recorded import recorded_options
from petapter.training.warm_start import read_lora_start, train_from
from petapter_schemas.errors import InputError, TensorFileError
from petapter_schemas.manifest import read_manifest
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS


@pytest.fixture(scope="module")
def adapter(directories: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As somebody's classifier leaves it: LoRA with weights that are not zero, and a head."""
    model = AutoModelForSequenceClassification.from_pretrained(directories["bert"], num_labels=2)
    config = LoraConfig(task_type=TaskType.SEQ_CLS, r=3, lora_alpha=6, target_modules=["query", "value"])
    wrapped = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0.0, 0.1, generator=torch.Generator().manual_seed(1))
    out = tmp_path_factory.mktemp("peft") / "adapter"
    wrapped.save_pretrained(out)
    return out


def changed(adapter: Path, folder: Path, **changes: object) -> Path:
    folder.mkdir()
    for path in adapter.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, **changes}))
    return folder


def test_module_begins_with_the_weights_of_the_adapter(adapter: Path, bert: Backbone) -> None:
    start = read_lora_start(adapter, bert)
    assert (start.choice.rank, start.choice.alpha, start.choice.targets) == (3, 6.0, ("query", "value"))
    still = TrainingOptions(steps=1, adapter_lr=0.0, head_lr=1e-3)
    module = train_from(start, SENTIMENT, SENTIMENT_ROWS, bert, still)
    assert module.adapter_tensors.keys() == start.tensors.keys()
    assert all(torch.equal(module.adapter_tensors[name], start.tensors[name]) for name in start.tensors)
    assert (module.adapter.rank, module.adapter.alpha) == (3, 6.0)
    assert module.training.hyperparameters["start_sha256"] == start.sha256


def test_run_from_given_weights_is_not_repeated_from_fresh_ones(adapter: Path, bert: Backbone, tmp_path: Path) -> None:
    start = read_lora_start(adapter, bert)
    module = train_from(start, SENTIMENT, SENTIMENT_ROWS, bert, TrainingOptions(steps=1))
    save_module(module, tmp_path / "begun", ModuleInfo("begun"))
    with pytest.raises(InputError, match="began with the weights of another adapter"):
        recorded_options(read_manifest(tmp_path / "begun"))


def test_module_moves_on_from_there(adapter: Path, bert: Backbone) -> None:
    start = read_lora_start(adapter, bert)
    module = train_from(start, SENTIMENT, SENTIMENT_ROWS, bert, TrainingOptions(steps=2))
    assert any(not torch.equal(module.adapter_tensors[name], start.tensors[name]) for name in start.tensors)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"peft_type": "IA3"}, "only LoRA can be a start"),
        ({"use_dora": True}, "use_dora"),
        ({"use_rslora": True}, "use_rslora"),
        ({"bias": "all"}, "bias"),
        ({"rank_pattern": {"query": 2}}, "rank_pattern"),
        ({"target_modules": ".*query"}, "only a list of module names"),
        ({"modules_to_save": ["classifier", "embeddings"]}, "also trained"),
        ({"r": "3"}, "no usable r"),
        ({"layers_to_transform": "all"}, "only a list of numbers"),
    ],
)
def test_what_cannot_be_carried_is_refused(
    adapter: Path, bert: Backbone, tmp_path: Path, changes: dict[str, object], expected: str
) -> None:
    with pytest.raises(InputError, match=expected):
        read_lora_start(changed(adapter, tmp_path / "x", **changes), bert)


def test_adapter_of_another_shape_is_refused(adapter: Path, bert: Backbone, tmp_path: Path) -> None:
    start = read_lora_start(changed(adapter, tmp_path / "x", r=4), bert)
    with pytest.raises(TensorFileError, match="do not fit this backbone"):
        train_from(start, SENTIMENT, SENTIMENT_ROWS, bert, TrainingOptions(steps=1))


def test_pickled_weights_are_not_read(adapter: Path, bert: Backbone, tmp_path: Path) -> None:
    copy = changed(adapter, tmp_path / "x")
    (copy / "adapter_model.safetensors").rename(copy / "adapter_model.bin")
    with pytest.raises(InputError, match="other formats can run code"):
        read_lora_start(copy, bert)


def test_directory_without_an_adapter_is_refused(bert: Backbone, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no adapter directory"):
        read_lora_start(tmp_path, bert)
