import json
from typing import Any

import pytest
from pydantic import ValidationError

from petapter_schemas.errors import StackError
from petapter_schemas.stack import (
    MAX_LOCK_BYTES,
    StackEntry,
    StackLock,
    StackSpec,
    is_directory_name,
    lock_bytes,
    parse_lock,
)

LOCK: dict[str, Any] = {
    "lock_version": 1,
    "stack_sha256": "0" * 64,
    "backbone": {
        "repo": "minilm",
        "revision": None,
        "architecture": "BertForMaskedLM",
        "config_sha256": "1" * 64,
        "weights_sha256": "2" * 64,
        "tokenizer_sha256": "3" * 64,
    },
    "modules": [
        {
            "alias": "news",
            "asked": "team/news",
            "reference": "lab:team/news@v1.2.0",
            "url": "http://127.0.0.1:8470",
            "commit": "a" * 40,
            "digest": "4" * 64,
            "patterns": [0, 2],
        },
        {
            "alias": "own",
            "asked": "./own",
            "reference": None,
            "url": None,
            "commit": None,
            "digest": "5" * 64,
            "patterns": None,
        },
    ],
}
SPEC = StackSpec(
    modules=(StackEntry(alias="news", module="team/news", patterns=(0, 2)), StackEntry(alias="own", module="./own"))
)


TOGETHER = [
    LOCK["modules"][0] | {"alias": "panel", "patterns": None, "member": 0, "weight": 3.0},
    LOCK["modules"][1] | {"alias": "panel", "member": 1, "weight": 0.5},
]
"""Two members of an ensemble, in a lock."""


def parse(document: object) -> StackLock:
    return parse_lock(json.dumps(document).encode(), source="stack.lock")


def changed(place: str, value: object) -> dict[str, Any]:
    """The lock with another value at a place such as `modules.0.commit`."""
    document = json.loads(json.dumps(LOCK))
    inner = document
    *path, last = place.split(".")
    for part in path:
        inner = inner[int(part) if isinstance(inner, list) else part]
    inner[last] = value
    return document  # type: ignore[no-any-return]


def test_lock_is_read_and_written_as_the_same_bytes() -> None:
    data = lock_bytes(parse(LOCK))
    assert json.loads(data) == LOCK
    assert lock_bytes(parse_lock(data, source="stack.lock")) == data
    assert list(json.loads(data)) == list(LOCK)


def test_members_are_read_and_written_as_the_same_bytes() -> None:
    document = LOCK | {"modules": [*TOGETHER, *LOCK["modules"]]}
    lock = parse(document)
    assert json.loads(lock_bytes(lock)) == document
    assert [module.name for module in lock.modules] == ["panel/0", "panel/1", "news", "own"]


@pytest.mark.parametrize(
    "modules",
    [
        TOGETHER[:1],
        TOGETHER[::-1],
        [TOGETHER[0], LOCK["modules"][0], TOGETHER[1]],
        [TOGETHER[0], TOGETHER[1] | {"member": 2}],
        [TOGETHER[0], TOGETHER[1] | {"weight": -1}],
        [one | {"weight": 0} for one in TOGETHER],
        [TOGETHER[0], TOGETHER[1] | {"patterns": [0]}],
        [TOGETHER[0], {key: value for key, value in TOGETHER[1].items() if key != "weight"}],
        [TOGETHER[0], {key: value for key, value in TOGETHER[1].items() if key != "member"}],
        [TOGETHER[0], LOCK["modules"][1] | {"alias": "panel"}],
    ],
)
def test_members_that_break_the_format_are_refused(modules: list[dict[str, Any]]) -> None:
    with pytest.raises(StackError, match="is broken"):
        parse(LOCK | {"modules": modules})


def test_digest_of_a_stack_with_members_is_that_of_its_canonical_json() -> None:
    import hashlib

    spec = StackSpec(
        modules=(
            StackEntry(alias="panel", module="team/a", member=0, weight=3.0),
            StackEntry(alias="panel", module="./b", member=1, weight=0.5),
        )
    )
    written = (
        '{"backbone":null,"modules":[{"alias":"panel","member":0,"module":"team/a","patterns":null,"weight":3.0},'
        '{"alias":"panel","member":1,"module":"./b","patterns":null,"weight":0.5}]}'
    )
    assert spec.sha256 == hashlib.sha256(written.encode()).hexdigest()


