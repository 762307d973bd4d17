import json
from pathlib import Path

import pytest

from petapter_schemas import restamp
from petapter_schemas.errors import DigestMismatchError, InvalidReferenceError, ManifestError
from petapter_schemas.manifest import MANIFEST_FILE, read_manifest
from petapter_schemas.module_files import verify_directory
from petapter_schemas.plot_data import PLOT_DATA_FILE
from petapter_schemas.restamp import restamp_version
from tests.schemas.test_plot_data import DATA
from tests.schemas.tiny_module import TinyModule, build_tiny_module, put_file


def test_module_gets_another_version_and_stays_valid(tiny_module: TinyModule, tmp_path: Path) -> None:
    directory = tiny_module(tmp_path / "m")
    before = read_manifest(directory)
    manifest = restamp_version(directory, version="2.0.0-rc.1", reference="team/tiny@v2.0.0-rc.1")
    assert verify_directory(directory) == manifest
    assert "petapter pull team/tiny@v2.0.0-rc.1" in (directory / "README.md").read_text()
    changed = {name for name in type(manifest).model_fields if getattr(manifest, name) != getattr(before, name)}
    assert changed == {"version", "files"}
    assert [f for f in manifest.files if f.path != "README.md"] == [f for f in before.files if f.path != "README.md"]


def test_same_version_gives_the_same_bytes(tiny_module: TinyModule, tmp_path: Path) -> None:
    directory = tiny_module(tmp_path / "m", version="1.0.0")
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    restamp_version(directory, version="1.0.0")
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


@pytest.mark.parametrize("version", ["2", "v2.0.0", "", "2.0.0\n", "latest"])
def test_version_must_be_semver(version: str, tiny_module: TinyModule, tmp_path: Path) -> None:
    directory = tiny_module(tmp_path / "m")
    with pytest.raises(ManifestError, match="no version"):
        restamp_version(directory, version=version)
    assert verify_directory(directory).version == "1.0.0"


def test_bad_reference_changes_nothing(tiny_module: TinyModule, tmp_path: Path) -> None:
    directory = tiny_module(tmp_path / "m")
    with pytest.raises(InvalidReferenceError):
        restamp_version(directory, version="2.0.0", reference=":a/b")
    assert verify_directory(directory).version == "1.0.0"


def test_changed_weights_are_refused(tiny_module: TinyModule, tmp_path: Path) -> None:
    directory = tiny_module(tmp_path / "m")
    weights = bytearray((directory / "head.safetensors").read_bytes())
    weights[-1] ^= 1
    (directory / "head.safetensors").write_bytes(weights)
    with pytest.raises(DigestMismatchError):
        restamp_version(directory, version="2.0.0")


def test_interrupted_call_can_be_repeated(
    tiny_module: TinyModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tiny_module(tmp_path / "m")
    write = restamp.write_file_durably

    def crash_at_the_manifest(path: Path, data: bytes) -> None:
        if path.name == MANIFEST_FILE:
            raise KeyboardInterrupt
        write(path, data)

    monkeypatch.setattr(restamp, "write_file_durably", crash_at_the_manifest)
    with pytest.raises(KeyboardInterrupt):
        restamp_version(directory, version="2.0.0")
    monkeypatch.undo()
    with pytest.raises(DigestMismatchError, match=r"README\.md"):
        verify_directory(directory)  # half a change is seen, never used
    assert restamp_version(directory, version="2.0.0") == verify_directory(directory)


def test_manifest_that_lists_no_card_is_refused(tiny_module: TinyModule, tmp_path: Path) -> None:
    directory = tiny_module(tmp_path / "m")
    document = json.loads((directory / MANIFEST_FILE).read_text())
    document["files"] = [file for file in document["files"] if file["path"] != "README.md"]
    (directory / MANIFEST_FILE).write_text(json.dumps(document))
    with pytest.raises(ManifestError, match=r"must list README\.md"):
        restamp_version(directory, version="2.0.0")


def test_plots_are_drawn_and_listed_where_their_numbers_are(tmp_path: Path) -> None:
    directory = put_file(build_tiny_module(tmp_path / "m"), PLOT_DATA_FILE, json.dumps(DATA).encode())
    manifest = restamp_version(directory, version="1.1.0", reference="team/tiny@v1.1.0")
    drawn = [file.path for file in manifest.files if file.path.startswith("plot-")]
    assert drawn == ["plot-confusion.svg", "plot-f1.svg", "plot-loss.svg"]
    assert "](plot-loss.svg)" in (directory / "README.md").read_text()
    (directory / "plot-f1.svg").write_text("half")  # as an interrupted call leaves it
    assert restamp_version(directory, version="1.1.0", reference="team/tiny@v1.1.0") == verify_directory(directory)
