"""The verbs that measure: suggest, diff with rows, reproduce; the real backbone, processes, and a registry process."""

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flow.conftest import DEMO_DATA

pytestmark = pytest.mark.slow

Run = Callable[..., subprocess.CompletedProcess[str]]
SNIPS = DEMO_DATA / "snips"


@pytest.fixture(scope="module")
def published(petapter: Run, trained: Path) -> str:
    petapter("push", trained, "team/measured")
    return "team/measured"


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every tenth test row: 70 of 7 labels."""
    path = tmp_path_factory.mktemp("rows") / "few.csv"
    with (SNIPS / "test.csv").open(encoding="utf-8", newline="") as source, path.open("w", newline="") as target:
        rows = list(csv.reader(source))
        csv.writer(target).writerows([rows[0], *rows[1::10]])
    return path


def test_suggest_finds_the_module_and_tells_it_from_having_none(petapter: Run, published: str, few: Path) -> None:
    found = json.loads(petapter("suggest", few, "--json").stdout)
    best = found["ranked"][0]
    own = next(each for each in found["ranked"] if each["module"] == f"lab:{published}")
    assert (own["rows"], own["accuracy"]) == (70, best["accuracy"])  # other tests may have pushed the same module
    assert best["interval"]["low"] > 0.6
    assert {each["module"] for each in found["ranked"] if not each["is_module"]} == {
        "(none: the most frequent label)",
        "(none: the bare backbone)",
    }
    assert found["beats_none"]
    assert petapter("suggest", few, "-q").stdout.splitlines()[0] == best["module"]


def test_diff_with_rows_sees_no_flip_where_there_is_none(
    petapter: Run, published: str, trained: Path, few: Path
) -> None:
    found = json.loads(petapter("diff", trained, published, "--data", few, "--json").stdout)
    assert (found["is_same"], found["answers"]["flips"], found["answers"]["test"]["p_value"]) == (True, [], 1.0)


def test_reproduce_gives_the_same_module_again(petapter: Run, published: str) -> None:
    found = json.loads(petapter("reproduce", published, "--data", SNIPS / "train.csv", "--json").stdout)
    assert found["is_within"]
    assert found["golden_difference"] <= found["tolerance"]
    refused = petapter("reproduce", published, "--data", SNIPS / "test.csv", code=1).stderr
    assert "holds other rows" in refused
