"""The name of a xorb: the root of a tree of keyed BLAKE3 hashes over its unpacked chunks.

Keys and rules are those of "Hashing" in the Xet specification (https://huggingface.co/docs/xet/hashing); how many
nodes make one of the level above is in xet-core, `xet_core_structures/src/merklehash/aggregated_hashes.rs`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from blake3 import blake3

from petapter_registry_server.services.xet_formats import hash_text

_CHUNK_KEY = bytes.fromhex("6697f5775b9550de3135cbaca597181c9de421109beb2b58b4d0b04b93adf229")
_NODE_KEY = bytes.fromhex("017ec5c7a5472996fd946666b48a02e65ddd536f37c76dd2f86352e64a53713f")
_BRANCHES = 4
_FEWEST, _MOST = 3, 2 * _BRANCHES + 1
"""A node has so many children, but for the last of a level, which takes what is left."""


@dataclass(frozen=True)
class _Node:
    """A chunk, or a part of the tree: its hash, and how many bytes lie below it."""

    raw: bytes
    size: int

    @property
    def ends_a_group(self) -> bool:
        return int.from_bytes(self.raw[24:], "little") % _BRANCHES == 0


def xorb_hash(chunks: Iterable[bytes]) -> str:
    """The name of the xorb that holds these chunks, as clients write it; they are read one after the other.

    Raises:
        ValueError: There are none.
    """
    return hash_text(merkle_root(chunks))


def merkle_root(chunks: Iterable[bytes]) -> bytes:
    """The hash that all chunks together have. Raises: ValueError: There are none."""
    nodes = [_Node(blake3(chunk, key=_CHUNK_KEY).digest(), len(chunk)) for chunk in chunks]
    if not nodes:
        raise ValueError("no chunks have no hash")
    while len(nodes) > 1:
        nodes = _level_above(nodes)
    return nodes[0].raw


def _level_above(nodes: Sequence[_Node]) -> list[_Node]:
    above, begin = [], 0
    while begin < len(nodes):
        end = _group_end(nodes, begin)
        above.append(_merged(nodes[begin:end]))
        begin = end
    return above


def _group_end(nodes: Sequence[_Node], begin: int) -> int:
    """Where the group ends that begins there: after the first node from the third on that ends groups."""
    most = min(begin + _MOST, len(nodes))
    ends = (place + 1 for place in range(begin + _FEWEST - 1, most) if nodes[place].ends_a_group)
    return next(ends, most)


def _merged(nodes: Sequence[_Node]) -> _Node:
    lines = "".join(f"{hash_text(node.raw)} : {node.size}\n" for node in nodes)
    return _Node(blake3(lines.encode(), key=_NODE_KEY).digest(), sum(node.size for node in nodes))
