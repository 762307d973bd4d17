"""`petapter tune`: from labelled rows to a module, a report and a plot; stopped, started again, and misused."""

import signal
import subprocess
import sys
import tracemalloc
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from petapter.tuning import TuneOptions
from petapter_hub_client.exit_codes import ExitCode
from petapter_hub_client.stated_facts import StatedFacts
from petapter_hub_client.training_runs import TaskSource
from petapter_hub_client.tuning_runs import TuningRun
from petapter_schemas.manifest import Manifest
from tests.hub_client.conftest import Petapter
from tests.hub_client.tiny_reviews import CERTAIN, TASK, save_backbone

STOPPED = """
import os, sys
from petapter.tuning import Work
from petapter_hub_client.cli import main
keep = Work.keep
def keep_two_and_stop(work, part, said):
    keep(work, part, said)
    if work.finished == 2:
        os.kill(os.getpid(), int(sys.argv[1]))
Work.keep = keep_two_and_stop
main(sys.argv[2:])
"""
"""The command, which gets a signal as soon as two parts are finished."""
QUICK = ("--patterns", "2", "--seeds", "1", "--folds", "2")
ROWS = [(f"{text} {number}", label) for number in range(3) for text, label in CERTAIN]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write(tmp_path / "rows.csv", ROWS)


