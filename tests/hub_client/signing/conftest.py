"""A version of a module on a real registry, and keys to sign it with."""

import os
from pathlib import Path

import pytest

from tests.hub_client.conftest import Petapter
from tests.schemas.tiny_module import TinyModule


@pytest.fixture
def directory(tiny_module: TinyModule, tmp_path: Path) -> Path:
    return tiny_module(tmp_path / "m", version="1.0.0")


@pytest.fixture
def pushed(lab: Petapter, directory: Path, repo_id: str) -> str:
    """`lab:namespace/name` of a published version 1.0.0 without a signature."""
    assert lab("push", directory, repo_id).code == 0
    return f"lab:{repo_id}"


@pytest.fixture
def ada(petapter: Petapter) -> str:
    """The name of an own key."""
    assert petapter("keys", "new", "ada").code == 0
    return "ada"


@pytest.fixture
def grace(petapter: Petapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The public half of a key that somebody else has; their private one lies in another configuration, `grace`."""
    here = os.environ["PETAPTER_CONFIG_DIR"]
    monkeypatch.setenv("PETAPTER_CONFIG_DIR", str(tmp_path / "grace"))
    assert petapter("keys", "new", "grace").code == 0
    monkeypatch.setenv("PETAPTER_CONFIG_DIR", here)
    return tmp_path / "grace" / "keys" / "grace.pub"


@pytest.fixture
def as_grace(grace: Path, tmp_path: Path, lab: Petapter, monkeypatch: pytest.MonkeyPatch) -> Petapter:
    """The command line on the machine of grace, who may write to the registry too."""

    def run(*arguments: object, stdin: str = "") -> object:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PETAPTER_CONFIG_DIR", str(tmp_path / "grace"))
            for name in ("remotes.json", "tokens.json"):
                (tmp_path / "grace" / name).write_bytes((tmp_path / "config" / name).read_bytes())
            return lab(*arguments, stdin=stdin)

    return run  # type: ignore[return-value]
