"""Writes one pattern of a module, merged into its backbone, as ONNX: token ids in, label log-probabilities out.

LoRA is added to the weights and (IA)^3 multiplied into them, so that nothing of them is left in the graph; biases of
BitFit and bottlenecks, which are not linear, stand in it as they act. The head's own parts and the calibration are part
of it. A graph reads tokens; how a text becomes tokens stands in the JSON beside it, with the tokenizer.
"""

import copy
import dataclasses
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from petapter.adapters import AdapterSlots, peft_config
from petapter.backbone import Backbone, Reading
from petapter.head import PetHead, restore_head
from petapter.module import open_module, read_manifest
from petapter.scoring import calibrated, score
from petapter.task.encoding import Batch, Encoder, Fields, pad_batch
from petapter.trained import TrainedModule, with_patterns
from petapter_schemas.digests import sha256_file
from petapter_schemas.durable import new_directory, write_file_durably
from petapter_schemas.errors import GoldenMismatchError, InputError
from petapter_schemas.manifest import MANIFEST_FILE, CalibrationSpec, Manifest

TOLERANCE = 1e-4
"""How far a log-probability of the graph may be from ours on the probe texts."""

_NEEDED = ("onnx", "onnxscript", "onnxruntime")
_MERGED_KINDS = frozenset({"lora", "ia3"})
_OPSET = 18
_MOST_BYTES = 1_900_000_000
"""Of weights in one file, which protobuf limits to 2 GiB."""
_EXAMPLE_ROWS = 2

Numbers = NDArray[Any]


@dataclass(frozen=True)
class ExportedOnnx:
    """What was written.

    Attributes:
        graph: The ONNX file.
        description: How to fill the pattern and read the answer, as JSON.
        tokenizer: tokenizer.json of the backbone, without truncation and padding.
        pattern: Number of the exported pattern.
        worst: The largest difference to our own log-probabilities on the probe texts, by onnxruntime.
    """

    graph: Path
    description: Path
    tokenizer: Path
    pattern: int
    worst: float


def export_onnx(backbone: Backbone, module: Path, out: Path, *, pattern: int | None = None) -> ExportedOnnx:
    """Export a module directory; all three files are checked and appear together, or none does.

    Args:
        backbone: That of the module; it is copied, so twice its memory is needed.
        module: Its directory.
        out: `NAME.onnx`; `NAME.json` and `NAME.tokenizer.json` are put beside it.
        pattern: Which of the module's patterns, from 0; may be left out where there is one.

    Raises:
        InputError: `onnx`, `onnxscript` or `onnxruntime` is missing, a file is there already, the pattern must be
            chosen or does not exist or keeps windows, or the backbone is too large for one file.
        GoldenMismatchError: onnxruntime says something else than we do.
        PetapterError: The module must not be used or does not fit the backbone.
    """
    check_onnx(out)
    manifest = read_manifest(module)
    trained = open_module(module, backbone)
    number = _chosen(trained, pattern)
    alone = with_patterns(trained, [number])
    _check_size(backbone)
    with new_directory(out.parent / f".{out.stem}-onnx") as scratch, torch.no_grad():
        merged = dataclasses.replace(backbone, model=copy.deepcopy(backbone.model))
        head = _merge(merged, alone)
        graph = scratch / "graph.onnx"
        _write_graph(merged, alone, head, graph)
        worst = _compare(merged, alone, head, graph)
        files = _Files.beside(out)
        written = {
            files.tokenizer: _tokenizer_bytes(backbone),
            files.description: _describe(manifest, sha256_file(module / MANIFEST_FILE), alone, number, files, merged),
            files.graph: graph.read_bytes(),
        }
    for path, data in written.items():
        write_file_durably(path, data)
    return ExportedOnnx(files.graph, files.description, files.tokenizer, number, worst)


def check_onnx(out: Path) -> None:
    """Refuse what cannot be exported before anything is loaded.

    Raises:
        InputError: A library is missing, the name is of no ONNX file, its folder is missing, or a file is there.
    """
    for library in _NEEDED:
        if find_spec(library) is None:
            raise InputError(f"the export needs {library}: pip install 'petapter[onnx]'")
    if out.suffix != ".onnx":
        raise InputError(f"{out} is no name of an ONNX file: let it end in .onnx")
    if not out.parent.is_dir():
        raise InputError(f"there is no folder {out.parent}: make it first")
    for path in dataclasses.astuple(_Files.beside(out)):
        if path.exists():
            raise InputError(f"{path} exists already: choose another name or remove it")


@dataclass(frozen=True)
class _Files:
    """The three files of an export."""

    graph: Path
    description: Path
    tokenizer: Path

    @classmethod
    def beside(cls, out: Path) -> "_Files":
        return cls(out, out.with_suffix(".json"), out.with_suffix(".tokenizer.json"))


