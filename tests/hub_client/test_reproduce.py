import json
from pathlib import Path
from typing import Any

import pytest

from petapter_hub_client.exit_codes import ExitCode
from petapter_schemas.manifest import MANIFEST_FILE, manifest_bytes, read_manifest
from tests.hub_client.conftest import Petapter
from tests.hub_client.tiny_reviews import CERTAIN


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "certain.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in CERTAIN))
    return path


@pytest.mark.parametrize(
    "options",
    [
        ("--preset", "strong"),
        ("--preset", "plain", "--steps", "6", "--seed", "4", "--rank", "2"),
        ("--preset", "plain", "--steps", "6", "--adapter", "ia3", "--head", "random", "--head-norm", "none"),
        ("--preset", "plain", "--steps", "4", "--adapter", "bottleneck", "--head-trains", "all"),
        ("--preset", "plain", "--steps", "4", "--rank", "0", "--calibrate", "2"),
        ("--preset", "paper", "--run", "2"),
        (
            "--preset",
            "paper",
            "--adapter",
            "ia3",
            "--paper",
            "ia3_place=after-activation",
            "--paper",
            "text_apart=false",
        ),
    ],
    ids=lambda options: " ".join(options[1:]),
)
def test_every_preset_is_trained_again_from_its_manifest(
    petapter: Petapter, backbone: Path, rows: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    out = tmp_path / "m"
    task = ("--pattern", "{text} it was {mask} .", "--label", "good", "--label", "bad")
    trained = petapter("train", rows, "--out", out, *task, "--backbone", backbone, *options)
    assert trained.code == 0, trained
    ran = petapter("reproduce", out, "--data", rows, "--backbone", backbone, "--json")
    assert ran.code == 0, ran
    found: Any = ran.json
    assert found["golden_difference"] < 1e-5
    assert found["weight_changes"] == {"adapter": pytest.approx(0, abs=1e-5), "head": pytest.approx(0, abs=1e-5)}


def test_figures_of_the_published_module_are_compared(
    lab: Petapter, module: Path, backbone: Path, data: Path, repo_id: str
) -> None:
    lab("push", module, repo_id)
    ran = lab("reproduce", repo_id, "--data", data, "--test", data, "--backbone", backbone)
    assert ran.code == 0, ran
    assert "reviews 0.1.0 is reproduced, within its tolerance" in ran.out
    assert "macro_f1" in ran.out
    assert lab("reproduce", repo_id, "--data", data, "--backbone", backbone, "-q").out == "within\n"


def test_another_module_than_the_manifest_says_is_outside(
    petapter: Petapter, module: Path, backbone: Path, data: Path
) -> None:
    manifest = read_manifest(module)
    training = manifest.training.model_copy(update={"seeds": (manifest.training.seeds[0] + 1,), "steps": 7})
    (module / "plots.json").unlink()
    files = tuple(file for file in manifest.files if file.path != "plots.json")
    changed = manifest.model_copy(update={"training": training, "files": files})
    (module / MANIFEST_FILE).write_bytes(manifest_bytes(changed))
    ran = petapter("reproduce", module, "--data", data, "--backbone", backbone, "--tolerance", "1e-9")
    assert ran.code == ExitCode.NOT_REPRODUCED
    assert "is not reproduced" in ran.out
    assert not json.loads(
        petapter("reproduce", module, "--data", data, "--backbone", backbone, "--tolerance", "1e-9", "--json").out
    )["is_within"]


def test_other_rows_are_one_line(petapter: Petapter, module: Path, backbone: Path, rows: Path) -> None:
    ran = petapter("reproduce", module, "--data", rows, "--backbone", backbone)
    assert ran.code == ExitCode.REFUSED
    assert "holds other rows than reviews 0.1.0 was trained on: 6 rows" in ran.error


def test_a_run_that_no_preset_made_is_one_line(petapter: Petapter, module: Path, data: Path) -> None:
    manifest = read_manifest(module)
    changed = manifest.model_copy(update={"training": manifest.training.model_copy(update={"preset": "merge"})})
    (module / MANIFEST_FILE).write_bytes(manifest_bytes(changed))
    assert "made by 'merge'" in petapter("reproduce", module, "--data", data).error


def test_a_run_that_is_recorded_in_part_is_one_line(petapter: Petapter, module: Path, data: Path) -> None:
    manifest = read_manifest(module)
    changed = manifest.model_copy(update={"training": manifest.training.model_copy(update={"hyperparameters": {}})})
    (module / MANIFEST_FILE).write_bytes(manifest_bytes(changed))
    assert "does not record its run completely ('head_init')" in petapter("reproduce", module, "--data", data).error


def test_another_backbone_is_refused(petapter: Petapter, module: Path, still_backbone: Path, data: Path) -> None:
    ran = petapter("reproduce", module, "--data", data, "--backbone", still_backbone)
    assert ran.code == ExitCode.UNFIT_MODULE
    assert ran.error
