import json
import struct
from pathlib import Path
from typing import Any

import pytest

import petapter_hub_client as hub
from petapter_hub_client.exit_codes import ExitCode
from petapter_hub_client.weight_changes import weight_changes
from petapter_schemas.digests import sha256_bytes
from petapter_schemas.manifest import read_manifest
from tests.hub_client.conftest import Petapter
from tests.hub_client.tiny_reviews import ROWS, TASK
from tests.schemas.tiny_module import TinyModule, put_file

QUERY = "bert.encoder.layer.0.attention.self.query"


def scaled(directory: Path, name: str, factor: float) -> Path:
    """The same module with the values of a safetensors file multiplied."""
    data = (directory / name).read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    values = struct.unpack(f"<{(len(data) - start) // 4}f", data[start:])
    return put_file(directory, name, data[:start] + struct.pack(f"<{len(values)}f", *(factor * v for v in values)))


def test_a_module_is_no_different_from_itself(petapter: Petapter, tiny_module: TinyModule, tmp_path: Path) -> None:
    directory = tiny_module(tmp_path / "m")
    ran = petapter("diff", directory, directory)
    assert "the same, byte by byte" in ran.out
    assert "relative change" not in ran.out


def test_fields_files_and_figures_stand_beside_each_other(
    petapter: Petapter, tiny_module: TinyModule, tmp_path: Path
) -> None:
    before, after = tiny_module(tmp_path / "a"), tiny_module(tmp_path / "b", version="1.1.0", labels=("a", "c"))
    found: Any = petapter("diff", before, after, "--json").json
    changed = {each["path"]: (each["before"], each["after"]) for each in found["fields"]}
    assert changed == {"version": ('"1.0.0"', '"1.1.0"'), "task.labels.1.name": ('"b"', '"c"')}
    assert [each["path"] for each in found["files"]] == ["README.md", "petapter.json"]
    assert [(each["metric"], each["before"], each["after"]) for each in found["metrics"]] == [("accuracy", 0.75, 0.75)]
    assert found["answers"] is None
    assert {each["change"] for each in found["weights"]} == {0.0}


def test_change_of_a_layer_is_that_of_what_lora_adds(tiny_module: TinyModule, tmp_path: Path) -> None:
    before, after = tiny_module(tmp_path / "a"), scaled(tiny_module(tmp_path / "b"), "adapter_model.safetensors", 2.0)
    found = {
        each.layer: each for each in weight_changes((before, read_manifest(before)), (after, read_manifest(after)))
    }
    assert (found[QUERY].what, found[QUERY].numbers) == ("update", 64)
    assert found[QUERY].change == pytest.approx(3.0)  # both factors doubled: the update is four times what it was
    assert found["head rows.weight"].change == 0.0


def test_change_of_a_head_tensor_is_its_own(tiny_module: TinyModule, tmp_path: Path) -> None:
    before, after = tiny_module(tmp_path / "a"), scaled(tiny_module(tmp_path / "b"), "head.safetensors", 1.5)
    found = {each.layer: each.change for each in hub.diff(before, after).weights}
    assert (found["head rows.weight"], found["head rows.bias"], found[QUERY]) == (
        pytest.approx(0.5), pytest.approx(0.5), 0.0,
    )  # fmt: skip


def test_layers_that_cannot_be_compared_say_why(tiny_module: TinyModule, tmp_path: Path) -> None:
    before, after = tiny_module(tmp_path / "a"), tiny_module(tmp_path / "b", labels=("a", "b", "c"))
    found = {each.layer: each.why for each in hub.diff(before, after).weights}
    assert found["head rows.weight"] == "[2, 8] became [3, 8]"
    assert found[QUERY] is None


def test_two_versions_on_a_remote_are_pulled_and_asked_about_rows(
    lab: Petapter, module: Path, backbone: Path, data: Path, tmp_path: Path, repo_id: str
) -> None:
    other = tmp_path / "other"
    chosen = ("--preset", "plain", "--steps", "9", "--seed", "3")
    lab("train", data, "--out", other, *TASK, "--backbone", backbone, *chosen)
    lab("push", module, repo_id)
    lab("push", other, repo_id, "--bump", "minor")
    asked = ("diff", f"{repo_id}@v0.1.0", f"{repo_id}@v0.2.0", "--data", data, "--backbone", backbone)
    ran = lab(*asked)
    assert f"accuracy on {len(ROWS)} rows: before " in ran.out
    assert "McNemar's exact test" in ran.out
    answers = json.loads(lab(*asked, "--json").out)["answers"]
    assert answers["rows"] == len(ROWS)
    right = [flip["before"] == flip["label"] for flip in answers["flips"]]
    assert (sum(right), len(right) - sum(right)) == (answers["test"]["first_only"], answers["test"]["second_only"])
    assert {"version", "head.safetensors"} <= set(lab(*asked[:3], "-q").out.splitlines())


def test_rows_cannot_tell_modules_of_different_labels(
    petapter: Petapter, tiny_module: TinyModule, data: Path, tmp_path: Path
) -> None:
    before, after = tiny_module(tmp_path / "a"), tiny_module(tmp_path / "b", labels=("a", "c"))
    assert "different labels" in petapter("diff", before, after, "--data", data).error


def test_a_broken_module_is_one_line(petapter: Petapter, tiny_module: TinyModule, tmp_path: Path) -> None:
    before, after = tiny_module(tmp_path / "a"), tiny_module(tmp_path / "b")
    (after / "head.safetensors").write_bytes(b"")
    ran = petapter("diff", before, after)
    assert (ran.code, "head.safetensors was changed" in ran.error) == (ExitCode.UNFIT_MODULE, True)


def test_digest_names_each_side(tiny_module: TinyModule, tmp_path: Path) -> None:
    directory = tiny_module(tmp_path / "m")
    found = hub.diff(directory, str(directory))
    assert found.is_same
    assert found.digest_before == sha256_bytes((directory / "petapter.json").read_bytes())
