from pathlib import Path
from typing import Any

import pytest

from tests.hub_client.conftest import Petapter
from tests.hub_client.tiny_reviews import ROWS, TASK


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "domain.txt"
    path.write_text("".join(f"{text}\n" for text, _ in ROWS * 20))
    return path


def test_adapt_makes_a_backbone_that_train_and_predict_take(
    petapter: Petapter, backbone: Path, data: Path, texts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "domain-bert"
    ran = petapter("adapt", "--texts", texts, "--backbone", backbone, "--out", out, "--steps", "3", "--rank", "2")
    assert ran.code == 0, ran
    facts = dict(line.split("  ", 1) for line in ran.out.splitlines())
    assert {name: value.strip() for name, value in facts.items()}["texts"] == "80 documents, 240 words"
    assert facts["tokens"].strip() == "1.00 per word"
    assert "before" in facts["held-out loss"]
    assert petapter("train", data, "--out", tmp_path / "m", *TASK, "--backbone", out, "--steps", "2").code == 0
    assert petapter("predict", "--module", tmp_path / "m", "great food", "--backbone", out, "--check").code == 0
    # a module of the adapted backbone is not for the base
    assert (
        "another set of weights"
        in petapter("predict", "--module", tmp_path / "m", "great food", "--backbone", backbone).error
    )


def test_json_holds_the_record(petapter: Petapter, backbone: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found: Any = petapter(
        "adapt", "--texts", data, "--texts", data, "--backbone", backbone, "--out", out, "--steps", "2", "--head-only",
        "--seed", "5", "--json",
    ).json  # fmt: skip
    assert found["directory"] == str(out)
    record = found["adaptation"]
    assert (record["options"]["rank"], record["options"]["seed"], record["steps"]) == (0, 5, 2)
    assert [file["name"] for file in record["texts"]] == ["reviews.csv"] * 2
    assert record["facts"]["documents"] == 2 * len(ROWS)
    assert record["held_out"]["predictions"] > 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--column", "body"), "has no column 'body'"),
        (("--minutes", "-1"), "minutes must be a number above 0"),
        (("--piece-tokens", "33"), "the backbone reads 32 tokens"),
        (("--backbone", "no such thing"), "is no backbone"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    petapter: Petapter, backbone: Path, data: Path, tmp_path: Path, arguments: tuple[str, ...], problem: str
) -> None:
    given = arguments if "--backbone" in arguments else (*arguments, "--backbone", backbone)
    assert problem in petapter("adapt", "--texts", data, "--out", tmp_path / "out", *given).error
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []


def test_an_existing_directory_is_not_written_over(
    petapter: Petapter, backbone: Path, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    error = petapter("adapt", "--texts", data, "--backbone", backbone, "--out", tmp_path / "out").error
    assert "choose another directory" in error


def test_missing_texts_are_wrong_usage(petapter: Petapter, tmp_path: Path) -> None:
    assert petapter("adapt", "--out", tmp_path / "out").code == 2
