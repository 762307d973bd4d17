"""`petapter stack sync`: this machine becomes what the lock says, and with --frozen every drift is refused."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from petapter_hub_client import open_stack
from petapter_schemas.errors import StackDriftError
from tests.hub_client.conftest import Petapter, Registry
from tests.hub_client.stacks.conftest import Publish, StackFolder

Forget = Callable[[], None]

USES = [("sync",), ("sync", "--frozen"), ("predict", "i love it")]
"""Whatever uses a lock that is that of its stack; none of them may answer from anything else."""


@pytest.fixture
def locked(stack: StackFolder) -> StackFolder:
    ran = stack.run("lock")
    assert ran.code == 0, ran
    return stack


def here(ran: Any) -> dict[str, bool]:
    return {module["alias"]: module["was_here"] for module in ran.json["modules"]}


def cached(ran: Any, alias: str) -> Path:
    return Path(next(module["directory"] for module in ran.json["modules"] if module["alias"] == alias))


def test_sync_fetches_what_is_not_here_and_says_so(locked: StackFolder, forget: Forget) -> None:
    forget()
    ran = locked.run("sync", "--frozen", "--json")
    assert here(ran) == {"pinned": False, "newest": True, "own": True}  # both are one commit, fetched once
    assert (cached(ran, "pinned") / "petapter.json").is_file()
    shown = locked.run("sync", "--frozen").out
    assert "already here" in shown
    assert "directory" in shown
    assert "as locked, every byte checked" in shown


def test_sync_takes_the_locked_commit_and_not_the_newest(locked: StackFolder, publish: Publish, forget: Forget) -> None:
    before = locked.lock_file.read_bytes()
    publish(locked.published, "1.1.0")
    forget()
    ran = locked.run("sync", "--json")
    manifest = json.loads((cached(ran, "newest") / "petapter.json").read_text())
    assert (manifest["version"], ran.json["relocked"]) == ("1.0.0", None)
    assert locked.lock_file.read_bytes() == before


def test_sync_without_a_lock_makes_one_and_says_so(stack: StackFolder) -> None:
    ran = stack.run("sync")
    assert ran.code == 0
    assert ran.err == f"there is no {stack.lock_file}: wrote {stack.lock_file}\n"
    assert [line.split()[-1] for line in ran.out.splitlines()[2:4]] == ["fetched", "here"]
    assert stack.run("lock", "--check").code == 0


def test_sync_of_a_changed_stack_locks_what_is_new_and_keeps_the_rest(locked: StackFolder, publish: Publish) -> None:
    before = locked.locked
    publish(locked.published, "1.1.0")
    locked.edit("@v1.0.0", "@v1.1.0")
    ran = locked.run("sync", "--json")
    assert ran.json["relocked"] == f"{locked.yaml} was changed since {locked.lock_file} was written"
    assert locked.locked["newest"] == before["newest"]
    assert locked.locked["pinned"]["reference"].endswith("@v1.1.0")


def test_sync_of_a_changed_directory_locks_it(locked: StackFolder) -> None:
    locked.restamp("own", "3.0.0")
    assert "own: ./own was changed" in locked.run("sync").err
    assert locked.run("lock", "--check").code == 0


def test_locked_stack_needs_no_remote_once_it_is_here(locked: StackFolder, offline: Callable[[], None]) -> None:
    offline()
    assert locked.run("sync", "--frozen").code == 0


def test_frozen_refuses_a_missing_lock(stack: StackFolder) -> None:
    error = stack.run("sync", "--frozen").error
    assert error == f"error: there is no {stack.lock_file}: run 'petapter stack lock {stack.yaml}'"
    assert not stack.lock_file.exists()


def test_frozen_refuses_an_edited_stack(locked: StackFolder) -> None:
    before = locked.lock_file.read_bytes()
    locked.edit("patterns: [2, 0]", "patterns: [1]")
    assert f"{locked.yaml} was changed since" in locked.run("sync", "--frozen").error
    assert locked.lock_file.read_bytes() == before


def test_frozen_refuses_a_changed_directory(locked: StackFolder) -> None:
    locked.restamp("own", "3.0.0")
    assert "own: ./own was changed" in locked.run("sync", "--frozen").error


def test_changed_file_of_a_directory_is_refused(locked: StackFolder) -> None:
    card = locked.folder / "own" / "README.md"
    card.write_text(card.read_text() + "more\n")
    for command in USES:
        error = locked.run(*command).error
        assert error.startswith("error: own: ")
        assert "README.md was changed" in error


def test_commit_that_is_gone_is_refused(locked: StackFolder, delete: Callable[[str], None], forget: Forget) -> None:
    delete(locked.published)
    forget()
    for command in USES:
        error = locked.run(*command).error
        assert f"pinned: lab:{locked.published}@v1.0.0 is locked at commit" in error
        assert "is gone from http://127.0.0.1" in error


def test_deleted_module_still_works_where_it_was_fetched(locked: StackFolder, delete: Callable[[str], None]) -> None:
    delete(locked.published)
    assert locked.run("sync", "--frozen").code == 0


def test_channel_that_is_moved_changes_nothing_until_it_is_asked_anew(
    locked: StackFolder, publish: Publish, lab: Petapter, forget: Forget
) -> None:
    assert lab("channel", "set", f"{locked.published}@v1.0.0", "stable").code == 0
    locked.edit(f"{locked.published}@v1.0.0", f"{locked.published}@stable")
    assert locked.run("lock").code == 0
    publish(locked.published, "1.1.0")
    assert lab("channel", "set", f"{locked.published}@v1.1.0", "stable").code == 0
    forget()
    ran = locked.run("sync", "--frozen", "--json")
    assert json.loads((cached(ran, "pinned") / "petapter.json").read_text())["version"] == "1.0.0"
    assert locked.run("lock", "--json").json["changes"]["pinned"] == "kept"
    assert locked.run("lock", "--upgrade", "--json").json["changes"]["pinned"] == "changed"


def test_other_module_in_the_place_of_the_locked_one_is_refused(
    locked: StackFolder, publish: Publish, lab: Petapter
) -> None:
    # whole and well-formed, so that only the locked digest can tell
    publish(locked.published, "1.1.0")
    other = Path(lab("pull", f"{locked.published}@v1.1.0", "--json").json["directory"])
    target = cached(locked.run("sync", "--json"), "pinned")
    shutil.rmtree(target)
    shutil.copytree(other, target)
    for command in USES:
        assert f"{target} holds another module" in locked.run(*command).error


def test_broken_bytes_in_the_cache_are_fetched_again(locked: StackFolder) -> None:
    ran = locked.run("sync", "--json")
    head = cached(ran, "pinned") / "head.safetensors"
    good = head.read_bytes()
    head.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert not here(locked.run("sync", "--frozen", "--json"))["pinned"]
    assert head.read_bytes() == good


def test_broken_bytes_in_the_cache_are_refused_where_none_can_be_fetched(
    locked: StackFolder, offline: Callable[[], None]
) -> None:
    head = cached(locked.run("sync", "--json"), "pinned") / "head.safetensors"
    head.write_bytes(head.read_bytes()[:-1])
    offline()
    assert "HF_HUB_OFFLINE" in locked.run("predict", "i love it").error


def change_json(path: Path, key: str, value: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))


def change_last_byte(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


CHANGES: dict[str, Callable[[Path], None]] = {
    "tokenizer": lambda backbone: change_json(backbone / "tokenizer.json", "normalizer", {"type": "Lowercase"}),
    "configuration": lambda backbone: change_json(backbone / "config.json", "hidden_act", "relu"),
    "weights": lambda backbone: change_last_byte(backbone / "model.safetensors"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_changed_backbone_is_refused(locked: StackFolder, what: str) -> None:
    CHANGES[what](locked.folder / "backbone")
    for command in USES:
        assert f"the backbone in {locked.folder / 'backbone'} has another {what} (" in locked.run(*command).error


def test_backbone_that_is_gone_is_refused(locked: StackFolder) -> None:
    shutil.rmtree(locked.folder / "backbone")
    assert "./backbone is no directory" in locked.run("sync", "--frozen").error


def test_what_does_not_change_a_tokenizer_is_no_drift(locked: StackFolder) -> None:
    # schemas/README.md, Digests: truncation and padding are petapter's own business
    change_json(locked.folder / "backbone" / "tokenizer.json", "truncation", None)
    assert locked.run("sync", "--frozen").code == 0


def test_lock_that_pairs_a_module_with_another_backbone_is_refused(locked: StackFolder) -> None:
    lock = json.loads(locked.lock_file.read_text())
    lock["backbone"]["weights_sha256"] = "0" * 64
    locked.lock_file.write_text(json.dumps(lock))
    assert "another weights" in locked.run("sync", "--frozen").error


def test_remote_that_this_machine_does_not_know_comes_with_its_address(
    locked: StackFolder, lab: Petapter, registry: Registry, forget: Forget
) -> None:
    forget()
    lab("remote", "remove", "lab")
    error = locked.run("sync", "--frozen").error
    assert "petapter remote add lab" in error
    assert registry.url in error


def test_remote_of_the_lock_is_asked_whatever_the_default_is_now(
    locked: StackFolder, lab: Petapter, forget: Forget
) -> None:
    forget()
    lab("remote", "default", "hf")
    assert locked.run("sync", "--frozen").code == 0


def test_open_stack_gives_what_serving_needs(locked: StackFolder) -> None:
    opened = open_stack(locked.yaml)
    assert [(module.alias, module.patterns) for module in opened.modules] == [
        ("pinned", None),
        ("newest", (0, 2)),
        ("own", None),
    ]
    for module in opened.modules:
        entry = locked.locked[module.alias]
        assert (module.digest, module.commit, module.reference) == (
            entry["digest"],
            entry["commit"],
            entry["reference"],
        )
        assert module.manifest.name == "reviews"
        assert (module.directory / "petapter.json").is_file()
    assert opened.backbone.directory == locked.folder / "backbone"


def test_open_stack_locks_nothing(stack: StackFolder) -> None:
    with pytest.raises(StackDriftError):
        open_stack(stack.yaml)
    assert not stack.lock_file.exists()


def test_open_stack_tells_of_every_file_it_fetches(locked: StackFolder, forget: Forget) -> None:
    forget()
    heard: list[str] = []
    open_stack(locked.yaml, on_progress=lambda path, _size, _total: heard.append(path))
    assert sorted(set(heard)) == ["README.md", "golden.json", "head.safetensors", "profile.json"]


def test_lock_and_sync_load_no_torch(locked: StackFolder) -> None:
    script = (
        "import sys\nfrom petapter_hub_client.cli import main\n"
        f"for command in ('lock', 'sync'):\n    try:\n        main(['stack', command, {str(locked.yaml)!r}])\n"
        "    except SystemExit as ended:\n        assert not ended.code\n"
        "assert not {'torch', 'transformers', 'peft'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