def write(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return path


def test_tuning_ends_with_a_module_a_report_and_a_plot(
    petapter: Petapter, still_backbone: Path, rows: Path, tmp_path: Path
) -> None:
    texts = tmp_path / "texts.csv"
    texts.write_text("text\n" + "i love this food\n" * 4 + "awful film\n" * 500)
    out = tmp_path / "tuned"
    ran = petapter(
        "tune", rows, "--out", out, *TASK, *QUICK, "--backbone", still_backbone, "--unlabelled", texts, "--test", rows
    )
    assert ran.code == 0, ran.err
    assert "has paid for the search" in ran.out
    manifest = Manifest.model_validate_json((out / "petapter.json").read_bytes())
    searched, *measured = manifest.evaluation
    assert (searched.metric, searched.evaluation_set.split, searched.evaluation_set.n) == (
        "accuracy", "nested cross-validation", len(ROWS),
    )  # fmt: skip
    assert measured[0].evaluation_set.name == "rows"
    report = (tmp_path / "tuned.tuning" / "report.md").read_text()
    assert "`{text} it was {mask} .`" in report
    assert (tmp_path / "tuned.tuning" / "patterns.svg").stat().st_size > 1000
    answer = petapter("predict", "--module", out, "i love this film", "--backbone", still_backbone, "--json")
    assert answer.code == 0, answer.err


def test_own_patterns_alone_are_tried_where_that_is_asked_and_the_plan_of_memory_is_told(
    petapter: Petapter, still_backbone: Path, rows: Path, tmp_path: Path
) -> None:
    ran = petapter(
        "tune", rows, "--out", tmp_path / "tuned", *TASK, "--pattern", "{mask} : {text}", *QUICK, "--own-only",
        "--backbone", still_backbone, "--json", "--memory", "1",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert ran.err.count("2 modules, 2 at a time: 0 MiB beside the backbone") == 1  # the plan of both folds
    said: Any = ran.json
    assert {each["template"] for each in said["patterns"]} == {"{text} it was {mask} .", "{mask} : {text}"}
    assert {each["origin"] for each in said["patterns"]} == {"own"}
    assert said["shipped"] in {"distilled", "strong"}


def test_label_words_are_mined_where_that_is_asked(
    petapter: Petapter, still_backbone: Path, rows: Path, tmp_path: Path
) -> None:
    ran = petapter(
        "tune", rows, "--out", tmp_path / "tuned", *TASK, *QUICK, "--own-only", "--mine-words", "--backbone",
        still_backbone, "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    said: Any = ran.json
    assert all(each["label"] in {"good", "bad"} and each["folds"] <= 2 for each in said["words"])
    assert "## Label words" in (tmp_path / "tuned.tuning" / "report.md").read_text()


def test_module_to_begin_with_is_the_parent_of_what_began_there(
    petapter: Petapter, still_backbone: Path, rows: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    made = petapter(
        "train", rows, "--out", other, *TASK, "--preset", "plain", "--steps", 2, "--backbone", still_backbone
    )
    assert made.code == 0, made.err
    out = tmp_path / "tuned"
    ran = petapter(
        "tune", rows, "--out", out, *TASK, *QUICK, "--own-only", "--init-from", other, "--backbone", still_backbone,
        "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    said: Any = ran.json
    assert [each["name"] for each in said["finalists"]] == ["distilled", "transferred", "strong"]
    parent = sha256((other / "petapter.json").read_bytes()).hexdigest()
    lineage = Manifest.model_validate_json((out / "petapter.json").read_bytes()).lineage
    assert lineage.parent == (parent if said["shipped"] == "transferred" else None)


def test_module_of_another_backbone_or_without_an_adapter_is_no_beginning(
    petapter: Petapter, still_backbone: Path, rows: Path, tmp_path: Path
) -> None:
    foreign, bare = save_backbone(tmp_path / "foreign"), tmp_path / "bare"
    for out, backbone, rank in ((tmp_path / "elsewhere", foreign, 2), (bare, still_backbone, 0)):
        plain = ("--preset", "plain", "--steps", 1, "--rank", rank, "--backbone", backbone)
        made = petapter("train", rows, "--out", out, *TASK, *plain)
        assert made.code == 0, made.err
    words = ("tune", rows, "--out", tmp_path / "tuned", *TASK, *QUICK, "--own-only", "--backbone", still_backbone)
    assert "has no adapter, its head alone was trained" in petapter(*words, "--init-from", bare).error
    ran = petapter(*words, "--init-from", tmp_path / "elsewhere")
    assert ran.code == ExitCode.UNFIT_MODULE
    assert "was trained on 'foreign' with another set of weights" in ran.error
    assert not (tmp_path / "tuned").exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_tuning_that_is_interrupted_or_killed_goes_on_where_it_was(
    petapter: Petapter, still_backbone: Path, rows: Path, tmp_path: Path, how: signal.Signals
) -> None:
    out, said = tmp_path / "tuned", tmp_path / "tuned.tuning" / "said"
    words = ["tune", str(rows), "--out", str(out), *TASK, "--patterns", "1", "--seeds", "1", "--folds", "4"]
    words += ["--own-only", "--backbone", str(still_backbone)]
    stopped = subprocess.run(
        [sys.executable, "-c", STOPPED, str(int(how)), *words], capture_output=True, text=True, check=False
    )
    assert stopped.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in stopped.stderr
    assert not out.exists()
    kept = {path.name: path.stat().st_mtime_ns for path in said.glob("*.safetensors")}
    assert len(kept) == 2
    ran = petapter(*words)
    assert ran.code == 0, ran.err
    assert {name: (said / name).stat().st_mtime_ns for name in kept} == kept
    assert len(list(said.glob("*.safetensors"))) == 4


def test_few_texts_of_a_label_repeated_and_contradicting_rows_are_told_once_and_tuned_all_the_same(
    petapter: Petapter, still_backbone: Path, tmp_path: Path
) -> None:
    data = write(
        tmp_path / "rows.csv",
        [
            *((text, label) for text, label in ROWS if label == "good"),
            *[("i hate this film", "bad"), ("I hate this film!", "bad"), ("awful food", "bad")],
            *[("great food", "good"), ("great food", "bad")],
        ],
    )
    ran = petapter(
        "tune", data, "--out", tmp_path / "tuned", *TASK, "--pattern", "{mask} : {text}", "--patterns", "2", "--seeds",
        "1", "--folds", "4", "--own-only", "--backbone", still_backbone,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    few = "3 folds instead of 4: no label may lose all its rows to one of them"
    alike = "4 rows are nearly the same as others and stay in the fold of these"
    assert few in ran.err
    assert alike in ran.err
    assert ran.err.count("1 texts occur with several labels, first in rows 13 and 14: check the rows") == 1
    report = (tmp_path / "tuned.tuning" / "report.md").read_text()
    assert few in report
    assert alike in report


def test_huge_file_without_labels_is_drawn_from_while_it_streams_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = 20_000
    texts = tmp_path / "texts.csv"
    texts.write_text("text\n" + "".join(f"{number} {'word ' * 40}\n" for number in range(rows)))
    run = TuningRun(
        tmp_path / "rows.csv", TaskSource(None, [], []), "minilm", TuneOptions(most_unlabelled=100),
        StatedFacts.check(name="tuned", version="0.1.0", description="", license=None, languages=()), tmp_path,
        unlabelled=texts,
    )  # fmt: skip
    tracemalloc.start()
    try:
        drawn = run._texts(["text"])
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert texts.stat().st_size > 4_000_000
    assert most < 400_000  # a hundred texts, and what the reader holds of the file at a time
    numbers = [int(text["text"].split()[0]) for text in drawn]
    assert len(set(numbers)) == 100
    assert abs(sum(numbers) / 100 - rows / 2) < rows / 10  # from all of it; six standard errors are 0.17


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (CERTAIN, "8 labelled rows or more, and there are 6"),
        ([(text, "good") for text, _ in ROWS] + [("i hate this film", "bad")], "one text, which no fold can spare"),
    ],
)
def test_rows_that_are_too_few_are_refused_in_one_line(
    petapter: Petapter, still_backbone: Path, tmp_path: Path, given: list[tuple[str, str]], error: str
) -> None:
    data = write(tmp_path / "few.csv", given)
    ran = petapter("tune", data, "--out", tmp_path / "tuned", *TASK, *QUICK, "--backbone", still_backbone)
    assert ran.code == 1
    assert error in ran.err
    assert ran.err.count("\n") <= 2
    assert not (tmp_path / "tuned").exists()


def test_two_generations_learn_from_texts_and_are_refused_without(
    petapter: Petapter, still_backbone: Path, rows: Path, tmp_path: Path
) -> None:
    texts, out = tmp_path / "texts.csv", tmp_path / "tuned"
    texts.write_text("text\n" + "i love this food\n" + "awful film\n" * 3)
    words = ("tune", rows, "--out", out, *TASK, "--patterns", "1", "--seeds", "1", "--folds", "2", "--own-only")
    words = (*words, "--generations", "2", "--backbone", still_backbone)
    refused = petapter(*words)
    assert refused.code == 1
    assert "give them as --unlabelled" in refused.err
    ran = petapter(*words, "--unlabelled", texts)
    assert ran.code == 0, ran.err
    assert (out / "petapter.json").is_file()
    assert '"generations": 2' in (tmp_path / "tuned.tuning" / "tuning.json").read_text()


def test_unlabelled_file_without_texts_and_work_of_other_options_are_refused(
    petapter: Petapter, still_backbone: Path, rows: Path, tmp_path: Path
) -> None:
    words = ("tune", rows, "--out", tmp_path / "tuned", *TASK, *QUICK, "--own-only", "--backbone", still_backbone)
    empty = tmp_path / "empty.csv"
    for nothing, error in (
        ("text\n", "no rows"),
        ("", "is empty: it needs a header"),
        ('text\n""\n', "column 'text' is empty"),
    ):
        empty.write_text(nothing)
        ran = petapter(*words, "--unlabelled", empty)
        assert error in ran.error
    (tmp_path / "tuned.tuning").mkdir()
    (tmp_path / "tuned.tuning" / "tuning.json").write_text("{}\n")
    ran = petapter(*words)
    assert ran.code == 1
    assert "holds the work of other rows" in ran.err
