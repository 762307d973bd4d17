"""`petapter drift`: from training with a profile to the verdict on later texts."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.hub_client.conftest import Petapter
from tests.hub_client.tiny_reviews import CERTAIN, TASK

TEXTS = [text for text, _ in CERTAIN]
ROWS = CERTAIN * 4


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS))
    return path


@pytest.fixture
def module(petapter: Petapter, still_backbone: Path, rows: Path, tmp_path: Path) -> Path:
    assert petapter("train", rows, "--out", tmp_path / "reviews", *TASK, "--backbone", still_backbone).code == 0
    return tmp_path / "reviews"


def write_texts(path: Path, texts: list[str]) -> Path:
    path.write_text("text\n" + "".join(f"{text}\n" for text in texts))
    return path


def test_texts_like_those_of_training_raise_no_alarm(
    petapter: Petapter, still_backbone: Path, module: Path, tmp_path: Path
) -> None:
    new = write_texts(tmp_path / "new.csv", TEXTS * 5)
    ran = petapter("drift", module, new, "--backbone", still_backbone)
    assert ran.code == 0, ran.err
    assert ran.out.count("as before") == 4
    assert "accuracy may be" in ran.out


def test_texts_of_another_kind_end_with_code_eight_and_a_picture(
    petapter: Petapter, still_backbone: Path, module: Path, tmp_path: Path
) -> None:
    new = write_texts(tmp_path / "new.csv", ["it was it was it was it was food this film ."] * 60)
    picture = tmp_path / "drift.png"
    ran = petapter("drift", module, new, "--backbone", still_backbone, "--plot", picture, "--json")
    assert ran.code == 8, ran.err
    report: Any = ran.json
    assert report["drifted"] is True
    assert {found["what"] for found in report["findings"] if found["drifted"]} >= {"lengths", "tokens"}
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_profile_tells_no_text(module: Path) -> None:
    profile = (module / "profile.json").read_text()
    assert not any(word in profile for text in TEXTS for word in text.split() if len(word) > 3)
    assert json.loads(profile)["answers"]["texts"] == len(ROWS)


def test_module_without_a_profile_is_refused(
    petapter: Petapter, still_backbone: Path, rows: Path, tmp_path: Path
) -> None:
    made = petapter("train", rows, "--out", tmp_path / "m", *TASK, "--backbone", still_backbone, "--no-profile")
    assert made.code == 0, made.err
    assert not (tmp_path / "m" / "profile.json").exists()
    new = write_texts(tmp_path / "new.csv", TEXTS * 5)
    assert "has no profile" in petapter("drift", tmp_path / "m", new, "--backbone", still_backbone).error


@pytest.mark.parametrize(
    ("count", "options", "problem"),
    [
        (9, (), "9 texts are too few"),
        (20, ("--alpha", "1"), "alpha is 1"),
        (20, ("--plot", "drift.pdf"), "ends in .png or .svg"),
    ],
)
def test_what_cannot_be_compared_gets_one_line(
    petapter: Petapter, module: Path, count: int, options: tuple[str, ...], problem: str
) -> None:
    new = write_texts(module.parent / "new.csv", ["great food"] * count)
    assert problem in petapter("drift", module, new, "--backbone", module.parent / "tiny-bert", *options).error


def test_texts_without_the_modules_field_are_refused(
    petapter: Petapter, still_backbone: Path, module: Path, tmp_path: Path
) -> None:
    (tmp_path / "new.csv").write_text("body\nx\n")
    assert "text" in petapter("drift", module, tmp_path / "new.csv", "--backbone", still_backbone).error
