"""A module that is trained to be silent where it is unsure, from `train` to `predict` and `evaluate`."""

from pathlib import Path
from typing import Any

import pytest

from petapter_schemas.manifest import read_manifest
from tests.hub_client.conftest import Petapter
from tests.hub_client.tiny_reviews import CERTAIN, TASK

CONTRADICTORY = [("this film was it", label) for label in ("good", "bad") * 4]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Rows that can be told, and one text that has either label as often as the other."""
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in CERTAIN * 4 + CONTRADICTORY))
    return path


PRESETS = {
    "plain": ("--preset", "plain", "--calibrate", "4", "--steps", "60", "--adapter", "lora"),
    "strong": ("--preset", "strong"),
}


@pytest.fixture(params=sorted(PRESETS))
def silent(
    request: pytest.FixtureRequest, petapter: Petapter, still_backbone: Path, rows: Path, tmp_path: Path
) -> Path:
    out = tmp_path / "silent"
    own = PRESETS[request.param]
    ran = petapter("train", rows, "--out", out, *TASK, "--backbone", still_backbone, *own, "--abstain-error", "0.05")
    assert ran.code == 0, ran.err
    assert "abstains    below a probability of 0." in ran.out
    assert "for 5 % wrong labels at most" in ran.out
    return out


def test_threshold_is_in_manifest_and_card(silent: Path) -> None:
    calibration = read_manifest(silent).calibration
    assert calibration is not None
    assert calibration.abstain_error_rate == 0.05
    card = (silent / "README.md").read_text(encoding="utf-8")
    assert "so that at most 5 % of texts like its own get a wrong one" in card


def test_predict_shows_where_it_abstains(petapter: Petapter, silent: Path, still_backbone: Path) -> None:
    asked = (
        "predict",
        "--module",
        silent,
        "--backbone",
        still_backbone,
        "--check",
        "i love this film",
        "this film was it",
    )
    lines = petapter(*asked).out.splitlines()
    assert "good" in next(line for line in lines if line.startswith("i love"))
    assert "(abstains)" in next(line for line in lines if line.startswith("this film"))
    answers: Any = petapter(*asked, "--json").json
    sure, unsure = (answer["predictions"][0] for answer in answers)
    assert (sure["label"], sure["labels"]) == ("good", ["good"])
    assert (unsure["label"], unsure["labels"]) == (None, [])
    assert set(unsure["probabilities"]) == {"good", "bad"}


def test_evaluate_tells_coverage_and_accuracy_of_what_was_answered(
    petapter: Petapter, silent: Path, still_backbone: Path, rows: Path
) -> None:
    found: Any = petapter("evaluate", silent, rows, "--backbone", still_backbone, "--json").json
    figures = {figure["metric"]: figure["value"] for figure in found}
    assert figures["coverage"] == pytest.approx(24 / 32)
    assert figures["selective_accuracy"] == 1
    assert figures["accuracy"] == pytest.approx(28 / 32)