def _chosen(module: TrainedModule, pattern: int | None) -> int:
    patterns = module.task.patterns
    listed = ", ".join(f"{number} {each.template!r}" for number, each in enumerate(patterns))
    if pattern is None and len(patterns) > 1:
        raise InputError(f"the module averages {len(patterns)} patterns, a graph has one: choose --pattern ({listed})")
    number = pattern or 0
    if not 0 <= number < len(patterns):
        raise InputError(f"the module has no pattern {number}: choose one of {listed}")
    if patterns[number].keep == "windows":
        raise InputError(
            f"pattern {number} reads long texts in several windows, which one pass through a graph cannot: choose "
            "another pattern, or train with --keep head+tail"
        )
    if len(patterns) > 1 and module.calibration is not None:
        logging.getLogger(__name__).warning(
            "the module is calibrated to the mean of its %d patterns: measure what pattern %d says alone",
            len(patterns), number,
        )  # fmt: skip
    return number


def _check_size(backbone: Backbone) -> None:
    size = sum(parameter.numel() * 4 for parameter in backbone.model.parameters())
    if size > _MOST_BYTES:
        raise InputError(f"the backbone has {size:,} bytes of weights; up to {_MOST_BYTES:,} fit into one ONNX file")
    backbone.check_trains()  # in less than single precision the weights are rounded already


def _merge(backbone: Backbone, module: TrainedModule) -> PetHead:
    """Put the adapter into the weights of a backbone of our own, and build the head."""
    head = restore_head(backbone, module.verbalizer, module.head, len(module.task.patterns), module.head_tensors)
    if module.adapter.kind == "none":
        return head
    slots = AdapterSlots(backbone.model)
    slots.add("exported", peft_config(module.adapter))
    slots.write("exported", {name: tensor.float() for name, tensor in module.adapter_tensors.items()})
    backbone.model.eval()
    if module.adapter.kind in _MERGED_KINDS:
        adapted = [(n, layer) for n, layer in backbone.model.named_modules() if isinstance(layer, BaseTunerLayer)]
        for name, layer in adapted:
            layer.merge()
            backbone.model.set_submodule(name, layer.get_base_layer())
    return head


class _OnePass(nn.Module):
    """The whole way from token ids to calibrated label log-probabilities."""

    def __init__(self, backbone: Backbone, head: PetHead, masks: int, module: TrainedModule) -> None:
        super().__init__()
        self.backbone, self.head, self.masks = backbone.model.base_model, head, masks
        self.mask_id, self.layers = int(backbone.tokenizer.mask_token_id), backbone.layers
        self.is_single = module.task.type == "single-label"
        self.calibration: CalibrationSpec | None = module.calibration

    def forward(self, input_ids: Tensor, attention_mask: Tensor, text_mask: Tensor | None = None) -> Tensor:
        """Log-probabilities [B, L] of texts in the pattern, int64 [B, S] each."""
        pooled = self.head.shape.pool_layers
        needs_lower = any(layer != self.layers for layer in pooled)
        output = self.backbone(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=needs_lower)
        last = output.last_hidden_state
        is_mask = input_ids == self.mask_id
        order = is_mask.to(torch.int64).cumsum(dim=1)
        numbers = torch.arange(1, self.masks + 1, device=input_ids.device)
        chosen = (is_mask.unsqueeze(1) & (order.unsqueeze(1) == numbers.view(1, -1, 1))).to(last.dtype)  # [B, M, S]
        reading = Reading(chosen @ last, self._pools(output, text_mask))
        logits = self.head(reading, 0)
        if self.is_single:
            logits = torch.log_softmax(logits, dim=-1)
        logits = calibrated(logits, self.calibration)
        return torch.log_softmax(logits, dim=-1) if self.is_single else nn.functional.logsigmoid(logits)

    def _pools(self, output: Any, text_mask: Tensor | None) -> Tensor | None:  # noqa: ANN401 (transformers' output)
        if text_mask is None:
            return None
        last = output.last_hidden_state
        chosen = text_mask.to(last.dtype).unsqueeze(-1)  # [B, S, 1]
        layers = [
            last if layer == self.layers else output.hidden_states[layer] for layer in self.head.shape.pool_layers
        ]
        means = torch.stack([(hidden * chosen).sum(dim=1) for hidden in layers], dim=1)  # [B, P, H]
        return nn.functional.normalize(means, dim=-1)


