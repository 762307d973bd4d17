"""Graphs of modules: onnxruntime says what we say, for every kind of adapter, head and architecture."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from petapter import Backbone, Example, ModuleInfo, StrongOptions, TrainedModule, TrainingOptions, save_module, train
from petapter.adapters import AdapterChoice
from petapter.onnx_export import TOLERANCE, ExportedOnnx, export_onnx
from petapter.runtime import Engine
from petapter.task.encoding import Encoder, pad_batch
from petapter_schemas.errors import InputError
from petapter_schemas.manifest import CalibrationSpec
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import QUICK, SENTIMENT, SENTIMENT_ROWS, TOPIC, TOPIC_ROWS, BackboneOf
from tests.petapter.tiny_backbones import ARCHITECTURES

pytest.importorskip("onnxruntime", reason="the export is an extra")
pytest.importorskip("onnxscript", reason="likewise")

Export = Callable[[str], tuple[TrainedModule, ExportedOnnx]]
CHOICES = {
    "lora": AdapterChoice(kind="lora"),
    "ia3": AdapterChoice(kind="ia3"),
    "ia3-before": AdapterChoice(kind="ia3", ia3_place="before-activation"),
    "bitfit": AdapterChoice(kind="bitfit"),
    "bottleneck": AdapterChoice(kind="bottleneck"),
    "none": AdapterChoice(kind="none"),
}
LOUD = replace(QUICK, adapter_lr=0.05, steps=6)
"""So that an adapter that were lost would be noticed."""


def saved(module: TrainedModule, folder: Path) -> Path:
    save_module(module, folder / "m", ModuleInfo("m"))
    return folder / "m"


def ask(graph: Path, backbone: Backbone, module: TrainedModule, texts: list[dict[str, str]], pattern: int = 0) -> Any:
    import onnxruntime

    batch = pad_batch(Encoder(backbone.tokenizer, module.task.patterns[pattern], backbone.max_tokens).encode(texts), 0)
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    if module.head.pool_layers:
        inputs["text_mask"] = batch.text_mask.long()
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    return session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})[0]


@pytest.fixture(scope="module")
def exported(bert: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """A module with a kind of adapter and its graph, each made once; the backbone is looked at before and after."""

    @cache
    def export(kind: str) -> tuple[TrainedModule, ExportedOnnx]:
        module = train(SENTIMENT, SENTIMENT_ROWS, bert, replace(LOUD, adapter=CHOICES[kind]))
        folder = tmp_path_factory.mktemp(kind)
        before = {name: tensor.clone() for name, tensor in bert.model.state_dict().items()}
        made = export_onnx(bert, saved(module, folder), folder / "m.onnx")
        after = bert.model.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
        return module, made

    return export


@pytest.mark.parametrize("kind", CHOICES)
def test_graph_says_what_the_module_recorded(bert: Backbone, exported: Export, kind: str) -> None:
    module, made = exported(kind)
    assert made.worst <= TOLERANCE
    texts = [dict(probe.fields) for probe in module.golden.probes]
    expected = [probe.log_probabilities for probe in module.golden.probes]
    assert np.abs(ask(made.graph, bert, module, texts) - np.array(expected)).max() <= TOLERANCE


@pytest.mark.parametrize("family", sorted({*ARCHITECTURES} - {"bert"}))  # BERT is what all other tests export
def test_every_architecture_can_be_exported(backbone_of: BackboneOf, tmp_path: Path, family: str) -> None:
    backbone = backbone_of(family)
    module = train(SENTIMENT, SENTIMENT_ROWS, backbone, LOUD)
    assert export_onnx(backbone, saved(module, tmp_path), tmp_path / "m.onnx").worst <= TOLERANCE


def test_merged_adapter_is_not_in_the_graph(exported: Export) -> None:
    import onnx

    graphs = [onnx.load(exported(kind)[1].graph).graph for kind in ("none", "lora", "ia3", "ia3-before")]
    counts = [(len(graph.node), sum(len(tensor.raw_data) for tensor in graph.initializer)) for graph in graphs]
    assert len(set(counts)) == 1


def test_strong_head_with_pools_and_calibration(bert: Backbone, tmp_path: Path) -> None:
    module = train(SENTIMENT, SENTIMENT_ROWS * 3, bert, StrongOptions())
    assert module.head.pool_layers
    assert module.calibration is not None
    made = export_onnx(bert, saved(module, tmp_path), tmp_path / "m.onnx")
    assert made.worst <= TOLERANCE
    described: Any = json.loads(made.description.read_text())
    assert set(described["inputs"]) == {"input_ids", "attention_mask", "text_mask"}


def test_chosen_pattern_of_several_with_several_masks(bert: Backbone, tmp_path: Path) -> None:
    module = train(TOPIC, TOPIC_ROWS, bert, LOUD)
    directory = saved(module, tmp_path)
    with pytest.raises(InputError, match="averages 2 patterns"):
        export_onnx(bert, directory, tmp_path / "m.onnx")
    with pytest.raises(InputError, match="no pattern 2"):
        export_onnx(bert, directory, tmp_path / "m.onnx", pattern=2)
    made = export_onnx(bert, directory, tmp_path / "m.onnx", pattern=1)
    texts = [dict(row.fields) for row in TOPIC_ROWS]
    with Engine(bert) as engine:
        engine.load(directory, "m", patterns=(1,))
        said = engine.predict([("m", text) for text in texts])
    names = module.task.label_names
    expected = np.log([[each.probabilities[name] for name in names] for each in said])
    assert np.abs(ask(made.graph, bert, module, texts, pattern=1) - expected).max() <= TOLERANCE
    described: Any = json.loads(made.description.read_text())
    assert described["pattern"]["template"] == TOPIC.patterns[1].template
    assert (described["pattern"]["masks"], described["pattern"]["keep"]) == (2, "tail")


def test_multi_label_module_with_thresholds(bert: Backbone, tmp_path: Path) -> None:
    task = TaskSpec.model_validate({**SENTIMENT.model_dump(), "type": "multi-label"})
    rows = [Example(row.fields, labels=(row.label,)) for row in SENTIMENT_ROWS]
    module = train(task, rows, bert, LOUD)
    module = replace(module, calibration=CalibrationSpec(thresholds=(0.3, 0.6)))
    made = export_onnx(bert, saved(module, tmp_path), tmp_path / "m.onnx")
    assert json.loads(made.description.read_text())["thresholds"] == [0.3, 0.6]


def test_pattern_that_keeps_windows_is_refused(bert: Backbone, tmp_path: Path) -> None:
    pattern = {"template": "{text} It was {mask}.", "keep": "windows", "windows": {}}
    task = TaskSpec.model_validate({**SENTIMENT.model_dump(), "patterns": [pattern]})
    directory = saved(train(task, SENTIMENT_ROWS, bert, QUICK), tmp_path)
    with pytest.raises(InputError, match="in several windows"):
        export_onnx(bert, directory, tmp_path / "m.onnx")


def test_nothing_is_written_over_and_nothing_is_left(bert: Backbone, tmp_path: Path) -> None:
    directory = saved(train(SENTIMENT, SENTIMENT_ROWS, bert, TrainingOptions(steps=1, rank=0)), tmp_path)
    (tmp_path / "m.json").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        export_onnx(bert, directory, tmp_path / "m.onnx")
    (tmp_path / "m.json").unlink()
    with pytest.raises(InputError, match="end in"):
        export_onnx(bert, directory, tmp_path / "m.bin")
    with pytest.raises(InputError, match="no folder"):
        export_onnx(bert, directory, tmp_path / "absent" / "m.onnx")
    export_onnx(bert, directory, tmp_path / "m.onnx")
    assert {path.name for path in tmp_path.iterdir()} == {"m", "m.onnx", "m.json", "m.tokenizer.json"}


def test_missing_library_is_named(bert: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = saved(train(SENTIMENT, SENTIMENT_ROWS, bert, TrainingOptions(steps=1, rank=0)), tmp_path)
    monkeypatch.setattr("petapter.onnx_export.find_spec", lambda name: None if name == "onnxruntime" else name)
    with pytest.raises(InputError, match=r"needs onnxruntime: pip install 'petapter\[onnx\]'"):
        export_onnx(bert, directory, tmp_path / "m.onnx")
