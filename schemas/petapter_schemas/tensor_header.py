"""Our own strict reading of a safetensors header, done before the safetensors library sees the file.

The library (0.8.0) accepts duplicate keys, unbounded ranks, any tensor name and headers of 100 MB, which cost it tens
of seconds and gigabytes. This parser needs the header alone, so the registry runs it without torch.
"""

import os
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from petapter_schemas import strict_json
from petapter_schemas.errors import ManifestError, TensorFileError

MAX_HEADER_BYTES = 1 << 20
MAX_RANK = 8
MAX_TENSORS = 4096
MAX_METADATA_KEYS = 64
MAX_METADATA_VALUE_BYTES = 4096
DTYPE_BYTES = {"F32": 4, "F16": 2, "BF16": 2, "I8": 1}
"""The dtypes a module may hold, with the size of one value in bytes."""

_TENSOR_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-/]{0,255}")
_LENGTH_PREFIX_BYTES = 8


@dataclass(frozen=True)
class TensorInfo:
    """One tensor as the header declares it; offsets count from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class TensorHeader:
    """A checked header: tensors by name, in the order of their bytes, and the free metadata."""

    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]


def read_tensor_header(path: Path) -> TensorHeader:
    """Read and check the header of a safetensors file.

    Checked: header of at most 1 MiB beginning with `{`, strict JSON, known fields only, allowed dtypes, rank of at
    most 8, sizes that multiply out, offsets contiguous from 0 to the exact end of the file, safe tensor names.
    Values are not read: whoever opens the tensors checks that they are finite.

    Raises:
        TensorFileError: The file breaks a rule.
    """
    try:
        with path.open("rb") as stream:
            return _read(stream, path.name)
    except ManifestError as error:
        raise TensorFileError(f"{path.name}: {error}") from error


def _read(stream: BinaryIO, name: str) -> TensorHeader:
    file_bytes = os.fstat(stream.fileno()).st_size
    header_bytes = int.from_bytes(stream.read(_LENGTH_PREFIX_BYTES), "little")
    if file_bytes < _LENGTH_PREFIX_BYTES + 2 or header_bytes > file_bytes - _LENGTH_PREFIX_BYTES:
        raise TensorFileError(f"{name}: shorter than its header says; the file is cut off or no safetensors file")
    if header_bytes > MAX_HEADER_BYTES:
        raise TensorFileError(f"{name}: header of {header_bytes} bytes, more than the {MAX_HEADER_BYTES} allowed")
    raw = stream.read(header_bytes)
    if not raw.startswith(b"{"):
        raise TensorFileError(f"{name}: the header must begin with '{{'")
    document = strict_json.loads(raw, source="header", max_bytes=MAX_HEADER_BYTES)
    if not isinstance(document, dict):
        raise TensorFileError(f"{name}: the header must be a JSON object")
    metadata = _check_metadata(document.pop("__metadata__", {}), name)
    if not 1 <= len(document) <= MAX_TENSORS:
        raise TensorFileError(f"{name}: {len(document)} tensors; 1 to {MAX_TENSORS} are allowed")
    tensors = {key: _check_tensor(key, value, name) for key, value in document.items()}
    ordered = dict(sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)))
    _check_layout(list(ordered.values()), file_bytes - _LENGTH_PREFIX_BYTES - header_bytes, name)
    return TensorHeader(tensors=ordered, metadata=metadata)


def _check_metadata(value: object, name: str) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > MAX_METADATA_KEYS:
        raise TensorFileError(f"{name}: __metadata__ must be an object of at most {MAX_METADATA_KEYS} texts")
    metadata: dict[str, str] = {}
    for key, text in value.items():
        if not isinstance(text, str) or len(text) + len(key) > MAX_METADATA_VALUE_BYTES:
            raise TensorFileError(f"{name}: __metadata__ holds a value that is no text or too long")
        metadata[key] = text
    return metadata


def _check_tensor(key: str, value: object, name: str) -> TensorInfo:
    if not _TENSOR_NAME.fullmatch(key) or ".." in key:
        raise TensorFileError(f"{name}: tensor name {key[:80]!r} is not allowed")
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise TensorFileError(f"{name}: tensor {key} must have exactly dtype, shape and data_offsets")
    dtype = value["dtype"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise TensorFileError(f"{name}: tensor {key} has dtype {str(dtype)[:20]}; allowed: {', '.join(DTYPE_BYTES)}")
    shape = _integers(value["shape"])
    offsets = _integers(value["data_offsets"])
    if shape is None or len(shape) > MAX_RANK:
        raise TensorFileError(f"{name}: tensor {key} must have at most {MAX_RANK} non-negative dimensions")
    if offsets is None or len(offsets) != 2:  # noqa: PLR2004 (a begin and an end)
        raise TensorFileError(f"{name}: tensor {key} must have two non-negative data_offsets")
    info = TensorInfo(dtype, shape, *offsets)
    if info.end - info.begin != _size_bytes(shape, dtype):
        raise TensorFileError(f"{name}: tensor {key} does not fill its bytes: shape {list(shape)} of {dtype}")
    return info


def _integers(value: object) -> tuple[int, ...] | None:
    if not isinstance(value, list):
        return None
    numbers = [item for item in value if isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 1 << 53]
    return tuple(numbers) if len(numbers) == len(value) else None


def _size_bytes(shape: tuple[int, ...], dtype: str) -> int:
    size = DTYPE_BYTES[dtype]
    for dimension in shape:
        size *= dimension  # Python integers do not overflow; eight factors below 2^53 stay small
    return size


def _check_layout(tensors: list[TensorInfo], data_bytes: int, name: str) -> None:
    if tensors[0].begin != 0 or any(before.end != after.begin for before, after in pairwise(tensors)):
        raise TensorFileError(f"{name}: the tensors overlap or leave holes")
    if tensors[-1].end != data_bytes:
        raise TensorFileError(f"{name}: {data_bytes} bytes of data but the tensors end at {tensors[-1].end}")
