"""Our own strict reading of a safetensors header, done before the safetensors library sees the file.

The library (0.8.0) accepts duplicate keys, unbounded ranks, any tensor name and headers of 100 MB, which cost it tens
of seconds and gigabytes. This parser needs the header alone, so the registry runs it without torch.
"""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from petapter_schemas import strict_json
from petapter_schemas.errors import ManifestError, TensorFileError

MAX_HEADER_BYTES = 1 << 20
MAX_RANK = 8
MAX_TENSORS = 4096
MAX_METADATA_KEYS = 64
MAX_METADATA_VALUE_BYTES = 4096
DTYPE_BYTES: Mapping[str, int] = MappingProxyType({"F32": 4, "F16": 2, "BF16": 2, "I8": 1})
"""The dtypes a module may hold, with the size of one value in bytes."""

BACKBONE_DTYPE_BYTES: Mapping[str, int] = MappingProxyType(
    {**DTYPE_BYTES, "BOOL": 1, "U8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "I32": 4, "U32": 4, "I64": 8,
     "U64": 8, "F64": 8}
)  # fmt: skip
"""The dtypes a backbone may hold."""


@dataclass(frozen=True)
class Limits:
    """How large a header may be and what it may declare; bytes are counted in UTF-8.

    Attributes:
        header_bytes: Length of the header.
        tensors: Number of tensors.
        metadata_keys: Entries of `__metadata__`.
        metadata_value_bytes: Length of one of its keys or values.
        smallest_dimension: 1 where a tensor without values has no meaning, else 0.
        dtype_bytes: Allowed dtypes with the size of one value.
    """

    header_bytes: int
    tensors: int
    metadata_keys: int
    metadata_value_bytes: int
    smallest_dimension: int
    dtype_bytes: Mapping[str, int]


MODULE_LIMITS = Limits(
    header_bytes=MAX_HEADER_BYTES,
    tensors=MAX_TENSORS,
    metadata_keys=MAX_METADATA_KEYS,
    metadata_value_bytes=MAX_METADATA_VALUE_BYTES,
    smallest_dimension=1,
    dtype_bytes=DTYPE_BYTES,
)
"""For files that strangers publish."""

BACKBONE_LIMITS = Limits(
    header_bytes=16 << 20,
    tensors=1 << 16,
    metadata_keys=4096,
    metadata_value_bytes=1 << 20,
    smallest_dimension=0,
    dtype_bytes=BACKBONE_DTYPE_BYTES,
)
"""For published language models: more tensors, more dtypes, the same strictness."""

_TENSOR_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-/]{0,255}")
_FIELDS = {"dtype", "shape", "data_offsets"}
_LENGTH_PREFIX_BYTES = 8
_MAX_DIMENSION = 1 << 53  # beyond, JSON readers that use doubles lose the last digit


