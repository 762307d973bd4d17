"""The names of xorbs, against the hashes that hf_xet computes of files that it cuts into the same chunks."""

from pathlib import Path

import hf_xet
import pytest
from blake3 import blake3

from petapter_registry_server.services.xet_formats import hash_text
from petapter_registry_server.services.xet_hashes import merkle_root, xorb_hash

LONGEST_CHUNK = 128 << 10


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9, 10, 37, 200])
def test_root_is_the_one_that_hf_xet_computes(tmp_path: Path, count: int) -> None:
    """hf_xet cuts bytes that do not vary where a chunk is longest, and hashes the root of a file once more."""
    chunks = [bytes([number]) * LONGEST_CHUNK for number in range(count)]
    file = tmp_path / "file"
    file.write_bytes(b"".join(chunks))
    (known,) = hf_xet.hash_files([str(file)])
    assert hash_text(blake3(merkle_root(chunks), key=bytes(32)).digest()) == known.hash


def test_order_and_cuts_of_chunks_make_another_name() -> None:
    names = {xorb_hash(chunks) for chunks in ([b"ab", b"c"], [b"c", b"ab"], [b"a", b"bc"], [b"abc"])}
    assert len(names) == 4


def test_no_chunks_have_no_name() -> None:
    with pytest.raises(ValueError, match="no chunks"):
        xorb_hash([])
