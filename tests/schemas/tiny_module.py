"""Builds a complete valid module of a few KB without torch: hidden size 8, one LoRA layer of rank 2."""

import json
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from petapter_schemas.adapter_spec import AdapterSpec
from petapter_schemas.card import render_card
from petapter_schemas.digests import sha256_bytes
from petapter_schemas.golden import Golden, Probe
from petapter_schemas.manifest import (
    MANIFEST_FILE,
    BackboneSpec,
    EvaluationSet,
    EvaluationSpec,
    FileSpec,
    HeadSpec,
    Interval,
    Manifest,
    TrainingSpec,
    manifest_bytes,
    read_manifest,
)
from petapter_schemas.task import TaskSpec

HIDDEN = 8
RANK = 2
_QUERY = "base_model.model.bert.encoder.layer.0.attention.self.query"


class TinyModule(Protocol):
    def __call__(
        self, directory: Path, *, name: str = ..., version: str = ..., labels: Sequence[str] = ...
    ) -> Path: ...


def build_tiny_module(
    directory: Path, *, name: str = "tiny", version: str = "1.0.0", labels: Sequence[str] = ("a", "b")
) -> Path:
    """Write a module into a new or empty directory and return it."""
    return write_module(directory, tiny_manifest(name=name, version=version, labels=labels))


def tiny_manifest(*, name: str = "tiny", version: str = "1.0.0", labels: Sequence[str] = ("a", "b")) -> Manifest:
    """The manifest without its files."""
    count = len(labels)
    return Manifest(
        name=name,
        version=version,
        description="Made by hand for tests.",
        license="Apache-2.0",
        languages=("en",),
        task=TaskSpec.model_validate(
            {
                "labels": [{"name": label, "words": [f"word{i}"]} for i, label in enumerate(labels)],
                "patterns": [{"template": "{text} It is {mask}."}],
            }
        ),
        backbone=BackboneSpec(
            repo="acme/tiny-bert",
            revision="main",
            architecture="BertForMaskedLM",
            config_sha256=sha256_bytes(b"config"),
            weights_sha256=sha256_bytes(b"weights"),
            tokenizer_sha256=sha256_bytes(b"tokenizer"),
            mask_id=4,
            vocab_size=10 + count,
            hidden_size=HIDDEN,
            layers=1,
            verbalizer_ids=tuple(((10 + i,),) for i in range(count)),
        ),
        adapter=AdapterSpec(kind="lora", rank=RANK, alpha=4.0, targets=("query",), parameters=2 * RANK * HIDDEN),
        head=HeadSpec(parts=("rows", "bias"), activation="gelu", parameters=count * (HIDDEN + 1)),
        training=TrainingSpec(
            preset="default",
            examples_per_class=(4,) * count,
            rows_sha256=sha256_bytes(b"rows"),
            seeds=(0,),
            steps=10,
            seconds=1.5,
            peak_memory_bytes=1 << 20,
            hardware="cpu",
            libraries={"torch": "2.13.0"},
            hyperparameters={"learning_rate": 0.001, "epochs": 3},
        ),
        evaluation=(
            EvaluationSpec(
                metric="accuracy",
                value=0.75,
                interval=Interval(low=0.5, high=0.9),
                evaluation_set=EvaluationSet(name="held-out", sha256=sha256_bytes(b"set"), split="test", n=20),
                seeds=(0,),
            ),
        ),
        files=(),
    )


def write_module(directory: Path, draft: Manifest) -> Path:
    """Write the files a manifest without files asks for, and the manifest that lists them."""
    files = module_files(draft)
    listed = tuple(
        FileSpec(path=path, size=len(data), sha256=sha256_bytes(data)) for path, data in sorted(files.items())
    )
    directory.mkdir(parents=True, exist_ok=True)
    for path, data in files.items():
        (directory / path).write_bytes(data)
    (directory / MANIFEST_FILE).write_bytes(manifest_bytes(draft.model_copy(update={"files": listed})))
    return directory


def put_file(directory: Path, name: str, data: bytes) -> Path:
    """Give a module a file, in the place of the one of that name, and return its directory."""
    manifest = read_manifest(directory)
    (directory / name).write_bytes(data)
    put = FileSpec(path=name, size=len(data), sha256=sha256_bytes(data))
    files = (*(file for file in manifest.files if file.path != name), put)
    (directory / MANIFEST_FILE).write_bytes(manifest_bytes(manifest.model_copy(update={"files": files})))
    return directory


def module_files(draft: Manifest) -> dict[str, bytes]:
    """All files but petapter.json."""
    labels = len(draft.task.labels)
    files = {
        "README.md": render_card(draft).encode(),
        "golden.json": _golden(labels, draft.task.fields),
        "head.safetensors": tensor_file({"rows.weight": (labels, HIDDEN), "rows.bias": (labels,)}),
    }
    if draft.adapter.kind == "lora":
        factors = {f"{_QUERY}.lora_A.weight": (RANK, HIDDEN), f"{_QUERY}.lora_B.weight": (HIDDEN, RANK)}
        files["adapter_model.safetensors"] = tensor_file(factors)
        files["adapter_config.json"] = json.dumps(adapter_config()).encode()
    return files


def adapter_config() -> dict[str, object]:
    """What peft needs to open the adapter."""
    return {
        "peft_type": "LORA",
        "r": RANK,
        "lora_alpha": 4.0,
        "target_modules": ["query"],
        "base_model_name_or_path": "acme/tiny-bert",
        "inference_mode": True,
        "lora_dropout": 0.0,
        "bias": "none",
        "task_type": None,
    }


def tensor_file(shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    """A float32 safetensors file with small made-up values."""
    header: dict[str, object] = {}
    data = b""
    for name, shape in shapes.items():
        size = math.prod(shape)
        values = struct.pack(f"<{size}f", *((i % 7 - 3) / 8 for i in range(size)))
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    return with_header(json.dumps(header).encode(), data)


def with_header(header: bytes, data: bytes = b"") -> bytes:
    """The bytes of a safetensors file: length, header, values."""
    return struct.pack("<Q", len(header)) + header + data


def _golden(labels: int, fields: Sequence[str]) -> bytes:
    even = (-math.log(labels),) * labels
    probes = tuple(Probe(fields=dict.fromkeys(fields, f"text {i}"), log_probabilities=even) for i in range(8))
    return Golden(probes=probes).model_dump_json(indent=2).encode() + b"\n"
