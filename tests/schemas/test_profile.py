import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from petapter_schemas.digests import sha256_bytes
from petapter_schemas.errors import ManifestError
from petapter_schemas.module_files import verify_directory
from petapter_schemas.profile import TOKEN_BUCKETS, parse_profile, token_bucket
from tests.schemas.tiny_module import build_tiny_module

Change = Callable[[dict[str, Any]], None]

ANSWERS = {
    "texts": 8,
    "right": 6,
    "labels": [{"labels": [0, 1], "count": 8}],
    "confidences": {"edges": [], "counts": [8]},
    "confidence": 0.8,
    "gap": -0.05,
    "gap_square": 0.2,
}
PROFILE = {
    "schema_version": 1,
    "texts": 8,
    "lengths": {"edges": [], "counts": [8]},
    "tokens": {"edges": [128], "shares": [0.25, 0.75], "texts": [5, 8], "noise": 0.5},
    "answers": ANSWERS,
}


def _changed(*path: str | int, value: object) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(PROFILE))
    inner: Any = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return document


def test_profile_is_read() -> None:
    profile = parse_profile(json.dumps(PROFILE).encode())
    assert profile.answers is not None
    assert (profile.texts, profile.answers.right) == (8, 6)


@pytest.mark.parametrize(
    "document",
    [
        _changed("texts", value=4),
        _changed("texts", value=9),
        _changed("schema_version", value=2),
        _changed("colour", value=1),
        _changed("lengths", value={"edges": [3.0], "counts": [4, 4]}),  # a bin of four texts
        _changed("lengths", value={"edges": [3.0, 3.0], "counts": [8, 0, 0]}),
        _changed("lengths", value={"edges": [3.0], "counts": [8]}),
        _changed("tokens", "texts", value=[4, 8]),
        _changed("tokens", "texts", value=[5, 9]),
        _changed("tokens", "edges", value=[0]),
        _changed("tokens", "edges", value=[TOKEN_BUCKETS]),
        _changed("tokens", "shares", value=[0.25, 1.5]),
        _changed("answers", "right", value=9),
        _changed("answers", "labels", value=[{"labels": [0], "count": 4}, {"labels": [1], "count": 4}]),
        _changed("answers", "labels", value=[{"labels": [0, 0], "count": 8}]),
        _changed("answers", "labels", value=[{"labels": [0], "count": 7}]),
        _changed("answers", "confidences", value={"edges": [0.5], "counts": [5, 5]}),
        _changed("answers", "gap", value="0.1"),
    ],
    ids=str,
)
def test_other_profiles_are_refused(document: dict[str, Any]) -> None:
    with pytest.raises(ManifestError, match=r"profile\.json"):
        parse_profile(json.dumps(document).encode())


def test_tokens_spread_evenly_over_the_buckets() -> None:
    counts = [0] * TOKEN_BUCKETS
    for token in range(30_000):
        counts[token_bucket(token)] += 1
    assert min(counts) > 100  # 117 on average
    assert max(counts) < 135


@pytest.fixture
def with_profile(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """A module of eight training texts and two labels that lists a profile."""

    def build(document: dict[str, Any]) -> Path:
        directory = build_tiny_module(tmp_path / "m")
        data = json.dumps(document).encode()
        (directory / "profile.json").write_bytes(data)
        manifest = json.loads((directory / "petapter.json").read_text())
        manifest["files"].append({"path": "profile.json", "size": len(data), "sha256": sha256_bytes(data)})
        (directory / "petapter.json").write_text(json.dumps(manifest))
        return directory

    return build


def test_module_may_carry_a_profile(with_profile: Callable[[dict[str, Any]], Path]) -> None:
    verify_directory(with_profile(PROFILE))


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (_changed("answers", "texts", value=5), "breaks the format"),
        (_changed("answers", "labels", value=[{"labels": [0, 2], "count": 8}]), "a label that"),
        (
            {
                **PROFILE,
                "texts": 7,
                "lengths": {"counts": [7]},
                "answers": None,
                "tokens": {"shares": [1.0], "texts": [7], "noise": 0.0},
            },
            "is of 7 texts",
        ),
    ],
)
def test_profile_that_contradicts_the_manifest_is_refused(
    with_profile: Callable[[dict[str, Any]], Path], document: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ManifestError, match=problem):
        verify_directory(with_profile(document))
