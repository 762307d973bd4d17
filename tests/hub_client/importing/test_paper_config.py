"""Configurations as they lie in the paper's repository (ag/config.yml, the example), and broken ones."""

from pathlib import Path
from typing import Any

import pytest

import petapter_hub_client as hub
from petapter_hub_client.exit_codes import ExitCode
from petapter_schemas.errors import InputError
from tests.hub_client.conftest import Petapter

AG = """
dataset:
  data: ag
  pattern:
    prompt: "<mask> News: <TEXT>"
    qa: "<TEXT> </s> Question: What is the topic of this article? Answer: <mask>."
  verbalizer:
    0: "World"
    1: "Sports"
    2: "Business"
    3: "Tech"
adapter:
  model:
    roberta-large: "roberta-large"
    roberta: "roberta-base"
  arch:
    - lora
    - pfeiffer
  c_rate: 16
  r: 8
  alpha: 16
  learning_rate: 5.0e-5
  max_epochs: 30
  number_of_runs: 5
  per_device_train_batch_size: 2
  save: False
"""
EXAMPLE = """
dataset:
  data_path: ../datasets
  out_path: results
  pattern:
    prompt: "The stance of this paragraph is <mask>: <TEXT> {x}"
  verbalizer:
    FOR: "pro"
    AGAINST: "con"
    NO: "none"
adapter:
  model:
    xlmroberta: "xlm-roberta-large"
  arch: pfeiffer
  c_rate: 8
  learning_rate: 5e-5
  learning_rate: 1.0e-4
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_patterns_and_words_become_tasks(petapter: Petapter, tmp_path: Path) -> None:
    from petapter.task import read_task

    ran = petapter("import", "config", write(tmp_path / "config.yml", AG), "--out", tmp_path / "ag", "--json")
    assert ran.code == 0, ran
    made: Any = ran.json
    prompt, qa = (read_task(Path(made["tasks"][name])) for name in ("prompt", "qa"))
    assert prompt.patterns[0].template == "{mask} News: {text}"
    assert qa.patterns[0].template == "{text} </s> Question: What is the topic of this article? Answer: {mask}."
    assert [(label.name, label.words) for label in prompt.labels] == [
        ("0", ("World",)), ("1", ("Sports",)), ("2", ("Business",)), ("3", ("Tech",)),
    ]  # fmt: skip
    assert made["runs"] == 5
    assert len(made["commands"]) == 2 * 2 * 2
    assert any(
        "--backbone roberta-base --preset paper --adapter bottleneck --run 1" in line for line in made["commands"]
    )
    assert [note for note in made["notes"] if "</s>" not in note] == []


def test_lines_that_are_printed_are_ones_that_train_takes(petapter: Petapter, tmp_path: Path) -> None:
    ran = petapter("import", "config", write(tmp_path / "config.yml", AG), "--out", tmp_path / "ag")
    lines = [line for line in ran.out.splitlines() if line.startswith("petapter train ")]
    assert len(lines) == 8
    refused = petapter(*lines[0].split()[1:])
    assert "train.csv" in refused.error


def test_what_the_preset_does_not_follow_is_said(petapter: Petapter, tmp_path: Path) -> None:
    ran = petapter("import", "config", write(tmp_path / "config.yml", EXAMPLE), "--out", tmp_path / "x")
    assert ran.code == 0, ran
    assert "warning: c_rate is 8: preset paper trains with 16" in ran.err
    assert "warning: learning_rate is 1.0e-4: preset paper trains with 5e-05" in ran.err
    text = (tmp_path / "x" / "task-prompt.yaml").read_text()
    assert "{{x}}" in text
    assert "'NO': none" in text or "'NO': 'none'" in text or '"NO"' in text


def test_rows_get_a_header_and_stay_as_they_are(petapter: Petapter, tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.csv", '"a, b",0\nNA,1\n"two\nlines",2\n')
    petapter("import", "config", write(tmp_path / "config.yml", AG), "--out", tmp_path / "ag", "--rows", rows)
    assert (tmp_path / "ag" / "train.csv").read_text() == 'text,label\n"a, b",0\nNA,1\n"two\nlines",2\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no configuration of the paper's code"),
        ("dataset: x", "has no 'dataset'"),
        ("a: [", "no readable YAML"),
        (AG.replace("<TEXT>", "TEXT"), "needs <TEXT> once"),
        (AG.replace("- lora", "- prefix"), "'prefix' is none of preset paper's"),
        (AG.replace("prompt:", "../prompt:"), "is not allowed"),
        (AG.replace("number_of_runs: 5", "number_of_runs: many"), "no number of runs"),
        (AG.replace("  verbalizer:", "  words:"), "dataset.verbalizer"),
    ],
)
def test_what_is_none_is_one_line_and_leaves_nothing(
    petapter: Petapter, tmp_path: Path, text: str, expected: str
) -> None:
    ran = petapter("import", "config", write(tmp_path / "config.yml", text), "--out", tmp_path / "ag")
    assert ran.code == ExitCode.REFUSED
    assert expected in ran.error
    assert not (tmp_path / "ag").exists()


def test_nothing_is_written_over_and_python_does_the_same(tmp_path: Path) -> None:
    source = write(tmp_path / "config.yml", AG)
    made = hub.import_paper_config(source, tmp_path / "ag")
    assert made.rows is None
    before = made.tasks["qa"].read_bytes()
    with pytest.raises(InputError, match="exists already"):
        hub.import_paper_config(source, tmp_path / "ag")
    assert made.tasks["qa"].read_bytes() == before
