import json
from pathlib import Path

import pytest

from petapter import Backbone, Engine, ModuleInfo, TrainedModule, open_module, save_module
from petapter.merging import EnsembleParts, Member, Recipe, lineage_of, merge, save_ensemble
from petapter_schemas.ensemble import verify_ensemble
from petapter_schemas.errors import DigestMismatchError, InputError
from petapter_schemas.manifest import read_manifest
from tests.petapter.merging.conftest import ModuleOf

INFO = ModuleInfo("both", "1.2.0", license="MIT")


@pytest.fixture
def members(module_of: ModuleOf, tmp_path: Path) -> tuple[Path, Path]:
    for name, module in (("a", module_of("lora", 0)), ("b", module_of("ia3", 1))):
        save_module(module, tmp_path / name, ModuleInfo(name))
    return tmp_path / "a", tmp_path / "b"


def test_an_ensemble_is_saved_and_verified(members: tuple[Path, Path], tmp_path: Path, bert: Backbone) -> None:
    saved = save_ensemble(EnsembleParts(members, (3.0, 1.0), trained_from=("lab:team/a",)), tmp_path / "e", INFO)
    read, manifests = verify_ensemble(tmp_path / "e")
    assert read == saved
    assert [manifest.name for manifest in manifests] == ["a", "b"]
    assert [member.weight for member in read.members] == [0.75, 0.25]
    assert read.lineage.trained_from == ("lab:team/a",)
    with Engine(bert) as engine:
        engine.load_ensemble({m.name: tmp_path / "e" / m.path for m in read.members}, "both")
        assert engine.aliases == ("both",)


def test_a_directory_in_use_is_refused(members: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists already"):
        save_ensemble(EnsembleParts(members), members[0], INFO)
    assert read_manifest(members[0]).name == "a"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_nothing_is_left_of_a_save_that_failed(members: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be described"):
        save_ensemble(EnsembleParts(members), tmp_path / "e", ModuleInfo("--"))
    head = members[1] / "head.safetensors"
    head.write_bytes(head.read_bytes() + b" ")
    with pytest.raises(DigestMismatchError):
        save_ensemble(EnsembleParts(members), tmp_path / "e", INFO)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_saved_merge_opens_with_its_lineage(module_of: ModuleOf, bert: Backbone, tmp_path: Path) -> None:
    modules = [module_of("lora", 0), module_of("lora", 1)]
    recipe = Recipe("dare-ties", (3.0, 1.0), density=0.8, seed=5)
    members = [Member(module, f"m{index}", "0.1.0", f"{index}" * 64) for index, module in enumerate(modules)]
    merged = merge(modules, bert, recipe)
    manifest = save_module(merged, tmp_path / "m", INFO, lineage=lineage_of(members, recipe, ("lab:team/m0",)))
    assert manifest.lineage == read_manifest(tmp_path / "m").lineage
    assert manifest.lineage.merge is not None
    assert (manifest.lineage.merge.density, manifest.lineage.merge.seed) == (0.8, 5)
    opened: TrainedModule = open_module(tmp_path / "m", bert)
    assert opened.adapter == merged.adapter
    with Engine(bert) as engine:
        engine.load(tmp_path / "m", "m", check=True)


def test_a_manifest_without_a_merge_says_so(members: tuple[Path, Path]) -> None:
    assert json.loads((members[0] / "petapter.json").read_text())["lineage"]["merge"] is None
