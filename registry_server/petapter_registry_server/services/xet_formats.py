"""The two formats that Xet clients upload: xorbs (compressed chunks) and shards (which chunks make which file).

Read as far as a server that rebuilds whole files needs them; see "xorb and shard format" in the Xet specification
(https://huggingface.co/docs/xet). Everything here is untrusted: lengths are checked before anything is unpacked.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import lz4.frame

from petapter_registry_server.errors import InvalidRequestError

MAX_XORB_BYTES = 64 << 20
MAX_CHUNK_BYTES = 1 << 20
"""Clients cut chunks of up to 128 KiB; the format could tell 16 MiB."""
_CHUNK_HEADER = struct.Struct("<B3sB3s")
_FOOTER_MARK = ord("X")  # of XETBLOB; no chunk has this version
_SHARD_HEADER_BYTES = 48
_SHARD_MARK = b"HFRepoMetaData"
_RECORD_BYTES = 48
_FILE = struct.Struct("<32sIIQ")
_SEGMENT = struct.Struct("<32sIIII")
_HAS_VERIFICATION, _HAS_METADATA = 1 << 31, 1 << 30
_BOOKEND = b"\xff" * 32
_MAX_SEGMENTS = 1 << 20
_GROUPS = 4


@dataclass(frozen=True)
class Segment:
    """Some chunks of a xorb, `first` to below `last`, and how many bytes they are unpacked."""

    xorb: str
    first: int
    last: int
    size: int


@dataclass(frozen=True)
class ShardFile:
    """A file of a shard: the segments that make it, and the sha256 of the whole."""

    segments: tuple[Segment, ...]
    sha256: str

    @property
    def size(self) -> int:
        """Bytes of the whole."""
        return sum(segment.size for segment in self.segments)


def hash_text(raw: bytes) -> str:
    """A 32-byte hash as clients write it: four little-endian numbers of 64 bits in hex."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", raw))


def read_shard(data: bytes) -> list[ShardFile]:
    """The files that a shard describes.

    Raises:
        InvalidRequestError: It breaks the format, or describes a file without its sha256.
    """
    if not data.startswith(_SHARD_MARK):
        raise InvalidRequestError("this is no shard: it does not begin as one")
    files: list[ShardFile] = []
    place = _SHARD_HEADER_BYTES
    while True:
        raw, flags, count, _ = _unpacked(_FILE, data, place)
        if raw == _BOOKEND:
            return files
        place += _RECORD_BYTES
        if count > _MAX_SEGMENTS:
            raise InvalidRequestError(f"the shard has a file of {count} segments")
        segments = tuple(_segment(data, place + number * _RECORD_BYTES) for number in range(count))
        place += count * _RECORD_BYTES * (2 if flags & _HAS_VERIFICATION else 1)
        if not flags & _HAS_METADATA:
            raise InvalidRequestError("the shard has a file without its sha256: upgrade hf-xet")
        sha256 = hash_text(data[place : place + 32]) if len(data) >= place + _RECORD_BYTES else ""
        if not sha256:
            raise InvalidRequestError("the shard ends too early")
        place += _RECORD_BYTES
        files.append(ShardFile(segments, sha256))


def chunks(stream: BinaryIO) -> Iterator[bytes]:
    """The chunks of a xorb, unpacked, in order.

    Raises:
        InvalidRequestError: It breaks the format, or a chunk is not what its header says.
    """
    while header := stream.read(_CHUNK_HEADER.size):
        if header[0] == _FOOTER_MARK:
            return
        if len(header) < _CHUNK_HEADER.size:
            raise InvalidRequestError("the xorb ends too early")
        version, packed, scheme, unpacked = _CHUNK_HEADER.unpack(header)
        size, whole = int.from_bytes(packed, "little"), int.from_bytes(unpacked, "little")
        if version != 0 or whole > MAX_CHUNK_BYTES or size > 2 * MAX_CHUNK_BYTES:
            raise InvalidRequestError("the xorb has a chunk of an unknown version or size: upgrade petapter-registry")
        payload = stream.read(size)
        if len(payload) < size:
            raise InvalidRequestError("the xorb ends too early")
        yield _unpack(payload, scheme, whole)


def _unpack(payload: bytes, scheme: int, size: int) -> bytes:
    match scheme:
        case 0:
            data = payload
        case 1:
            data = _from_lz4(payload, size)
        case 2:
            data = _ungrouped(_from_lz4(payload, size))
        case _:
            raise InvalidRequestError(f"the xorb has a chunk packed in way {scheme}: upgrade petapter-registry")
    if len(data) != size:
        raise InvalidRequestError("the xorb has a chunk that is not as long as it says")
    return data


def _from_lz4(payload: bytes, size: int) -> bytes:
    """Unpacked, and no more than one byte beyond `size`: a few bytes can stand for gigabytes."""
    try:
        data: bytes = lz4.frame.LZ4FrameDecompressor().decompress(payload, max_length=size + 1)
    except (RuntimeError, EOFError) as error:
        raise InvalidRequestError("the xorb has a chunk that cannot be unpacked") from error
    return data


def _ungrouped(data: bytes) -> bytes:
    """Bytes 0, 4, 8, … stand first, then 1, 5, 9, … and so on: put back in order."""
    result = bytearray(len(data))
    start = 0
    for group in range(_GROUPS):
        count = len(range(group, len(data), _GROUPS))
        result[group::_GROUPS] = data[start : start + count]
        start += count
    return bytes(result)


def _segment(data: bytes, place: int) -> Segment:
    xorb, _, size, first, last = _unpacked(_SEGMENT, data, place)
    if first >= last:
        raise InvalidRequestError("the shard has a segment without chunks")
    return Segment(hash_text(xorb), first, last, size)


def _unpacked(form: struct.Struct, data: bytes, place: int) -> tuple[Any, ...]:
    if len(data) < place + _RECORD_BYTES:
        raise InvalidRequestError("the shard ends too early")
    return form.unpack_from(data, place)