def test_locked_reference_is_asked_for_by_its_commit() -> None:
    news, own = parse(LOCK).modules
    assert str(news.exact_reference) == f"lab:team/news@{'a' * 40}"
    assert own.exact_reference is None


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("lock_version", "1"),
        ("lock_version", True),
        ("stack_sha256", "0" * 63),
        ("extra", 1),
        ("backbone.extra", 1),
        ("backbone.weights_sha256", "Z" * 64),
        ("modules", []),
        ("modules.0.extra", 1),
        ("modules.0.alias", "../news"),
        ("modules.0.alias", "own"),
        ("modules.0.commit", None),
        ("modules.0.commit", "a" * 39),
        ("modules.0.commit", "A" * 40),
        ("modules.0.reference", None),
        ("modules.0.reference", "team/news@v1.2.0"),
        ("modules.0.reference", "lab:team/news"),
        ("modules.0.reference", "lab:../news@v1"),
        ("modules.0.url", None),
        ("modules.0.patterns", []),
        ("modules.0.patterns", [2, 0]),
        ("modules.0.patterns", [0, 0]),
        ("modules.0.patterns", [-1]),
        ("modules.0.patterns", [64]),
        ("modules.0.patterns", ["0"]),
        ("modules.1.commit", "a" * 40),
        ("modules.1.asked", "team/own"),
    ],
)
def test_lock_that_breaks_the_format_is_refused_with_a_remedy(place: str, value: object) -> None:
    with pytest.raises(StackError, match=r"^stack\.lock .* run 'petapter stack lock'"):
        parse(changed(place, value))


@pytest.mark.parametrize("field", ["lock_version", "stack_sha256", "backbone", "modules"])
def test_no_field_may_be_left_out(field: str) -> None:
    with pytest.raises(StackError):
        parse({key: value for key, value in LOCK.items() if key != field})


def test_later_version_asks_for_a_newer_petapter() -> None:
    with pytest.raises(StackError, match="format version 2; this petapter reads 1: upgrade petapter"):
        parse(changed("lock_version", 2))


def test_duplicate_key_is_refused() -> None:
    data = json.dumps(LOCK).replace('"lock_version": 1', '"lock_version": 1, "lock_version": 1').encode()
    with pytest.raises(StackError, match="duplicate key"):
        parse_lock(data, source="stack.lock")


def test_lock_that_is_too_large_is_refused() -> None:
    with pytest.raises(StackError, match="bytes"):
        parse_lock(b" " * (MAX_LOCK_BYTES + 1), source="stack.lock")


def test_lock_knows_its_stack() -> None:
    lock = parse(changed("stack_sha256", SPEC.sha256))
    assert lock.is_of(SPEC)
    assert not parse(LOCK).is_of(SPEC)
    assert not lock.model_copy(update={"modules": lock.modules[::-1]}).is_of(SPEC)


def test_digest_of_a_stack_is_that_of_its_canonical_json() -> None:
    # schemas/README.md: python -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
    written = (
        '{"backbone":null,"modules":[{"alias":"news","module":"team/news","patterns":[0,2]},'
        '{"alias":"own","module":"./own","patterns":null}]}'
    )
    import hashlib

    assert SPEC.sha256 == hashlib.sha256(written.encode()).hexdigest()


@pytest.mark.parametrize("name", ["./x", "../x", ".", "/x", "~/x", "C:\\x", "C:/x", "\\x"])
def test_directories_are_told_by_how_they_are_written(name: str) -> None:
    assert is_directory_name(name)


@pytest.mark.parametrize("name", ["team/x", "lab:team/x@v1", "x", "~x", "minilm", "c:team/x"])
def test_other_names_are_no_directories(name: str) -> None:
    assert not is_directory_name(name)


def test_two_modules_of_one_alias_are_refused() -> None:
    with pytest.raises(ValidationError, match="'a' is given twice"):
        StackSpec(modules=(StackEntry(alias="a", module="team/x"), StackEntry(alias="a", module="team/y")))