@dataclass(frozen=True)
class TensorInfo:
    """One tensor as the header declares it; offsets count from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class TensorHeader:
    """A checked header: tensors by name, in the order of their bytes, and the free metadata.

    Attributes:
        tensors: Every tensor of the file.
        metadata: `__metadata__`.
        data_begin: Where in the file the header ends and the values begin.
    """

    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]
    data_begin: int


def read_tensor_header(path: Path, *, name: str | None = None, limits: Limits = MODULE_LIMITS) -> TensorHeader:
    """Read and check the header of a safetensors file.

    Checked: header of at most 1 MiB beginning with `{`, strict JSON, known fields only, allowed dtypes, rank of at
    most 8, sizes that multiply out, offsets contiguous from 0 to the exact end of the file, safe tensor names.
    Values are not read: whoever opens the tensors checks that they are finite.

    Args:
        path: Where the bytes lie.
        name: What the file is called in messages; by default the last part of `path`.
        limits: Those of a module, or of a backbone.

    Raises:
        TensorFileError: The file cannot be read or breaks a rule.
    """
    shown = name or path.name
    try:
        with path.open("rb") as stream:
            return _read(stream, shown, limits)
    except OSError as error:
        raise TensorFileError(f"{shown} cannot be read: {error.strerror}") from error
    except ManifestError as error:
        raise TensorFileError(f"{shown}: {error}") from error


def _read(stream: BinaryIO, name: str, limits: Limits) -> TensorHeader:
    file_bytes = os.fstat(stream.fileno()).st_size
    header_bytes = int.from_bytes(stream.read(_LENGTH_PREFIX_BYTES), "little")
    data_begin = _LENGTH_PREFIX_BYTES + header_bytes
    if file_bytes < _LENGTH_PREFIX_BYTES + 2 or data_begin > file_bytes:
        raise TensorFileError(f"{name}: shorter than its header says; the file is cut off or no safetensors file")
    if header_bytes > limits.header_bytes:
        raise TensorFileError(f"{name}: header of {header_bytes} bytes, more than the {limits.header_bytes} allowed")
    document = _parse(stream.read(header_bytes), name, limits)
    metadata = _check_metadata(document.pop("__metadata__", {}), name, limits)
    if not 1 <= len(document) <= limits.tensors:
        raise TensorFileError(f"{name}: {len(document)} tensors; 1 to {limits.tensors} are allowed")
    tensors = {key: _check_tensor(key, value, name, limits) for key, value in document.items()}
    ordered = dict(sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)))
    _check_layout(list(ordered.values()), file_bytes - data_begin, name)
    return TensorHeader(tensors=ordered, metadata=metadata, data_begin=data_begin)


def _parse(raw: bytes, name: str, limits: Limits) -> dict[str, object]:
    if not raw.startswith(b"{") or not raw.rstrip(b" ").endswith(b"}"):
        raise TensorFileError(f"{name}: the header must begin with '{{' and end with '}}', padded with spaces only")
    document = strict_json.loads(raw, source="header", max_bytes=limits.header_bytes)
    if not isinstance(document, dict):
        raise TensorFileError(f"{name}: the header must be a JSON object")
    return document


def _check_metadata(value: object, name: str, limits: Limits) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > limits.metadata_keys:
        raise TensorFileError(f"{name}: __metadata__ must be an object of at most {limits.metadata_keys} texts")
    metadata: dict[str, str] = {}
    for key, text in value.items():
        if not isinstance(text, str) or max(len(text.encode()), len(key.encode())) > limits.metadata_value_bytes:
            raise TensorFileError(f"{name}: __metadata__ holds a value that is no text or too long")
        metadata[key] = text
    return metadata


def _check_tensor(key: str, value: object, name: str, limits: Limits) -> TensorInfo:
    if not _TENSOR_NAME.fullmatch(key) or ".." in key:
        raise TensorFileError(f"{name}: tensor name {key[:80]!r} is not allowed")
    if not isinstance(value, dict) or set(value) != _FIELDS:
        raise TensorFileError(f"{name}: tensor {key} must have exactly dtype, shape and data_offsets")
    dtype = value["dtype"]
    if not isinstance(dtype, str) or dtype not in limits.dtype_bytes:
        allowed = ", ".join(limits.dtype_bytes)
        raise TensorFileError(f"{name}: tensor {key} has dtype {repr(dtype)[:20]}; allowed: {allowed}")
    shape = _integers(value["shape"], smallest=limits.smallest_dimension)
    if shape is None or len(shape) > MAX_RANK:
        raise TensorFileError(
            f"{name}: tensor {key} must have at most {MAX_RANK} dimensions of at least {limits.smallest_dimension}"
        )
    offsets = _integers(value["data_offsets"], smallest=0)
    if offsets is None or len(offsets) != 2:  # noqa: PLR2004 (a begin and an end)
        raise TensorFileError(f"{name}: tensor {key} must have two non-negative data_offsets")
    info = TensorInfo(dtype, shape, *offsets)
    # Python integers do not overflow, and eight factors below 2^53 stay small
    if info.end - info.begin != math.prod(shape) * limits.dtype_bytes[dtype]:
        raise TensorFileError(f"{name}: tensor {key} does not fill its bytes: shape {list(shape)} of {dtype}")
    return info


def _integers(value: object, *, smallest: int) -> tuple[int, ...] | None:
    if not isinstance(value, list):
        return None
    numbers = tuple(item for item in value if type(item) is int and smallest <= item < _MAX_DIMENSION)
    return numbers if len(numbers) == len(value) else None


def _check_layout(tensors: list[TensorInfo], data_bytes: int, name: str) -> None:
    if tensors[0].begin != 0 or any(before.end != after.begin for before, after in pairwise(tensors)):
        raise TensorFileError(f"{name}: the tensors overlap or leave holes")
    if tensors[-1].end != data_bytes:
        raise TensorFileError(f"{name}: {data_bytes} bytes of data but the tensors end at {tensors[-1].end}")
