"""Input that cannot be used gets one line with cause and remedy, exit code 1, and nothing is written.

What concerns remotes (a registry that is down, a wrong token, a bad name, a newer version) stands in test_push.py and
test_pull.py.
"""

import csv
from pathlib import Path

import pytest

from petapter_schemas.manifest import read_manifest
from tests.hub_client.conftest import Petapter
from tests.hub_client.tiny_reviews import ROWS, TASK, save_backbone


def files(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


@pytest.mark.parametrize(
    ("rows", "cause", "remedy"),
    [
        ("review,label\nfine,good\n", "no column 'text'", "rename or add it"),
        ("text\nfine\n", "no column 'label'", "rename or add it"),
        ("text,label\nfine,good\n,bad\n", "line 3: column 'text' is empty", "drop the row"),
        ("text,label\nfine,good\nawful,\n", "line 3: column 'label' is empty", "drop the row"),
        ("text,label\nfine,ugly\n", "label 'ugly' is not in the task", "add the label"),
        ("text,label\ni love this film,good\ngreat food,good\n", "all 2 rows have the label 'good'", "add rows"),
        ("text,label\n", "no rows", "add some"),
        ("", "empty", "header"),
    ],
)
def test_rows_that_cannot_be_used(
    petapter: Petapter, backbone: Path, tmp_path: Path, rows: str, cause: str, remedy: str
) -> None:
    data = tmp_path / "rows.csv"
    data.write_text(rows)
    error = petapter("train", data, "--out", tmp_path / "m", *TASK, "--backbone", backbone).error
    assert cause in error
    assert remedy in error
    assert files(tmp_path) <= {"rows.csv", "config", "cache"}


def test_fewer_rows_than_labels(petapter: Petapter, backbone: Path, tmp_path: Path) -> None:
    data = tmp_path / "rows.csv"
    data.write_text("text,label\ni love this film,good\nawful food,bad\n")
    labels = ("--label", "good", "--label", "bad", "--label", "great")
    pattern = ("--pattern", "{text} it was {mask} .")
    error = petapter("train", data, "--out", tmp_path / "m", *pattern, *labels, "--backbone", backbone).error
    assert "2 rows are fewer than the 3 labels" in error
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("pattern", "labels", "expected"),
    [
        ("{text} it was good", ("good", "bad"), ("has no {mask}", "add one")),
        ("it was {mask}", ("good", "bad"), ("no text field", "add {text}")),
        ("{text} {mask}", ("good=great", "bad=great"), ("are the same tokens", "choose another word")),
        ("{text} {mask}", ("good=splendid", "bad"), ("'splendid'", "another")),
        ("{text} {mask}", ("good=great food", "bad"), ("2 tokens but the pattern has 1 mask", "add a mask")),
    ],
)
def test_task_that_cannot_work(
    petapter: Petapter, backbone: Path, data: Path, pattern: str, labels: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    out = data.with_name("m")
    words = [word for label in labels for word in ("--label", label)]
    error = petapter("train", data, "--out", out, "--pattern", pattern, *words, "--backbone", backbone).error
    assert all(part in error for part in expected)
    assert not out.exists()


def test_words_that_look_like_missing_values_stay_texts(petapter: Petapter, backbone: Path, tmp_path: Path) -> None:
    data = tmp_path / "rows.csv"
    with data.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("text", "label"))
        writer.writerows([*ROWS, ("NA", "good"), ("null", "bad"), ("None", "good"), ("nan", "bad")])
    ran = petapter("train", data, "--out", tmp_path / "m", *TASK, "--backbone", backbone, "--steps", "1")
    assert ran.code == 0, ran
    assert read_manifest(tmp_path / "m").training.examples_per_class == (4, 4)


def test_module_on_another_backbone(petapter: Petapter, module: Path, tmp_path: Path) -> None:
    other = save_backbone(tmp_path / "other")
    error = petapter("predict", "--module", module, "--backbone", other, "great food").error
    assert "another set of weights" in error
    assert "load it on 'tiny-bert'" in error


@pytest.mark.parametrize("name", ["head.safetensors", "adapter_model.safetensors", "golden.json", "README.md"])
def test_tampered_file_of_a_local_module(petapter: Petapter, backbone: Path, module: Path, name: str) -> None:
    data = bytearray((module / name).read_bytes())
    data[-3] ^= 1
    (module / name).write_bytes(data)
    error = petapter("predict", "--module", module, "--backbone", backbone, "great food").error
    assert f"{name} was changed" in error
    assert "pull the module again" in error


def test_text_that_is_no_unicode_is_one_line(petapter: Petapter, backbone: Path, module: Path) -> None:
    ran = petapter("predict", "--module", module, "--backbone", backbone, "great food", "great \udcff")
    assert "half a character" in ran.error
