"""`train --preset`: what each preset lets the command line choose."""

from pathlib import Path
from typing import Any

import pytest

from tests.hub_client.conftest import Petapter
from tests.hub_client.tiny_reviews import TASK

ONE_WORD = ("--pattern", "{text} it was {mask} .", "--label", "good", "--label", "bad")


def test_paper_preset_runs_thirty_epochs_with_the_seed_of_its_run(
    petapter: Petapter, backbone: Path, data: Path, tmp_path: Path
) -> None:
    made: Any = petapter(
        "train", data, "--out", tmp_path / "m", *ONE_WORD, "--backbone", backbone, "--preset", "paper", "--run", "2",
        "--json",
    ).json  # fmt: skip
    training = made["manifest"]["training"]
    assert (training["preset"], training["seeds"], training["steps"]) == ("paper", [3790], 60)  # four rows: two a step
    assert made["manifest"]["task"]["tokenization"] == {"words": "bare", "long_words": "cut", "texts": "apart"}


def test_strong_preset_is_the_default(petapter: Petapter, backbone: Path, data: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.csv"
    more.write_text("text\ni hate this food\ngreat film\n")
    ran = petapter("train", data, "--out", tmp_path / "m", *TASK, "--backbone", backbone, "--unlabelled", more)
    assert ran.code == 0
    info: Any = petapter("info", tmp_path / "m", "--json").json
    assert info["manifest"]["training"]["preset"] == "strong"
    assert info["manifest"]["head"]["reads"] == "both"
    assert petapter("predict", "--module", tmp_path / "m", "--backbone", backbone, "--check", "great food").code == 0


@pytest.mark.parametrize("option", [("--rank", "4"), ("--head", "mlm")])
def test_options_of_the_plain_preset_are_refused_by_the_strong_one(
    petapter: Petapter, backbone: Path, data: Path, tmp_path: Path, option: tuple[str, str]
) -> None:
    ran = petapter("train", data, "--out", tmp_path / "m", *TASK, "--backbone", backbone, *option)
    assert ran.code == 1
    assert ran.err == f"error: {option[0]} belongs to --preset plain: give that preset, or drop it\n"


@pytest.mark.parametrize("option", [("--seed", "1"), ("--rank", "4"), ("--head", "mlm"), ("--steps", "5")])
def test_paper_preset_decides_the_rest_itself(
    petapter: Petapter, backbone: Path, data: Path, tmp_path: Path, option: tuple[str, str]
) -> None:
    ran = petapter(
        "train", data, "--out", tmp_path / "m", *ONE_WORD, "--backbone", backbone, "--preset", "paper", *option
    )
    assert ran.code == 1
    assert ran.err == f"error: --preset paper decides {option[0]} itself: drop it; --run chooses the seed\n"


def test_run_without_the_paper_preset_is_refused(
    petapter: Petapter, backbone: Path, data: Path, tmp_path: Path
) -> None:
    ran = petapter("train", data, "--out", tmp_path / "m", *ONE_WORD, "--backbone", backbone, "--run", "2")
    assert ran.err == "error: --run belongs to --preset paper: give --seed instead\n"


def test_paper_preset_refuses_several_words_of_a_label(
    petapter: Petapter, backbone: Path, data: Path, tmp_path: Path
) -> None:
    ran = petapter("train", data, "--out", tmp_path / "m", *TASK, "--backbone", backbone, "--preset", "paper")
    assert ran.code == 1
    assert "one word per label, but label 'bad' has 2: keep one of them" in ran.err
