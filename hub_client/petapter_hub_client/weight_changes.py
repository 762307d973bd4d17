# ruff: noqa: PLC0415 (numpy is needed here alone, and the bare installation has none)
"""How far the weights of two modules are apart, layer by layer; reads safetensors by the strict header and numpy."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from petapter_schemas.manifest import Manifest
from petapter_schemas.module_files import ADAPTER_FILE, HEAD_FILE
from petapter_schemas.tensor_header import read_tensor_header

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

_LOG = logging.getLogger(__name__)

_PREFIX = "base_model.model."
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True)
class WeightChange:
    """One layer of an adapter or one tensor of a head.

    Attributes:
        layer: The adapted layer, or the head's tensor.
        what: `update` where it is what LoRA adds to the layer's weight, alpha / rank · B A, else `tensor`.
        numbers: How many numbers it has, before; or after, where it is new.
        change: ‖after - before‖ / ‖before‖ in Frobenius' norm; None where one of the two lacks it, the shapes differ or
            `before` is zero.
        why: Then, why not.
    """

    layer: str
    what: str
    numbers: int
    change: float | None
    why: str | None = None


def weight_changes(before: tuple[Path, Manifest], after: tuple[Path, Manifest]) -> tuple[WeightChange, ...]:
    """Compare verified modules, each its directory and manifest, layer by layer in the order of their names.

    Without numpy there are none, and a warning says so.
    """
    if find_spec("numpy") is None:
        _LOG.warning("weights are not compared, since numpy is not installed: pip install 'petapter[train]'")
        return ()
    old, new = dict(_layers(*before)), dict(_layers(*after))
    return tuple(_change(name, old.get(name), new.get(name)) for name in sorted({*old, *new}))


def _change(name: tuple[str, str], old: "Floats | None", new: "Floats | None") -> WeightChange:
    import numpy as np

    layer, what = name
    numbers = int(old.size if old is not None else new.size if new is not None else 0)
    if old is None or new is None:
        return WeightChange(layer, what, numbers, None, "it is new" if old is None else "it is gone")
    if old.shape != new.shape:
        return WeightChange(layer, what, numbers, None, f"{list(old.shape)} became {list(new.shape)}")
    size = float(np.linalg.norm(old))
    if size == 0:
        return WeightChange(layer, what, numbers, None, "it was zero")
    return WeightChange(layer, what, numbers, float(np.linalg.norm(new - old)) / size)


def _layers(directory: Path, manifest: Manifest) -> "Iterator[tuple[tuple[str, str], Floats]]":
    if manifest.head.parts:
        for name, values in _tensors(directory / HEAD_FILE).items():
            yield (f"head {name}", "tensor"), values
    if manifest.adapter.kind == "none":
        return
    tensors = _tensors(directory / ADAPTER_FILE)
    if manifest.adapter.kind != "lora":
        for name, values in tensors.items():
            yield (name.removeprefix(_PREFIX), "tensor"), values
        return
    scale = (manifest.adapter.alpha or 0.0) / (manifest.adapter.rank or 1)
    for name, down in tensors.items():
        if name.endswith(_DOWN):
            layer = name.removesuffix(_DOWN)
            yield (layer.removeprefix(_PREFIX), "update"), scale * tensors[layer + _UP] @ down


def _tensors(path: Path) -> "Mapping[str, Floats]":
    """Every tensor of a file as float64."""
    import numpy as np

    header = read_tensor_header(path, name=path.name)
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    kinds = {"F32": "<f4", "F16": "<f2", "I8": "i1", "BF16": "<u2"}
    found: dict[str, Floats] = {}
    for name, info in header.tensors.items():
        values = np.frombuffer(data[start + info.begin : start + info.end], dtype=kinds[info.dtype])
        if info.dtype == "BF16":  # the upper half of a float32
            values = (values.astype("<u4") << 16).view("<f4")
        found[name] = values.astype(np.float64).reshape(info.shape)
    return found
