"""`export onnx` and `import peft` as commands, on a tiny backbone."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from petapter_hub_client.exit_codes import ExitCode
from tests.hub_client.conftest import Petapter

pytest.importorskip("onnxruntime", reason="the export is an extra")


def test_export_writes_three_files_that_say_the_same(
    petapter: Petapter, module: Path, backbone: Path, tmp_path: Path
) -> None:
    ran = petapter("export", "onnx", module, "--out", tmp_path / "m.onnx", "--backbone", backbone, "--json")
    assert ran.code == 0, ran
    made: Any = ran.json
    assert made["worst"] <= 1e-4
    described: Any = json.loads(Path(made["description"]).read_text())
    assert described["labels"] == ["good", "bad"]
    assert described["pattern"]["template"] == "{text} it was {mask} ."
    again = petapter("export", "onnx", module, "--out", tmp_path / "m.onnx", "--backbone", backbone)
    assert again.code == ExitCode.REFUSED
    assert "exists already" in again.error


ROOT = Path(__file__).parents[2]


def readme_programs() -> list[str]:
    section = (ROOT / "hub_client" / "README.md").read_text(encoding="utf-8").split("## Export and import")[1]
    return [part.split("```")[0] for part in section.split("```python\n")[1:3]]


def said_of(backbone: Path, module: Path, text: str) -> dict[str, float]:
    from petapter import Backbone
    from petapter.runtime import Engine

    with Engine(Backbone.load(backbone, device="cpu")) as engine:
        engine.load(module, "m")
        (answer,) = engine.predict([("m", text)])
    return answer.probabilities


def test_readme_program_without_petapter_answers_alike(
    petapter: Petapter, module: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, _ = readme_programs()
    assert "petapter" not in program
    ran = petapter("export", "onnx", module, "--out", tmp_path / "moods.onnx", "--backbone", backbone, "-q")
    assert ran.out == f"{tmp_path / 'moods.onnx'}\n"
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(program.replace("a lovely evening", "great food"), names)  # noqa: S102 (the README's own)
    expected = said_of(backbone, module, "great food")
    label, score = names["answer"]
    assert label == max(expected, key=lambda name: expected[name])
    assert math.exp(score) == pytest.approx(expected[label], abs=1e-4)


def test_readme_pipeline_says_what_a_module_with_the_backbones_own_head_says(
    petapter: Petapter, backbone: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = ("--pattern", "{text} it was {mask} .", "--label", "good", "--label", "bad")
    options = ("--preset", "plain", "--head-trains", "none", "--steps", "2", "--backbone", backbone)
    assert petapter("train", data, "--out", tmp_path / "reviews", *task, *options).code == 0
    (tmp_path / "tiny-bert").symlink_to(backbone)
    expected = said_of(backbone, tmp_path / "reviews", "great food")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    _, program = readme_programs()
    exec(program, names)  # noqa: S102 (likewise)
    found = {each["token_str"]: each["score"] for each in names["said"]}
    assert math.log(found["good"] / found["bad"]) == pytest.approx(
        math.log(expected["good"] / expected["bad"]), abs=1e-4
    )


def test_import_peft_trains_a_module_from_an_adapter(
    petapter: Petapter, backbone: Path, data: Path, tmp_path: Path
) -> None:
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(backbone, num_labels=2)
    config = LoraConfig(task_type=TaskType.SEQ_CLS, r=2, target_modules=["query"])
    get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    task = tmp_path / "task.yaml"
    task.write_text("labels: {good: good, bad: [bad, awful]}\npatterns: ['{text} it was {mask} .']\n")
    arguments = (data, "--task", task, "--backbone", backbone, "--out", tmp_path / "m", "--steps", "2")
    ran = petapter("import", "peft", tmp_path / "adapter", *arguments)
    assert ran.code == 0, ran
    assert "begun with LoRA of rank 2" in ran.out
    assert "is left out" in ran.err
    assert petapter("predict", "--module", tmp_path / "m", "--backbone", backbone, "great food").code == 0
    assert (
        "is no adapter directory"
        in petapter("import", "peft", tmp_path / "absent", *arguments[:-3], tmp_path / "n").error
    )
