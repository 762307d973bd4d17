import json
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save

from petapter_schemas.errors import TensorFileError
from petapter_schemas.tensor_header import BACKBONE_LIMITS, read_tensor_header
from tests.schemas.hostile_headers import HOSTILE, VALID
from tests.schemas.tiny_module import with_header

_LIBRARY_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I8": torch.int8}
_NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.\-/]{0,20}", fullmatch=True).filter(
    lambda name: ".." not in name and name != "__metadata__"
)
_TENSORS = st.dictionaries(
    _NAMES,
    st.tuples(st.sampled_from(sorted(_LIBRARY_DTYPES)), st.lists(st.integers(1, 4), max_size=4)),
    min_size=1,
    max_size=6,
)
_METADATA = st.none() | st.dictionaries(st.text(max_size=20), st.text(max_size=50), max_size=5)


def _saved_by_the_library(tensors: dict[str, tuple[str, list[int]]], metadata: dict[str, str] | None) -> bytes:
    return save(
        {name: torch.zeros(shape, dtype=_LIBRARY_DTYPES[dtype]) for name, (dtype, shape) in tensors.items()}, metadata
    )


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_file_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(data)
    with pytest.raises(TensorFileError) as refusal:
        read_tensor_header(path)
    message = str(refusal.value)
    assert message.startswith("hostile.safetensors")
    assert message.isprintable()
    assert len(message) < 400


@pytest.mark.parametrize("data", VALID.values(), ids=VALID)
def test_valid_file_passes(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "valid.safetensors"
    path.write_bytes(data)
    assert read_tensor_header(path).tensors


def test_tensors_come_in_the_order_of_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "two.safetensors"
    path.write_bytes(VALID["tensors listed in another order than their bytes"])
    assert list(read_tensor_header(path).tensors) == ["a", "b"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(tensors=_TENSORS, metadata=_METADATA)
def test_agrees_with_the_library_on_what_the_library_writes(
    tensors: dict[str, tuple[str, list[int]]], metadata: dict[str, str] | None, tmp_path: Path
) -> None:
    path = tmp_path / "saved.safetensors"
    path.write_bytes(_saved_by_the_library(tensors, metadata))
    header = read_tensor_header(path)
    with safe_open(path, framework="pt") as reference:
        assert set(header.tensors) == set(reference.keys())
        assert header.metadata == (reference.metadata() or {})
        for name, info in header.tensors.items():
            piece = reference.get_slice(name)
            assert (list(info.shape), info.dtype) == (piece.get_shape(), piece.get_dtype())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(tensors=_TENSORS, flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8))
def test_flipped_bytes_raise_nothing_but_tensor_file_errors(
    tensors: dict[str, tuple[str, list[int]]], flips: list[tuple[int, int]], tmp_path: Path
) -> None:
    data = bytearray(_saved_by_the_library(tensors, {"format": "pt"}))
    header_end = 8 + struct.unpack("<Q", data[:8])[0]
    for position, value in flips:
        data[position % header_end] = value
    path = tmp_path / "flipped.safetensors"
    path.write_bytes(data)
    try:
        header = read_tensor_header(path)
    except TensorFileError:
        return
    with safe_open(path, framework="pt") as reference:  # accepted here means accepted there, with one meaning
        found = {name: tuple(reference.get_slice(name).get_shape()) for name in reference.keys()}  # noqa: SIM118
    assert found == {name: info.shape for name, info in header.tensors.items()}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(header=st.binary(max_size=200), data=st.binary(max_size=20))
def test_random_headers_raise_nothing_but_tensor_file_errors(header: bytes, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "random.safetensors"
    path.write_bytes(with_header(b"{" + header + b"}", data))
    with pytest.raises(TensorFileError):
        read_tensor_header(path)


def test_missing_file_and_directory_are_tensor_file_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.safetensors", tmp_path):
        with pytest.raises(TensorFileError, match="cannot be read"):
            read_tensor_header(path)


def test_backbones_may_hold_more_dtypes_and_empty_tensors(tmp_path: Path) -> None:
    header = {
        "position_ids": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]},
        "nothing": {"dtype": "F64", "shape": [0, 3], "data_offsets": [8, 8]},
    }
    path = tmp_path / "model.safetensors"
    path.write_bytes(with_header(json.dumps(header).encode(), bytes(8)))
    assert set(read_tensor_header(path, limits=BACKBONE_LIMITS).tensors) == {"position_ids", "nothing"}
    with pytest.raises(TensorFileError, match="dtype"):
        read_tensor_header(path)
