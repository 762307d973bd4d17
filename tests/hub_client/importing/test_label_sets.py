"""SetFit-style rows and models as a task, in each form they come in."""

import json
from pathlib import Path
from typing import Any

import pytest

import petapter_hub_client as hub
from petapter_hub_client.exit_codes import ExitCode
from tests.hub_client.conftest import Petapter

ROWS = [
    {"text": "it broke", "label": 1, "label_text": "not_happy"},
    {"text": "NA", "label": 0, "label_text": "happy"},
    {"text": "fine, thanks", "label": 0, "label_text": "happy"},
]


def write_rows(path: Path) -> Path:
    if path.suffix == ".csv":
        lines = ["text,label,label_text", *(f'"{row["text"]}",{row["label"]},{row["label_text"]}' for row in ROWS)]
        path.write_text("\n".join(lines) + "\n")
    elif path.suffix == ".json":
        path.write_text(json.dumps(ROWS))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl"])
def test_rows_become_a_task_that_can_be_read(petapter: Petapter, tmp_path: Path, suffix: str) -> None:
    from petapter.task import read_examples, read_task

    ran = petapter("import", "setfit", write_rows(tmp_path / f"rows{suffix}"), "--out", tmp_path / "out", "--json")
    assert ran.code == 0, ran
    made: Any = ran.json
    assert (made["labels"], made["count"]) == (["happy", "not_happy"], 3)
    task = read_task(Path(made["task"]))
    assert [label.words for label in task.labels] == [("happy",), ("not happy",)]
    assert [row.label for row in read_examples(Path(made["rows"]), task)] == ["not_happy", "happy", "happy"]


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("config_setfit.json", {"labels": ["negative", "positive"], "normalize_embeddings": False}),
        ("config.json", {"id2label": {"1": "positive", "0": "negative"}}),
    ],
)
def test_model_gives_labels_and_a_header_to_fill(
    petapter: Petapter, tmp_path: Path, name: str, config: dict[str, object]
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / name).write_text(json.dumps(config))
    ran = petapter("import", "setfit", tmp_path / "model", "--out", tmp_path / "out")
    assert ran.code == 0, ran
    assert "negative, positive" in ran.out
    assert (tmp_path / "out" / "train.csv").read_text() == "text,label\n"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("rows.csv", "text,label\na,x\n", "has 1 labels"),
        ("rows.csv", "text,label\n,x\n", "row 1 has no text"),
        ("rows.jsonl", '{"text": "a"}\n', "no label"),
        ("rows.jsonl", "{\n", "cannot be read"),
        ("rows.json", "{}", "no list of rows"),
        ("rows.parquet", "", "neither a model's directory nor"),
        (
            "rows.jsonl",
            '{"text":"a","label":0,"label_text":"x"}\n{"text":"b","label":1,"label_text":"x"}\n',
            "another row",
        ),
    ],
)
def test_what_is_none_is_one_line(petapter: Petapter, tmp_path: Path, name: str, text: str, expected: str) -> None:
    (tmp_path / name).write_text(text)
    ran = petapter("import", "setfit", tmp_path / name, "--out", tmp_path / "out")
    assert ran.code == ExitCode.REFUSED
    assert expected in ran.error
    assert not (tmp_path / "out").exists()


def test_directory_without_labels_and_absent_file_are_one_line(petapter: Petapter, tmp_path: Path) -> None:
    assert "names no labels" in petapter("import", "setfit", tmp_path, "--out", tmp_path / "out").error
    assert "No such file" in petapter("import", "setfit", tmp_path / "x.csv", "--out", tmp_path / "out").error


def test_python_does_the_same(tmp_path: Path) -> None:
    made = hub.import_label_set(write_rows(tmp_path / "rows.csv"), tmp_path / "out")
    assert (made.labels, made.count) == (("happy", "not_happy"), 3)
