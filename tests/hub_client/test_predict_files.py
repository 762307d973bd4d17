"""`petapter predict --output`: files in, files out, with the real core on a tiny backbone."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests.hub_client.conftest import Petapter
from tests.hub_client.tiny_reviews import ROWS

Predict = Any


@pytest.fixture
def predict(petapter: Petapter, backbone: Path, module: Path) -> Predict:
    """`petapter predict` with the module and further arguments."""
    return lambda *arguments: petapter("predict", "--module", module, "--backbone", backbone, *arguments)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_answers_go_into_a_file_and_nothing_but_a_line_is_said(predict: Predict, data: Path, out: Path) -> None:
    ran = predict("--input", data, "--output", out / "a.csv", "--keep-columns", "label,text")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"4 rows answered in {out / 'a.csv'}\n"
    with (out / "a.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["row"], row["text"], row["label"]) for row in rows] == [
        (str(number), text, label) for number, (text, label) in enumerate(ROWS, start=1)
    ]
    assert {row["reviews.label"] for row in rows} <= {"good", "bad"}
    assert names(out) == ["a.csv"]


def test_file_and_table_give_the_same_answers(predict: Predict, data: Path, out: Path) -> None:
    assert predict("--input", data, "--output", out / "a.jsonl").code == 0
    lines = [json.loads(line) for line in (out / "a.jsonl").read_text().splitlines()]
    said = [answer["predictions"][0] for answer in predict("--input", data, "--json").json]
    assert [line["answers"]["reviews"]["label"] for line in lines] == [prediction["label"] for prediction in said]
    for line, prediction in zip(lines, said, strict=True):
        assert line["answers"]["reviews"]["probabilities"] == pytest.approx(prediction["probabilities"], abs=1e-6)


def test_rows_that_cannot_be_read_are_counted_and_end_with_code_1(predict: Predict, out: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "fine"}\n{"text": ""}\nnonsense\n{"text": "awful"}\n')
    ran = predict("--input", source, "--output", out / "a.jsonl", "--json")
    errors = out / "a.jsonl.errors.jsonl"
    assert ran.error == f"error: 2 of 4 rows could not be read: {errors} says which and why"
    assert ran.json == {"output": str(out / "a.jsonl"), "rows": 4, "unread": 2, "cut": 0, "errors": str(errors)}
    assert [json.loads(line)["line"] for line in errors.read_text().splitlines()] == [2, 3]
    assert len((out / "a.jsonl").read_text().splitlines()) == 2
    assert "nonsense" not in errors.read_text() + ran.err


def test_stopped_run_goes_on_and_another_is_refused(
    predict: Predict, data: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert predict("--input", data, "--output", out / "whole.csv").code == 0
    monkeypatch.setattr("petapter.runtime.files.running.chunk_rows", lambda _modules: 1)
    with monkeypatch.context() as patch:
        patch.setattr("petapter_hub_client.commands.answering._shown", stopped_after_two_rows)
        assert predict("--input", data, "--output", out / "a.csv").code == 130
    assert names(out) == ["a.csv.part", "a.csv.part.json", "whole.csv"]
    refused = predict("--input", data, "--output", out / "a.csv", "--keep-columns", "text")
    assert "--restart" in refused.error
    assert predict("--input", data, "--output", out / "a.csv").code == 0
    assert (out / "a.csv").read_text().count("\n") == 5
    assert names(out) == ["a.csv", "whole.csv"]


def stopped_after_two_rows(_on_step: object) -> object:
    def told(progress: Any) -> None:
        if progress.rows == 2:
            raise KeyboardInterrupt

    return told


def test_bfloat16_answers_otherwise_and_a_run_keeps_its_precision(
    predict: Predict, data: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rough = ("--input", data, "--precision", "bfloat16")
    said = [predict(*given, "--json").json for given in (rough, ("--input", data))]
    assert said[0] != said[1]
    monkeypatch.setattr("petapter.runtime.files.running.chunk_rows", lambda _modules: 1)
    with monkeypatch.context() as patch:
        patch.setattr("petapter_hub_client.commands.answering._shown", stopped_after_two_rows)
        assert predict(*rough, "--output", out / "a.jsonl").code == 130
    assert "bfloat16" in predict("--input", data, "--output", out / "a.jsonl").error
    assert predict(*rough, "--output", out / "a.jsonl").code == 0
    lines = [json.loads(line)["answers"]["reviews"] for line in (out / "a.jsonl").read_text().splitlines()]
    for line, answer in zip(lines, said[0], strict=True):
        assert line["probabilities"] == pytest.approx(answer["predictions"][0]["probabilities"], abs=1e-6)


def test_restart_begins_anew(predict: Predict, data: Path, out: Path) -> None:
    (out / "a.csv.part").write_text("old")
    assert "--restart" in predict("--input", data, "--output", out / "a.csv").error
    assert predict("--input", data, "--output", out / "a.csv", "--restart").code == 0
    assert names(out) == ["a.csv"]


def test_output_that_exists_is_replaced_only_on_request(predict: Predict, data: Path, out: Path) -> None:
    (out / "a.csv").write_text("mine")
    assert "--overwrite" in predict("--input", data, "--output", out / "a.csv").error
    assert (out / "a.csv").read_text() == "mine"
    assert predict("--input", data, "--output", out / "a.csv", "--overwrite").code == 0
    assert (out / "a.csv").read_text().startswith("row,reviews.label,")


def test_cut_texts_are_warned_of(predict: Predict, out: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(f"text\n{'film ' * 100}\nfine\n")
    ran = predict("--input", tmp_path / "in.csv", "--output", out / "a.csv")
    assert ran.code == 0
    assert ran.err.startswith("warning: 1 of 2 texts")


def test_terminal_shows_rows_and_rows_per_second(
    predict: Predict, data: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    ran = predict("--input", data, "--output", out / "a.csv")
    assert "4 rows, " in ran.err
    assert "rows/s" in ran.err


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("fine", "--output", "a.csv"), "--output goes with --input"),
        (("fine", "--restart"), "are about --output"),
        (("fine", "--device", "gpu"), "there is no device 'gpu' on this machine"),
        (("--input", "x.parquet"), "give --output"),
        (("--input", "x.csv", "--output", "a.txt"), "must end in .csv"),
        (("--input", "none.csv", "--output", "a.csv"), "none.csv cannot be read"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(
    arguments: tuple[str, ...], cause: str, predict: Predict, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(out)
    assert cause in predict(*arguments).error
    assert names(out) == []


def test_parquet_without_pyarrow_names_the_remedy(
    predict: Predict, data: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("petapter.runtime.files.parquet.find_spec", lambda _name: None)
    assert "petapter[parquet]" in predict("--input", data, "--output", out / "a.parquet").error
