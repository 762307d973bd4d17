import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from petapter_schemas.ensemble import (
    EnsembleBackbone,
    EnsembleMember,
    EnsembleSpec,
    ensemble_bytes,
    is_ensemble,
    parse_ensemble,
    read_ensemble,
    verify_ensemble,
)
from petapter_schemas.errors import DigestMismatchError, ManifestError
from petapter_schemas.manifest import manifest_digest, read_manifest
from tests.schemas.tiny_module import build_tiny_module

Document = dict[str, Any]


def write_ensemble(directory: Path, *, labels: tuple[str, ...] = ("a", "b")) -> Path:
    """Two tiny modules that answer together."""
    members = []
    for number, name in enumerate(("one", "two")):
        inside = build_tiny_module(directory / "members" / str(number), name=name, labels=labels)
        digest = manifest_digest((inside / "petapter.json").read_bytes())
        members.append(
            EnsembleMember(
                path=f"members/{number}", name=name, version="1.0.0", manifest_sha256=digest, weight=(0.7, 0.3)[number]
            )
        )
    ensemble = EnsembleSpec(
        name="both",
        version="1.0.0",
        type="single-label",
        labels=("a", "b"),
        backbone=EnsembleBackbone.of(read_manifest(directory / "members" / "0").backbone),
        members=tuple(members),
    )
    (directory / "ensemble.json").write_bytes(ensemble_bytes(ensemble))
    return directory


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write_ensemble(tmp_path / "both")


@pytest.fixture
def document(directory: Path) -> Document:
    value: Document = json.loads((directory / "ensemble.json").read_text())
    return value


def parse(document: Document) -> EnsembleSpec:
    return parse_ensemble(json.dumps(document).encode())


def test_an_ensemble_is_read_as_it_was_written(directory: Path) -> None:
    assert is_ensemble(directory)
    ensemble, manifests = verify_ensemble(directory)
    assert ensemble == read_ensemble(directory)
    assert [manifest.name for manifest in manifests] == ["one", "two"]
    assert ensemble_bytes(ensemble) == (directory / "ensemble.json").read_bytes()


def _set(*path: str | int, to: object) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        inside: Any = document
        for key in path[:-1]:
            inside = inside[key]
        inside[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_set("schema_version", to=2), "upgrade petapter"),
        (_set("schema_version", to=None), "no schema_version"),
        (_set("colour", to="red"), "colour"),
        (_set("members", 0, "weight", to=0.5), "add up to 0.8"),
        (_set("members", 0, "weight", to=-0.7), "weight"),
        (_set("members", 0, "path", to="../elsewhere"), "path"),
        (_set("members", 0, "path", to="members/1"), "the same path"),
        (_set("members", to=[]), "members"),
        (_set("name", to="../x"), "name"),
        (_set("version", to="1"), "version"),
        (_set("labels", to=["a"]), "labels"),
        (_set("thresholds", to=[0.5, 0.5]), "multi-label"),
        (_set("backbone", "weights_sha256", to="0"), "weights_sha256"),
    ],
)
def test_a_broken_file_is_refused(change: Callable[[Document], None], reason: str, document: Document) -> None:
    change(document)
    with pytest.raises(ManifestError, match=reason):
        parse(document)


def test_thresholds_of_a_multi_label_task_are_read(document: Document) -> None:
    document |= {"type": "multi-label", "thresholds": [0.4, 0.5]}
    assert parse(document).thresholds == (0.4, 0.5)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"schema_version": 1, "schema_version": 1}'])
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestError):
        parse_ensemble(data)


def test_a_directory_without_the_file_is_refused(tmp_path: Path) -> None:
    assert not is_ensemble(tmp_path)
    with pytest.raises(ManifestError, match=r"no readable ensemble\.json"):
        read_ensemble(tmp_path)


@pytest.mark.parametrize("victim", ["petapter.json", "golden.json", "head.safetensors", "README.md"])
def test_a_changed_byte_of_a_member_is_found(victim: str, directory: Path) -> None:
    path = directory / "members" / "1" / victim
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(DigestMismatchError, match="was changed"):
        verify_ensemble(directory)


def test_a_missing_member_is_found(directory: Path) -> None:
    shutil.rmtree(directory / "members" / "1")
    with pytest.raises(ManifestError, match="holds no module"):
        verify_ensemble(directory)


@pytest.mark.parametrize("what", ["members", "members/1", "members/1/petapter.json", "ensemble.json"])
def test_links_are_not_followed(what: str, directory: Path, tmp_path: Path) -> None:
    moved = (directory / what).rename(tmp_path / "moved")
    (directory / what).symlink_to(moved)
    with pytest.raises(ManifestError):
        verify_ensemble(directory)


def test_members_with_other_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="labels or backbone differ"):
        verify_ensemble(write_ensemble(tmp_path / "both", labels=("b", "a")))


@pytest.mark.parametrize(("field", "value"), [("name", "other"), ("version", "2.0.0")])
def test_a_member_that_is_another_module_is_refused(
    field: str, value: str, directory: Path, document: Document
) -> None:
    document["members"][0][field] = value
    (directory / "ensemble.json").write_text(json.dumps(document))
    with pytest.raises(ManifestError, match="is not what"):
        verify_ensemble(directory)
