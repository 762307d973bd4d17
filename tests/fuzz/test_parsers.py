"""Each parser over its seeds and some mutations of them; `python -m tests.fuzz.run` mutates for minutes, guided."""

import random

import pytest

from petapter_schemas.errors import PetapterError
from tests.fuzz.parsers import PARSERS, SEEDS, refused_or_read

MUTATIONS = 150
DEEP = 20_000


@pytest.mark.parametrize("name", PARSERS)
def test_mutated_input_is_read_or_refused_in_a_line(name: str) -> None:
    chance = random.Random(name)  # noqa: S311 (repeatable)
    for data in SEEDS[name][:8]:
        refused_or_read(PARSERS[name], data)
        for _ in range(MUTATIONS // min(len(SEEDS[name]), 8)):
            refused_or_read(PARSERS[name], mutated(data, chance))


@pytest.mark.parametrize("name", PARSERS)
def test_some_seed_is_good(name: str) -> None:
    assert any(refused_or_read(PARSERS[name], data) for data in SEEDS[name])


@pytest.mark.parametrize("name", PARSERS)
@pytest.mark.parametrize("data", [b"", b"\0", b"\xff" * 100, b"[" * DEEP, b"{" * DEEP, b'{"a":' * DEEP, b"- " * DEEP])
def test_input_of_nothing_or_of_depth_alone_is_read_or_refused(name: str, data: bytes) -> None:
    refused_or_read(PARSERS[name], data)


@pytest.mark.parametrize("data", [b"---\n" + b"[" * DEEP + b"\n---\n", b"---\n" + b"a: " * DEEP + b"\n---\n"])
def test_depth_inside_a_card_is_refused(data: bytes) -> None:
    assert not refused_or_read(PARSERS["card"], data)


def test_refusal_must_be_one_line() -> None:
    def parse(_: bytes) -> None:
        raise PetapterError("two\nlines")

    with pytest.raises(AssertionError, match="one line"):
        refused_or_read(parse, b"")


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The bytes with one to four changes: other bytes, some left out, twice, or put elsewhere."""
    changed = bytearray(data or b"x")
    for _ in range(chance.randint(1, 4)):
        at, length = chance.randrange(len(changed)), chance.randint(1, 8)
        part = changed[at : at + length]
        match chance.randrange(4):
            case 0:
                changed[at : at + length] = chance.randbytes(length)
            case 1:
                changed[at : at + length] = b""
            case 2:
                changed[at:at] = part * chance.randint(1, 3)
            case 3:
                changed[at : at + length] = chance.choice((b"{}", b"[]", b'"', b"\0", b"null", b"-1", b"9" * 20, b"\n"))
        changed = changed or bytearray(b"x")
    return bytes(changed)