def _write_graph(backbone: Backbone, module: TrainedModule, head: PetHead, path: Path) -> None:
    encoded = _encode(backbone, module, [probe.fields for probe in module.golden.probes][:_EXAMPLE_ROWS])
    masks = module.task.patterns[0].masks
    network = _OnePass(backbone, head, masks, module).eval()
    if head.has_rows:
        head.word_map(masks, backbone.device)  # else the exporter's own tensor would be remembered
    inputs = _inputs(encoded, head)
    axes = {name: {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO} for name in inputs}
    with warnings.catch_warnings(), _without_remarks():
        warnings.simplefilter("ignore")  # about the exporter's own steps
        torch.onnx.export(
            network, (), str(path), kwargs=inputs, input_names=list(inputs), output_names=["log_probabilities"],
            dynamic_shapes=axes, opset_version=_OPSET, external_data=False, verbose=False, dynamo=True,
        )  # fmt: skip


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Keep torch from writing to standard error that torchvision is missing, which no graph of ours needs."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _encode(backbone: Backbone, module: TrainedModule, texts: Sequence[Fields]) -> Batch:
    encoder = Encoder(backbone.tokenizer, module.task.patterns[0], backbone.max_tokens, module.task.tokenization)
    return pad_batch(encoder.encode(texts), backbone.pad_id)


def _inputs(batch: Batch, head: PetHead) -> dict[str, Tensor]:
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    if head.shape.pool_layers:
        inputs["text_mask"] = batch.text_mask.to(torch.int64)
    return inputs


def _compare(backbone: Backbone, module: TrainedModule, head: PetHead, graph: Path) -> float:
    """The largest difference on the probe texts, asked one by one and together.

    Raises:
        GoldenMismatchError: It is more than TOLERANCE.
    """
    import onnxruntime  # noqa: PLC0415 (optional, and slow to import)

    texts = [probe.fields for probe in module.golden.probes]
    expected = score(backbone, head, module.task, texts, module.calibration).log_probabilities.numpy()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])

    def ask(rows: Sequence[Fields]) -> Numbers:
        inputs: Mapping[str, Tensor] = _inputs(_encode(backbone, module, rows), head)
        answer: Numbers = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})[0]
        return answer

    found = [ask(texts), np.concatenate([ask([text]) for text in texts])]
    worst = max(float(np.abs(each - expected).max()) for each in found)
    if not worst <= TOLERANCE:
        raise GoldenMismatchError(
            f"onnxruntime differs by {worst:.2g} in a log-probability, more than {TOLERANCE:g}: nothing was written; "
            "compare the versions of torch and onnxruntime with constraints.txt"
        )
    return worst


def _tokenizer_bytes(backbone: Backbone) -> bytes:
    text: str = backbone.tokenizer.backend_tokenizer.to_str(pretty=False)
    return text.encode("utf-8")


def _describe(
    manifest: Manifest, digest: str, module: TrainedModule, number: int, files: _Files, backbone: Backbone
) -> bytes:
    pattern, calibration = module.task.patterns[0], module.calibration
    pools = bool(module.head.pool_layers)
    document = {
        "format": "petapter-onnx",
        "version": 1,
        "module": {"name": manifest.name, "version": manifest.version, "sha256": digest},
        "backbone": manifest.backbone.repo,
        "graph": files.graph.name,
        "tokenizer": files.tokenizer.name,
        "pattern": {
            "number": number,
            "template": pattern.template,
            "fields": list(pattern.fields),
            "masks": pattern.masks,
            "keep": pattern.keep,
            "texts": module.task.tokenization.texts,
        },
        "mask_token": str(backbone.tokenizer.mask_token),
        "special_tokens": [str(token) for token in backbone.tokenizer.all_special_tokens],
        "pad_id": backbone.pad_id,
        "max_tokens": backbone.max_tokens,
        "inputs": {
            "input_ids": "int64 [B, S]",
            "attention_mask": "int64 [B, S]: 1 for tokens, 0 for padding",
            **({"text_mask": "int64 [B, S]: 1 for tokens that end in a character of a text field"} if pools else {}),
        },
        "output": {"log_probabilities": "float32 [B, L], calibrated"},
        "type": module.task.type,
        "labels": list(module.task.label_names),
        "abstain_below": calibration.abstain_below if calibration else None,
        "thresholds": list(calibration.thresholds) if calibration and calibration.thresholds else None,
        "steps": _steps(module),
    }
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def _steps(module: TrainedModule) -> list[str]:
    """How a text becomes what the graph reads, for whoever writes a program for it."""
    apart = module.task.tokenization.texts == "apart"
    fill = (
        "Tokenize the template with its masks, special tokens and padding tokens in place of the text fields; put the "
        "ids of each field, tokenized without special tokens, in the place of its padding token."
        if apart
        else "Put the fields and the mask tokens into the template, and tokenize that with special tokens."
    )
    answer = (
        "The answer is the label of the highest log-probability; none where it is below abstain_below."
        if module.task.type == "single-label"
        else "The answer is every label whose probability is at least its threshold, 0.5 without thresholds."
    )
    return [
        "In each field, put a space after the first character of every special token that it spells out.",
        fill,
        "Where there are more than max_tokens tokens, leave out tokens of fields as `keep` says, none of the pattern.",
        answer,
    ]
