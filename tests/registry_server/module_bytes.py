"""A valid module as bytes by path, made with the standard library and the schemas alone: no torch in these tests."""

import json
import math
import struct

from petapter_schemas.digests import sha256_bytes
from petapter_schemas.golden import Golden
from petapter_schemas.manifest import Manifest, manifest_bytes

HIDDEN = 4
RANK = 2


def adapter_tensors(rank: int) -> dict[str, tuple[int, ...]]:
    """The tensors of a LoRA adapter of one layer, with their shapes."""
    query = "base_model.model.bert.encoder.layer.0.attention.self.query"
    return {f"{query}.lora_A.weight": (rank, HIDDEN), f"{query}.lora_B.weight": (HIDDEN, rank)}


ADAPTER_TENSORS = adapter_tensors(RANK)
CARD = """---
library_name: peft
pipeline_tag: text-classification
base_model: tiny/bert
base_model_relation: adapter
license: apache-2.0
language: [en, de]
datasets: [team/tickets]
tags: [petapter, "label:very good", "adapter:lora"]
---
# Tickets
"""


def safetensors(shapes: dict[str, tuple[int, ...]], fill: float = 0.5) -> bytes:
    """A float32 safetensors file with every number set to `fill`."""
    header: dict[str, object] = {}
    end = 0
    for name, shape in shapes.items():
        begin, count = end, 1
        for dimension in shape:
            count *= dimension
        end = begin + 4 * count
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + struct.pack(f"<{end // 4}f", *([fill] * (end // 4)))


def _golden(labels: int) -> bytes:
    probes = [{"fields": {"text": f"probe {n}"}, "log_probabilities": [-math.log(labels)] * labels} for n in range(8)]
    return Golden.model_validate({"probes": probes}).model_dump_json().encode()


def module_files(
    *, name: str = "tickets", version: str = "1.0.0", fill: float = 0.5, card: str = CARD, rank: int = RANK
) -> dict[str, bytes]:
    """The files of a module with two labels and a LoRA adapter; `fill` makes different weights, `rank` more of them."""
    files = {
        "head.safetensors": safetensors({"rows.weight": (2, HIDDEN), "rows.bias": (2,)}, fill),
        "adapter_model.safetensors": safetensors(adapter_tensors(rank), fill),
        "adapter_config.json": json.dumps(
            {"peft_type": "LORA", "r": rank, "lora_alpha": 4, "target_modules": ["query"]}
        ).encode(),
        "golden.json": _golden(2),
        "README.md": card.encode(),
    }
    return {**files, "petapter.json": manifest_bytes(manifest_for(files, name=name, version=version, rank=rank))}


def manifest_for(files: dict[str, bytes], *, name: str, version: str, rank: int = RANK) -> Manifest:
    """The manifest that lists the files."""
    listed = [{"path": path, "size": len(data), "sha256": sha256_bytes(data)} for path, data in files.items()]
    labels = [{"name": "very good", "words": ["great"]}, {"name": "poor", "words": ["bad"]}]
    digest = "0" * 64
    return Manifest.model_validate(
        {
            "name": name,
            "version": version,
            "description": "Sorts helpdesk tickets",
            "license": "apache-2.0",
            "languages": ("en", "de"),
            "task": {"labels": labels, "patterns": ["{text} It was {mask}."]},
            "backbone": {
                "repo": "tiny/bert",
                "architecture": "BertForMaskedLM",
                "config_sha256": digest,
                "weights_sha256": digest,
                "tokenizer_sha256": digest,
                "mask_id": 4,
                "vocab_size": 32,
                "hidden_size": HIDDEN,
                "layers": 1,
                "verbalizer_ids": (((10,),), ((11,),)),
            },
            "adapter": {
                "kind": "lora",
                "rank": rank,
                "alpha": 4,
                "targets": ("query",),
                "parameters": 2 * rank * HIDDEN,
            },
            "head": {"parts": ("rows", "bias"), "activation": "gelu", "parameters": 2 * HIDDEN + 2},
            "training": {
                "preset": "default",
                "examples_per_class": (10, 10),
                "rows_sha256": digest,
                "seeds": (0,),
                "steps": 10,
                "seconds": 1.0,
                "peak_memory_bytes": 1,
                "hardware": "cpu",
                "libraries": {"torch": "2"},
                "hyperparameters": {"lr": 0.1},
            },
            "evaluation": (
                {
                    "metric": "accuracy",
                    "value": 0.9,
                    "interval": {"low": 0.8, "high": 1.0},
                    "evaluation_set": {"name": "dev", "sha256": digest, "split": "test", "n": 20},
                    "seeds": (0,),
                },
            ),
            "files": tuple(listed),
        }
    )
