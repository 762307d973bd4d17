"""`petapter stack lock`: what is written, what is kept, what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from petapter_hub_client.stacks.reading import read_stack
from petapter_schemas.digests import sha256_file
from petapter_schemas.fingerprints import config_sha256, tokenizer_sha256, weights_sha256
from tests.hub_client.conftest import Petapter, Registry
from tests.hub_client.stacks.conftest import Publish, StackFolder


def test_lock_says_what_was_pulled(stack: StackFolder, lab: Petapter, registry: Registry) -> None:
    assert stack.run("lock").code == 0
    pulled: Any = lab("pull", stack.published, "--json").json
    assert stack.locked["newest"] == {
        "alias": "newest",
        "asked": stack.published,
        "reference": f"lab:{stack.published}@v1.0.0",
        "url": registry.url,
        "commit": pulled["commit"],
        "digest": pulled["digest"],
        "patterns": [0, 2],
    }
    assert stack.locked["own"] == {
        "alias": "own",
        "asked": "./own",
        "reference": None,
        "url": None,
        "commit": None,
        "digest": sha256_file(stack.folder / "own" / "petapter.json"),
        "patterns": None,
    }
    assert list(stack.locked) == ["pinned", "newest", "own"]


def test_stack_of_one_module_is_told_in_words_for_one(stack: StackFolder) -> None:
    assert "which all 3 modules fit" in stack.run("lock").out
    stack.yaml.write_text("backbone: ./backbone\nmodules:\n  own: ./own\n")
    ran = stack.run("lock")
    assert (ran.code, "which the module fits" in ran.out) == (0, True), ran


def test_lock_names_the_backbone_by_its_fingerprints(stack: StackFolder) -> None:
    stack.run("lock")
    backbone = stack.folder / "backbone"
    assert json.loads(stack.lock_file.read_text())["backbone"] == {
        "repo": "backbone",
        "revision": None,
        "architecture": "BertForMaskedLM",
        "config_sha256": config_sha256(backbone / "config.json"),
        "weights_sha256": weights_sha256(backbone),
        "tokenizer_sha256": tokenizer_sha256(backbone / "tokenizer.json"),
    }


def test_lock_is_the_same_bytes_each_time_and_anywhere(stack: StackFolder, forget: Callable[[], None]) -> None:
    stack.run("lock")
    first = stack.lock_file.read_bytes()
    stack.lock_file.unlink()
    forget()
    assert stack.run("lock", "--json").json["was_written"]
    assert stack.lock_file.read_bytes() == first


def test_lock_that_is_current_is_not_written_again(stack: StackFolder) -> None:
    stack.run("lock")
    before = stack.lock_file.stat().st_ino
    assert "is up to date" in stack.run("lock").out
    assert stack.lock_file.stat().st_ino == before


def test_lock_keeps_the_commit_when_a_newer_version_comes(stack: StackFolder, publish: Publish) -> None:
    stack.run("lock")
    before = stack.locked
    publish(stack.published, "1.1.0")
    stack.edit("pinned:", "fixed:")
    changes = stack.run("lock", "--json").json["changes"]
    assert changes == {"fixed": "new", "newest": "kept", "own": "kept"}
    assert stack.locked["newest"] == before["newest"]


def test_upgrade_takes_what_is_newest_now(stack: StackFolder, publish: Publish) -> None:
    stack.run("lock")
    publish(stack.published, "1.1.0")
    assert stack.run("lock", "--upgrade", "--json").json["changes"] == {
        "pinned": "kept",
        "newest": "changed",
        "own": "kept",
    }
    assert stack.locked["newest"]["reference"].endswith("@v1.1.0")
    assert stack.locked["pinned"]["reference"].endswith("@v1.0.0")


def test_upgrade_of_one_module_leaves_the_others(stack: StackFolder, publish: Publish) -> None:
    stack.edit("own: ./own", f"also: {stack.published}")
    stack.run("lock")
    publish(stack.published, "1.1.0")
    stack.run("lock", "--upgrade-module", "also")
    assert stack.locked["also"]["reference"].endswith("@v1.1.0")
    assert stack.locked["newest"]["reference"].endswith("@v1.0.0")


def test_new_alias_of_a_locked_reference_takes_its_commit(stack: StackFolder, publish: Publish) -> None:
    stack.run("lock")
    publish(stack.published, "1.1.0")
    stack.edit("own: ./own", f"also: {stack.published}")
    stack.run("lock")
    assert stack.locked["also"]["commit"] == stack.locked["newest"]["commit"]


def test_changed_reference_is_resolved_anew(stack: StackFolder, publish: Publish) -> None:
    stack.run("lock")
    publish(stack.published, "1.1.0")
    stack.edit("@v1.0.0", "@v1.1.0")
    stack.run("lock")
    assert stack.locked["pinned"]["reference"].endswith("@v1.1.0")
    assert stack.locked["newest"]["reference"].endswith("@v1.0.0")


def test_changed_directory_is_locked_as_it_is_now(stack: StackFolder) -> None:
    stack.run("lock")
    before = stack.locked["own"]["digest"]
    stack.restamp("own", "3.0.0")
    assert stack.run("lock", "--json").json["changes"]["own"] == "changed"
    assert stack.locked["own"]["digest"] != before


def test_module_that_left_the_stack_leaves_the_lock(stack: StackFolder) -> None:
    stack.run("lock")
    stack.edit("  own: ./own\n", "")
    assert "own is no longer in the stack" in stack.run("lock").out
    assert list(stack.locked) == ["pinned", "newest"]


def test_check_accepts_a_current_lock_and_comments(stack: StackFolder) -> None:
    stack.run("lock")
    stack.edit("# who answers", "# who answers what\n")
    stack.edit("[2, 0]", "[ 0,   2 ]")
    ran = stack.run("lock", "--check")
    assert (ran.code, ran.out) == (0, f"{stack.lock_file} is up to date\n")
    assert stack.run("lock", "--check", "--json").json["is_current"]


def test_check_writes_nothing_and_says_what_to_do(stack: StackFolder) -> None:
    missing = f"error: there is no {stack.lock_file}: run 'petapter stack lock {stack.yaml}'"
    assert stack.run("lock", "--check").error == missing
    assert not stack.lock_file.exists()


def test_check_sees_every_change_of_meaning(stack: StackFolder) -> None:
    stack.run("lock")
    before = stack.lock_file.read_bytes()
    for old, new in [
        ("[2, 0]", "[2]"),
        ("@v1.0.0", ""),
        ("own:", "mine:"),
        ("backbone: ./backbone", "backbone: ../served/backbone"),
        ("  own: ./own\n", ""),
    ]:
        text = stack.yaml.read_text()
        stack.edit(old, new)
        assert "was changed since" in stack.run("lock", "--check").error, (old, new)
        stack.yaml.write_text(text)
    assert stack.lock_file.read_bytes() == before


def test_check_sees_the_order_of_modules(stack: StackFolder) -> None:
    # answers come in this order
    stack.run("lock")
    pinned = f"  pinned: lab:{stack.published}@v1.0.0\n"
    stack.edit(pinned, "")
    stack.yaml.write_text(stack.yaml.read_text() + pinned)
    assert "was changed since" in stack.run("lock", "--check").error


def test_check_sees_a_lock_that_was_edited(stack: StackFolder) -> None:
    stack.run("lock")
    stack.lock_file.write_text(stack.lock_file.read_text().replace('"alias": "own"', '"alias": "mine"'))
    assert "was changed since" in stack.run("lock", "--check").error


def test_check_sees_a_changed_directory(stack: StackFolder) -> None:
    stack.run("lock")
    (stack.folder / "own" / "petapter.json").unlink()
    assert "own: ./own was changed" in stack.run("lock", "--check").error


def test_check_asks_no_remote(stack: StackFolder, lab: Petapter) -> None:
    stack.run("lock")
    lab("remote", "remove", "lab")
    lab("remote", "add", "lab", "http://127.0.0.1:9")
    assert stack.run("lock", "--check").code == 0


def test_check_does_not_go_with_upgrade(stack: StackFolder) -> None:
    assert "--upgrade" in stack.run("lock", "--check", "--upgrade").error


def test_alias_that_is_not_there_cannot_be_upgraded(stack: StackFolder) -> None:
    assert "pinned, newest, own" in stack.run("lock", "--upgrade-module", "mine").error


def test_pattern_that_the_module_has_not_is_refused_with_those_it_has(stack: StackFolder) -> None:
    stack.edit("[2, 0]", "[0, 3]")
    assert "modules.newest.patterns names 3, but the module has 0 '{text} it was" in stack.run("lock").error
    assert not stack.lock_file.exists()


def test_error_rate_that_some_patterns_do_not_promise_is_warned_of(stack: StackFolder, backbone: Path) -> None:
    from dataclasses import replace

    from petapter import Backbone, ModuleInfo, open_module, save_module
    from petapter_schemas.manifest import CalibrationSpec

    module = open_module(stack.folder / "own", Backbone.load(backbone))
    calibration = CalibrationSpec(abstain_below=0.6, abstain_error_rate=0.05)
    save_module(replace(module, calibration=calibration), stack.folder / "sure", ModuleInfo("sure"))
    stack.edit("own: ./own", "sure: {module: ./sure, patterns: [1]}")
    ran = stack.run("lock")
    assert ran.code == 0
    assert "warning: sure abstains by a threshold" in ran.err
    assert "error rate of 0.05 is not promised" in ran.err


def test_module_of_another_backbone_is_refused(stack: StackFolder, tiny_module: Any) -> None:
    tiny_module(stack.folder / "tiny")
    stack.edit("./own", "./tiny")
    error = stack.run("lock").error
    assert "own was trained on" in error
    assert "another weights" in error
    stack.edit("backbone: ./backbone\n", "")
    assert "pinned (tiny-bert) and own (" in stack.run("lock").error
    assert not stack.lock_file.exists()


def test_another_backbone_than_the_modules_is_refused(stack: StackFolder) -> None:
    config = stack.folder / "backbone" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "hidden_act": "relu"}))
    assert "another configuration" in stack.run("lock").error


def test_backbone_that_is_not_there_is_named(stack: StackFolder) -> None:
    shutil.rmtree(stack.folder / "backbone")
    assert "./backbone is no directory" in stack.run("lock").error


def test_backbone_that_only_the_manifests_name_may_be_said(stack: StackFolder) -> None:
    stack.edit("backbone: ./backbone\n", "")
    assert "may say where it is: 'backbone: ./DIRECTORY'" in stack.run("lock").error


def test_module_that_cannot_be_had_leaves_the_old_lock(stack: StackFolder) -> None:
    stack.run("lock")
    before = stack.lock_file.read_bytes()
    stack.edit("./own", "lab:team/nothing-here")
    assert "team/nothing-here" in stack.run("lock").error
    assert stack.lock_file.read_bytes() == before


def test_kept_commit_that_is_gone_is_an_error_with_the_way_out(
    stack: StackFolder, delete: Callable[[str], None], forget: Callable[[], None]
) -> None:
    stack.run("lock")
    delete(stack.published)
    forget()
    assert f"petapter stack lock {stack.yaml} --upgrade-module pinned" in stack.run("lock").error


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "names no modules"),
        ("modules:\n", "names no modules"),
        ("modules: {}\n", "names no modules"),
        ("- lab:team/x\n", "must hold names and values"),
        ("modules: [lab:team/x]\n", "modules must hold names and values"),
        ("models: {a: lab:team/x}\n", "'models' is no setting here: use backbone or modules"),
        ("modules: {a: {module: lab:team/x, pattern: [0]}}\n", "modules.a: 'pattern' is no setting here"),
        ("modules: {a: {patterns: [0]}}\n", "modules.a names no module"),
        ("modules: {a: }\n", "modules.a names no module"),
        ("modules: {a: [lab:team/x]}\n", "modules.a must hold"),
        ("modules: {a: {module: [x]}}\n", "modules.a: module"),
        ("modules: {a: x}\n", "a directory is written ./x"),
        ("modules: {a: team/x@}\n", "cannot be a revision"),
        ("modules: {a b: team/x}\n", "'a b' is not allowed"),
        ("modules: {../a: team/x}\n", "'../a' is not allowed"),
        ("modules: {a: team/x, a: team/y}\n", "'a' occurs twice"),
        ("modules: {a: {module: team/x, patterns: 0}}\n", "modules.a.patterns is no list"),
        ("modules: {a: {module: team/x, patterns: []}}\n", "modules.a.patterns is no list"),
        ("modules: {a: {module: team/x, patterns: [first]}}\n", "'first' is no number"),
        ("modules: {a: {module: team/x, patterns: [-1]}}\n", "'-1' is no number"),
        ("modules: {a: {module: team/x, patterns: [1.5]}}\n", "'1.5' is no number"),
        ("modules: {a: {module: team/x, patterns: [1, 01]}}\n", "names a pattern twice"),
        ("modules: {a: {module: team/x, patterns: [64]}}\n", "modules.a: patterns"),
        ("backbone: [x]\nmodules: {a: team/x}\n", "backbone must be"),
        ("backbone:\nmodules: {a: team/x}\n", "backbone must be"),
        ("modules: {a: !!python/object/apply:os.getcwd []}\n", "no readable YAML"),
        ("modules: {a: team/x\n", "no readable YAML"),
        ("[" * 5000, "no readable YAML"),
        ("modules: &m {a: *m}\n", "modules.a"),
        ("#" + "x" * (1 << 20), "more than"),
    ],
    ids=lambda text: ascii(text[:40]),
)
def test_bad_stack_is_one_line_with_place_and_remedy(petapter: Petapter, tmp_path: Path, text: str, cause: str) -> None:
    (tmp_path / "stack.yaml").write_text(text)
    error = petapter("stack", "lock", tmp_path / "stack.yaml").error
    assert cause in error
    assert f"error: {tmp_path / 'stack.yaml'}" in error
    assert not (tmp_path / "stack.lock").exists()


def test_words_that_yaml_takes_for_other_things_are_aliases(tmp_path: Path) -> None:
    path = tmp_path / "stack.yaml"
    path.write_text("modules: {no: team/x, 1.0: team/x, null: {module: team/x, patterns: [ 1 ]}}\n")
    entries = read_stack(path).spec.modules
    assert [(entry.alias, entry.patterns) for entry in entries] == [("no", None), ("1.0", None), ("null", (1,))]


@pytest.mark.parametrize("name", ["stack.json", "stack.lock", "stack"])
def test_file_of_another_kind_is_no_stack(petapter: Petapter, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("modules: {a: team/x}\n")
    assert "ends in .yaml" in petapter("stack", "lock", tmp_path / name).error
    assert (tmp_path / name).read_text() == "modules: {a: team/x}\n"


def test_stack_that_is_not_there_is_explained(
    petapter: Petapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "there is no stack.yaml: write 'modules:'" in petapter("stack", "lock").error
    (tmp_path / "stack.yaml").mkdir()
    assert "stack.yaml cannot be read" in petapter("stack", "lock").error


@pytest.mark.parametrize("text", ["", "{}", '{"lock_version": 2}', '{"lock_version": 1}', '{"a": 1, "a": 2}', "no"])
def test_broken_lock_is_refused_with_a_remedy(petapter: Petapter, tmp_path: Path, text: str) -> None:
    (tmp_path / "stack.yaml").write_text("modules: {a: team/x}\n")
    (tmp_path / "stack.lock").write_text(text)
    for command in (("lock",), ("lock", "--check"), ("sync",), ("sync", "--frozen"), ("lock", "--upgrade")):
        error = petapter("stack", command[0], tmp_path / "stack.yaml", *command[1:]).error
        assert "upgrade petapter" in error or "delete it and run 'petapter stack lock'" in error
    assert (tmp_path / "stack.lock").read_text() == text
