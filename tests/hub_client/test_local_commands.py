"""train, evaluate and predict with the real core on a tiny backbone made here, with random weights."""

from pathlib import Path
from typing import Any

import pytest

from petapter_schemas.manifest import read_manifest
from petapter_schemas.plot_data import parse_plot_data
from tests.hub_client.conftest import Petapter
from tests.hub_client.tiny_reviews import ROWS, TASK


def test_train_writes_a_module_that_info_reads(petapter: Petapter, module: Path) -> None:
    info: Any = petapter("info", module, "--json").json
    assert info["manifest"]["name"] == "reviews"
    assert [label["words"] for label in info["manifest"]["task"]["labels"]] == [["good"], ["bad", "awful"]]


def test_train_records_what_was_measured(petapter: Petapter, backbone: Path, data: Path, tmp_path: Path) -> None:
    made: Any = petapter(
        "train", data, "--out", tmp_path / "m", *TASK, "--backbone", backbone, "--steps", "1", "--test", data,
        "--test-name", "held out", "--json",
    ).json  # fmt: skip
    sets = {(item["metric"], item["evaluation_set"]["name"]) for item in made["manifest"]["evaluation"]}
    metrics = ("accuracy", "macro_f1", "ece", "brier", "log_loss", "aurc")
    assert sets == {(metric, "held out") for metric in metrics}


def test_train_draws_what_it_measured(module: Path) -> None:
    data = parse_plot_data((module / "plots.json").read_bytes())
    accuracy = read_manifest(module).evaluation[0]
    (confusion,) = data.confusions
    assert confusion.right == round(accuracy.value * len(ROWS))
    assert [sum(row) for row in confusion.counts] == [2, 2]
    assert [point.step for point in data.losses] == [1, 2]
    card = (module / "README.md").read_text(encoding="utf-8")
    for plot in ("plot-confusion.svg", "plot-f1.svg", "plot-reliability.svg", "plot-loss.svg"):
        assert f"]({plot})" in card
        assert (module / plot).read_text(encoding="utf-8").startswith("<svg")


def test_train_without_test_rows_draws_the_loss_alone(
    petapter: Petapter, backbone: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "m"
    petapter("train", data, "--out", out, *TASK, "--backbone", backbone, "--preset", "plain", "--steps", "2")
    assert sorted(path.name for path in out.glob("plot-*")) == ["plot-loss.svg"]


def test_train_reads_a_task_file(petapter: Petapter, backbone: Path, data: Path, tmp_path: Path) -> None:
    task = tmp_path / "task.yaml"
    task.write_text("labels: {good: good, bad: bad}\npatterns: ['{text} it was {mask} .']\n")
    out = tmp_path / "m"
    plain = ("--preset", "plain", "--steps", "1", "--rank", "2")
    ran = petapter("train", data, "--out", out, "--task", task, "--backbone", backbone, *plain)
    assert ran.code == 0
    assert (out / "petapter.json").is_file()


def test_evaluate_names_set_and_interval(petapter: Petapter, backbone: Path, module: Path, data: Path) -> None:
    figures: Any = petapter("evaluate", module, data, "--backbone", backbone, "--set-name", "mine", "--json").json
    metrics = [figure["metric"] for figure in figures]
    assert metrics == ["accuracy", "macro_f1", "ece", "brier", "log_loss", "aurc"]
    assert figures[0]["evaluation_set"]["name"] == "mine"
    assert figures[0]["interval"]["low"] <= figures[0]["value"] <= figures[0]["interval"]["high"]
    ece = next(figure for figure in figures if figure["metric"] == "ece")
    assert set(ece["reliability"][0]) == {"confidence", "accuracy"}


def test_evaluate_shows_how_each_interval_was_made(
    petapter: Petapter, backbone: Path, module: Path, data: Path
) -> None:
    shown = petapter("evaluate", module, data, "--backbone", backbone).out
    assert "mean probability" in shown
    assert "interval of accuracy, macro_f1, brier, log_loss, aurc: 95%, bootstrap over rows, 2000 resamples\n" in shown
    assert "interval of ece: 95%, bootstrap over rows, 2000 resamples, less its bias" in shown


def test_two_modules_answer_every_text(petapter: Petapter, backbone: Path, module: Path, tmp_path: Path) -> None:
    other = module.rename(tmp_path / "other")
    (tmp_path / "again").mkdir()
    for path in other.iterdir():
        (tmp_path / "again" / path.name).write_bytes(path.read_bytes())
    answers: Any = petapter(
        "predict", "--module", other, "--module", tmp_path / "again", "i love it", "awful", "--backbone", backbone,
        "--json",
    ).json  # fmt: skip
    assert [[prediction["alias"] for prediction in answer["predictions"]] for answer in answers] == [
        ["other", "again"],
        ["other", "again"],
    ]
    assert sum(answers[0]["predictions"][0]["probabilities"].values()) == pytest.approx(1)


def test_predict_reads_texts_from_a_file(petapter: Petapter, backbone: Path, module: Path, data: Path) -> None:
    answers: Any = petapter("predict", "--module", module, "--input", data, "--backbone", backbone, "--json").json
    assert [answer["fields"]["text"] for answer in answers] == [text for text, _ in ROWS]


def test_predict_checks_golden_outputs(petapter: Petapter, backbone: Path, module: Path) -> None:
    assert petapter("predict", "--module", module, "fine", "--backbone", backbone, "--check").code == 0


def test_cut_text_is_warned_of(petapter: Petapter, backbone: Path, module: Path) -> None:
    ran = petapter("predict", "--module", module, "film " * 100, "--backbone", backbone)
    assert "warning: 1 of 1 texts" in ran.err


def test_manifests_that_name_no_backbone_here_ask_for_one(petapter: Petapter, module: Path) -> None:
    assert petapter("predict", "--module", module, "fine").error


def test_modules_of_different_backbones_are_refused(
    petapter: Petapter, module: Path, tiny_module: Any, tmp_path: Path
) -> None:
    error = petapter("predict", "--module", module, "--module", tiny_module(tmp_path / "tiny"), "fine").error
    assert "different backbones" in error


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "--task FILE"),
        ((*TASK, "--task", "task.yaml"), "not both"),
        ((*TASK, "--version", "1"), "MAJOR.MINOR.PATCH"),
        ((*TASK, "--license", "my own"), "SPDX"),
        ((*TASK, "--language", "english!"), "codes such as en"),
        ((*TASK, "--name", "a--b"), "'a--b'"),
        ((*TASK[:4],), "at least"),
        (("--pattern", "no mask {text}", *TASK[2:]), "{mask}"),
    ],
)
def test_bad_input_of_train_is_one_line_and_writes_nothing(
    petapter: Petapter, data: Path, tmp_path: Path, arguments: tuple[str, ...], expected: str
) -> None:
    assert expected in petapter("train", data, "--out", tmp_path / "m", *arguments).error
    assert not (tmp_path / "m").exists()


def test_row_with_an_unknown_label_is_named(petapter: Petapter, data: Path, tmp_path: Path) -> None:
    data.write_text("text,label\nfine,ugly\n")
    assert "line 2" in petapter("train", data, "--out", tmp_path / "m", *TASK).error


def test_directory_in_use_is_not_written_to(petapter: Petapter, data: Path, tmp_path: Path) -> None:
    assert "not empty" in petapter("train", data, "--out", tmp_path, *TASK).error


def test_nothing_to_classify_is_said(petapter: Petapter, module: Path) -> None:
    assert "--input" in petapter("predict", "--module", module).error
