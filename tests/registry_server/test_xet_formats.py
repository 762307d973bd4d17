"""Reading xorbs and shards that nobody may trust; the real ones come from the real client in test_large_files.py."""

import io
import struct

import lz4.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st

from petapter_registry_server.errors import InvalidRequestError
from petapter_registry_server.services.xet_formats import MAX_CHUNK_BYTES, chunks, hash_text, read_shard

SHA256 = bytes(range(32))
XORB = bytes(range(32, 64))
BOOKEND = b"\xff" * 32 + b"\0" * 16


def chunk(payload: bytes, size: int, scheme: int, version: int = 0) -> bytes:
    return (
        bytes([version]) + len(payload).to_bytes(3, "little") + bytes([scheme]) + size.to_bytes(3, "little") + payload
    )


def shard(*, flags: int = 1 << 30, segments: int = 1, last: int = 2) -> bytes:
    header = b"HFRepoMetaData".ljust(32, b"\0") + struct.pack("<QQ", 2, 0)
    file = struct.pack("<32sIIQ", b"\1" * 32, flags, segments, 0)
    rows = struct.pack("<32sIIII", XORB, 0, 10, 0, last) * segments
    verification = b"\0" * 48 * segments if flags & 1 << 31 else b""
    metadata = SHA256 + b"\0" * 16 if flags & 1 << 30 else b""
    return header + file + rows + verification + metadata + BOOKEND


def unpacked(data: bytes) -> list[bytes]:
    return list(chunks(io.BytesIO(data)))


@given(st.binary(min_size=1, max_size=70))
def test_chunk_of_every_scheme_is_unpacked(data: bytes) -> None:
    grouped = b"".join(data[group::4] for group in range(4))
    packed = [(data, 0), (lz4.frame.compress(data), 1), (lz4.frame.compress(grouped), 2)]
    assert unpacked(b"".join(chunk(payload, len(data), scheme) for payload, scheme in packed)) == [data] * 3


def test_footer_ends_the_chunks() -> None:
    assert unpacked(chunk(b"abc", 3, 0) + b"XETBLOB\1" + b"\0" * 50) == [b"abc"]


@pytest.mark.parametrize(
    "data",
    [
        chunk(b"abc", 4, 0),
        chunk(b"abc", 3, 0, version=1),
        chunk(b"abc", 3, 9),
        chunk(b"abc", 3, 1),
        chunk(b"abc", 3, 0)[:-1],
        chunk(b"abc", 3, 0)[:5],
        chunk(lz4.frame.compress(b"abcd"), 3, 1),
        chunk(lz4.frame.compress(b"\0" * MAX_CHUNK_BYTES), 3, 1),
        chunk(lz4.frame.compress(b"x"), MAX_CHUNK_BYTES + 1, 1),
    ],
)
def test_chunk_that_is_not_what_it_says_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        unpacked(data)


def test_shard_names_blocks_and_digest_in_the_order_of_their_numbers() -> None:
    (file,) = read_shard(shard(flags=1 << 30 | 1 << 31, segments=2))
    assert file.sha256 == "07060504030201000f0e0d0c0b0a0908" + "17161514131211101f1e1d1c1b1a1918"
    assert [(s.xorb, s.first, s.last, s.size) for s in file.segments] == [(hash_text(XORB), 0, 2, 10)] * 2
    assert file.size == 20


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HFRepoMetaData",
        shard(flags=0),
        shard(last=0),
        shard()[:-48],
        shard()[:100],
        shard().replace(b"HF", b"FH"),
    ],
)
def test_malformed_shard_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        read_shard(data)


@given(st.binary(max_size=400), st.integers(0, 240))
def test_damaged_input_is_refused_or_read_but_never_breaks(noise: bytes, place: int) -> None:
    whole = shard(segments=2)
    damaged = whole[:place] + noise + whole[place + len(noise) :]
    for read in (read_shard, unpacked):
        try:
            read(damaged)
        except InvalidRequestError:
            continue
