"""`petapter stack predict`: every module of the lock answers, in its chosen patterns, as `predict` would."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from petapter_schemas.fingerprints import weights_sha256
from tests.hub_client.stacks.conftest import StackFolder
from tests.hub_client.tiny_reviews import ROWS

TEXTS = [text for text, _ in ROWS]


@pytest.fixture
def locked(stack: StackFolder) -> StackFolder:
    ran = stack.run("lock")
    assert ran.code == 0, ran
    return stack


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def by_alias(answers: Any, alias: str) -> list[dict[str, float]]:
    return [
        prediction["probabilities"]
        for answer in answers
        for prediction in answer["predictions"]
        if prediction["alias"] == alias
    ]


def in_patterns(directory: Path, backbone: Path, patterns: tuple[int, ...]) -> list[dict[str, float]]:
    """Reference: the mean of the log-probabilities that the module gives in each pattern, one at a time."""
    import torch

    from petapter import Backbone
    from petapter.head import restore_head
    from petapter.module import open_module
    from petapter.scoring import calibrated
    from petapter.task import Encoder, pad_batch

    resident = Backbone.load(backbone)
    module = open_module(directory, resident)
    head = restore_head(resident, module.verbalizer, module.head, len(module.task.patterns), module.head_tensors)
    said = []
    for number in patterns:
        pattern = module.task.patterns[number]
        encoded = Encoder(resident.tokenizer, pattern, resident.max_tokens).encode([{"text": text} for text in TEXTS])
        with torch.no_grad():
            reading = resident.read(pad_batch(encoded, resident.pad_id), head.shape.pool_layers)
            said.append(torch.log_softmax(head(reading, number), dim=-1))
    logits = calibrated(torch.stack(said).mean(dim=0), module.calibration)
    return [dict(zip(module.task.label_names, row, strict=True)) for row in torch.softmax(logits, -1).tolist()]


def test_every_module_answers_by_its_alias_in_the_order_of_the_stack(locked: StackFolder) -> None:
    answers: Any = locked.run("predict", *TEXTS, "--json").json
    assert [[one["alias"] for one in answer["predictions"]] for answer in answers] == [["pinned", "newest", "own"]] * 4
    assert by_alias(answers, "pinned") == by_alias(answers, "own")
    shown = locked.run("predict", "i love it").out
    assert shown.splitlines()[0].split() == ["text", "pinned", "newest", "own"]


def test_answers_are_those_of_predict(locked: StackFolder) -> None:
    one = locked.petapter(
        "predict", "--module", locked.folder / "own", "--backbone", locked.folder / "backbone", *TEXTS, "--json"
    )  # fmt: skip
    stacked: Any = locked.run("predict", *TEXTS, "--json").json
    for found, expected in zip(by_alias(stacked, "own"), by_alias(one.json, "own"), strict=True):
        assert found == pytest.approx(expected, abs=1e-6)


def test_chosen_patterns_alone_are_asked(locked: StackFolder) -> None:
    answers: Any = locked.run("predict", *TEXTS, "--json").json
    own, backbone = locked.folder / "own", locked.folder / "backbone"
    for alias, patterns in (("pinned", (0, 1, 2)), ("newest", (0, 2))):
        for found, expected in zip(by_alias(answers, alias), in_patterns(own, backbone, patterns), strict=True):
            assert found == pytest.approx(expected, abs=1e-5)
    gaps = [
        abs(all_["good"] - chosen["good"])
        for all_, chosen in zip(by_alias(answers, "pinned"), by_alias(answers, "newest"), strict=True)
    ]
    assert max(gaps) > 0.001  # else nothing was shown


def test_golden_outputs_are_checked_before_patterns_are_chosen(locked: StackFolder) -> None:
    assert locked.run("predict", "i love it", "--check").code == 0


def test_precision_is_that_of_predict(locked: StackFolder) -> None:
    rough: Any = locked.run("predict", *TEXTS, "--precision", "bfloat16", "--json").json
    one = locked.petapter(
        "predict", "--module", locked.folder / "own", "--backbone", locked.folder / "backbone",
        "--precision", "bfloat16", *TEXTS, "--json",
    )  # fmt: skip
    full: Any = locked.run("predict", *TEXTS, "--json").json
    assert by_alias(rough, "own") != by_alias(full, "own")
    for found, expected in zip(by_alias(rough, "own"), by_alias(one.json, "own"), strict=True):
        assert found == pytest.approx(expected, abs=1e-2)


def test_stack_is_the_one_here_unless_a_first_word_names_it(
    locked: StackFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(locked.folder)
    answers: Any = locked.petapter("stack", "predict", "i love it", "--json").json
    assert [answer["fields"]["text"] for answer in answers] == ["i love it"]
    assert "there is no other.yaml" in locked.petapter("stack", "predict", "other.yaml", "i love it").error


def test_file_in_and_file_out(locked: StackFolder, data: Path, out: Path) -> None:
    ran = locked.run("predict", "--input", data, "--output", out / "a.csv", "--keep-columns", "label")
    assert (ran.code, ran.out) == (0, f"4 rows answered in {out / 'a.csv'}\n")
    with (out / "a.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    said: Any = locked.run("predict", "--input", data, "--json").json
    for alias in ("pinned", "newest", "own"):
        found = [float(row[f"{alias}.probability.good"]) for row in rows]
        assert found == pytest.approx([answer["good"] for answer in by_alias(said, alias)], abs=1e-6)
    assert [row["label"] for row in rows] == [label for _, label in ROWS]


def test_run_that_was_stopped_is_not_gone_on_with_in_other_patterns(
    locked: StackFolder, data: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("petapter.runtime.files.running.chunk_rows", lambda _modules: 1)
    with monkeypatch.context() as patch:
        patch.setattr("petapter_hub_client.commands.answering._shown", stopped_after_two_rows)
        assert locked.run("predict", "--input", data, "--output", out / "a.jsonl").code == 130
    locked.edit("[2, 0]", "[1]")
    locked.run("lock")
    assert "--restart" in locked.run("predict", "--input", data, "--output", out / "a.jsonl").error
    locked.edit("[1]", "[0, 2]")
    locked.run("lock")
    assert locked.run("predict", "--input", data, "--output", out / "a.jsonl").code == 0
    rows = [json.loads(line)["row"] for line in (out / "a.jsonl").read_text().splitlines()]
    assert rows == [1, 2, 3, 4]


def stopped_after_two_rows(_on_step: object) -> object:
    def told(progress: Any) -> None:
        if progress.rows == 2:
            raise KeyboardInterrupt

    return told


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ((), "nothing to classify"),
        (("fine", "--output", "a.csv"), "--output goes with --input"),
        (("fine", "--overwrite"), "are about --output"),
        (("--input", "none.csv"), "none.csv"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(
    locked: StackFolder, out: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], cause: str
) -> None:
    monkeypatch.chdir(out)
    assert cause in locked.run("predict", *arguments).error
    assert list(out.iterdir()) == []


def test_backbone_is_hashed_once(locked: StackFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Path] = []

    def counted(directory: Path) -> str:
        hashed.append(directory)
        return weights_sha256(directory)

    monkeypatch.setattr("petapter_schemas.fingerprints.weights_sha256", counted)
    assert locked.run("predict", "fine").code == 0
    assert hashed == [locked.folder / "backbone"]


def test_missing_lock_is_refused_and_not_made(stack: StackFolder) -> None:
    assert f"run 'petapter stack lock {stack.yaml}'" in stack.run("predict", "i love it").error
    assert not stack.lock_file.exists()


def test_changed_stack_is_refused(locked: StackFolder) -> None:
    locked.edit("[2, 0]", "[1]")
    assert f"{locked.yaml} was changed since" in locked.run("predict", "i love it").error
