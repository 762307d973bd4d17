import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from petapter_schemas.digests import sha256_bytes
from petapter_schemas.errors import ManifestError, TensorFileError
from petapter_schemas.manifest import MANIFEST_FILE
from petapter_schemas.module_files import head_shapes, verify_directory
from tests.schemas.tiny_module import TinyModule, tensor_file, tiny_manifest


@pytest.fixture
def module(tiny_module: TinyModule, tmp_path: Path) -> Path:
    return tiny_module(tmp_path / "module")


def _edit(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads((directory / MANIFEST_FILE).read_text())
    change(document)
    (directory / MANIFEST_FILE).write_text(json.dumps(document))


def _unlist(document: dict[str, Any]) -> None:
    document["files"] = [file for file in document["files"] if file["path"] != "head.safetensors"]


def _put_head(directory: Path, head: dict[str, object], shapes: dict[str, tuple[int, ...]]) -> None:
    """Write a head file, list it and count it honestly."""
    data = tensor_file(shapes)
    (directory / "head.safetensors").write_bytes(data)
    entry = {"path": "head.safetensors", "size": len(data), "sha256": sha256_bytes(data)}
    parameters = sum(math.prod(shape) for shape in shapes.values())
    _edit(directory, lambda d: _unlist(d) or d["files"].append(entry) or d["head"].update(head, parameters=parameters))


def test_head_shapes_follow_the_parts() -> None:
    head = tiny_manifest().head.model_copy(update={"parts": ("rows", "bias", "dense", "norm")})
    assert head_shapes(tiny_manifest().model_copy(update={"head": head})) == {
        "rows.weight": (2, 8),
        "rows.bias": (2,),
        "dense.weight": (8, 8),
        "dense.bias": (8,),
        "norm.weight": (8,),
        "norm.bias": (8,),
    }


_LABELS: dict[str, tuple[dict[str, object], dict[str, tuple[int, ...]]]] = {
    # of 2 labels, 1 pattern, 8 hidden; F counts 8 (or feature_size) for the masks and 8 for each pooled layer
    "mask": (
        {"reads": "mask", "parts": ["labels"]},
        {"labels.weight": (2, 8), "labels.bias": (1, 2)},
    ),
    "mean-pool": (
        {"reads": "mean-pool", "pool_layers": [0, 1], "parts": ["labels"], "words": 0.0},
        {"labels.weight": (2, 16), "labels.bias": (1, 2)},
    ),
    "both": (
        {"reads": "both", "pool_layers": [1, 0], "parts": ["rows", "bias", "labels"]},
        {"rows.weight": (2, 8), "rows.bias": (2,), "labels.weight": (2, 24), "labels.bias": (1, 2)},
    ),
    "wide mean-pool": (
        {"reads": "mean-pool", "pool_layers": [1], "parts": ["labels", "rows"], "feature_size": 5},
        {"labels.weight": (2, 8), "labels.bias": (1, 2), "rows.weight": (2, 5)},
    ),
    "wide both": (
        {
            "reads": "both",
            "pool_layers": [1],
            "parts": ["rows", "bias", "dense", "norm", "labels"],
            "init": "random",
            "feature_size": 12,
        },
        {
            "rows.weight": (2, 12),
            "rows.bias": (2,),
            "dense.weight": (12, 8),
            "dense.bias": (12,),
            "norm.weight": (12,),
            "norm.bias": (12,),
            "labels.weight": (2, 20),
            "labels.bias": (1, 2),
        },
    ),
}


@pytest.mark.parametrize(("head", "shapes"), _LABELS.values(), ids=_LABELS)
def test_head_with_a_label_map_passes(
    head: dict[str, object], shapes: dict[str, tuple[int, ...]], module: Path
) -> None:
    _put_head(module, head, shapes)
    assert head_shapes(verify_directory(module)) == shapes


@pytest.mark.parametrize(
    "wrong",
    [
        {"labels.weight": (2, 23)},
        {"labels.weight": (24, 2)},
        {"labels.weight": (3, 24)},
        {"labels.bias": (2,)},
        {"labels.bias": (2, 2)},
        {"labels.bias": (2, 1)},
        {"labels": (2, 24)},
    ],
    ids=str,
)
def test_label_map_of_another_shape_is_refused(wrong: dict[str, tuple[int, ...]], module: Path) -> None:
    head, shapes = _LABELS["both"]
    _put_head(module, head, shapes | wrong)
    with pytest.raises(TensorFileError, match=r"head\.safetensors holds .*; the manifest asks for"):
        verify_directory(module)


def test_label_map_has_a_bias_for_every_pattern() -> None:
    draft = tiny_manifest(labels=("a", "b", "c"))
    task = draft.task.model_copy(update={"patterns": draft.task.patterns * 4})
    head = draft.head.model_copy(update={"parts": ("labels",)})
    shapes = head_shapes(draft.model_copy(update={"task": task, "head": head}))
    assert shapes == {"labels.weight": (3, 8), "labels.bias": (4, 3)}


def test_head_of_the_backbone_alone_needs_no_file(module: Path) -> None:
    _edit(module, lambda d: _unlist(d) or d["head"].update(parts=[], parameters=0))
    (module / "head.safetensors").unlink()
    manifest = verify_directory(module)
    assert head_shapes(manifest) == {}
    assert manifest.adapter.kind == "lora"


def test_head_of_the_backbone_alone_comes_with_no_file(module: Path) -> None:
    _edit(module, lambda d: d["head"].update(parts=[], parameters=0))
    with pytest.raises(ManifestError, match=r"must not come with head\.safetensors"):
        verify_directory(module)
