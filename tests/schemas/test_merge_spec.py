import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from petapter_schemas.card import render_card
from petapter_schemas.errors import ManifestError
from petapter_schemas.manifest import LineageSpec, parse_manifest
from petapter_schemas.merge_spec import MergeMember, MergeSpec
from tests.schemas.tiny_module import build_tiny_module, tiny_manifest

MEMBERS = tuple(
    MergeMember(name=name, version="1.0.0", manifest_sha256=digit * 64, weight=weight)
    for name, digit, weight in (("one", "1", 0.7), ("two", "2", 0.3))
)


@pytest.mark.parametrize(
    ("fields", "recipe"),
    [
        ({"method": "linear"}, "linear"),
        ({"method": "ties", "density": 0.2}, "ties, density 0.2"),
        ({"method": "dare-ties", "density": 0.5, "seed": 3}, "dare-ties, density 0.5, seed 3"),
    ],
)
def test_a_recipe_is_told_on_one_line(fields: dict[str, Any], recipe: str) -> None:
    assert MergeSpec(members=MEMBERS, **fields).recipe == recipe


@pytest.mark.parametrize(
    "fields",
    [
        {"method": "linear", "density": 0.5},
        {"method": "ties"},
        {"method": "ties", "density": 0.5, "seed": 1},
        {"method": "dare-linear", "density": 0.5},
        {"method": "ties", "density": 0.0},
        {"method": "ties", "density": 1.5},
        {"method": "stew"},
        {"method": "linear", "members": MEMBERS[:1]},
        {"method": "linear", "members": (MEMBERS[0], MEMBERS[0])},
    ],
)
def test_a_recipe_that_lacks_or_holds_too_much_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MergeSpec(**{"members": MEMBERS, **fields})


def test_a_manifest_from_before_merges_is_read(tmp_path: Path) -> None:
    document = json.loads((build_tiny_module(tmp_path / "m") / "petapter.json").read_text())
    del document["lineage"]["merge"]
    assert parse_manifest(json.dumps(document).encode()).lineage == LineageSpec()


def test_a_manifest_with_a_broken_merge_is_refused(tmp_path: Path) -> None:
    document = json.loads((build_tiny_module(tmp_path / "m") / "petapter.json").read_text())
    document["lineage"]["merge"] = {"method": "linear", "members": []}
    with pytest.raises(ManifestError, match=r"lineage\.merge"):
        parse_manifest(json.dumps(document).encode())


def test_the_card_names_the_members() -> None:
    lineage = LineageSpec(merge=MergeSpec(method="ties", density=0.5, members=MEMBERS))
    card = render_card(tiny_manifest().model_copy(update={"lineage": lineage}))
    assert "The weights of 2 modules, merged by ties, density 0.5:" in card
    assert f"| two 1.0.0 | 0.3 | {'2' * 64} |" in card
    assert "## Merged from" not in render_card(tiny_manifest())
