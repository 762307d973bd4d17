"""A stack of two published modules and one directory on a tiny backbone, with real weights and a real registry."""

import inspect
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.hub_client.conftest import Petapter, Registry
from tests.hub_client.tiny_reviews import ROWS

TASK = {
    "labels": {"good": "good", "bad": ["bad", "awful"]},
    "patterns": ["{text} it was {mask} .", "{mask} it was . {text}", "it was {mask} {mask} . {text}"],
}

Publish = Callable[..., str]


@pytest.fixture(scope="session")
def reviews(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module directory with three patterns that say different things; not to be changed."""
    from petapter import Backbone, Example, ModuleInfo, StrongOptions, save_module, train
    from petapter_schemas.task import TaskSpec

    rows = [Example({"text": text}, label) for text, label in ROWS * 2]
    module = train(TaskSpec.model_validate(TASK), rows, Backbone.load(backbone), StrongOptions(delta="never"))
    directory = tmp_path_factory.mktemp("reviews") / "reviews"
    save_module(module, directory, ModuleInfo("reviews", languages=("en",)))
    return directory


@pytest.fixture
def publish(lab: Petapter, reviews: Path, tmp_path: Path) -> Publish:
    """Push the module under a name and a version, of which only the version differs."""

    def push(repo_id: str, version: str = "1.0.0") -> str:
        copy = tmp_path / "sources" / repo_id.replace("/", "-") / version
        shutil.copytree(reviews, copy)
        ran = lab("push", copy, repo_id, "--version", version)
        assert ran.code == 0, ran
        return repo_id

    return push


@pytest.fixture(scope="session")
def published_once(logged_in: Path, reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The module on the registry at one version, for tests that publish nothing further and delete nothing."""
    from petapter_hub_client import PushOptions, push

    folder = tmp_path_factory.mktemp("published")
    shutil.copytree(reviews, folder / "reviews")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PETAPTER_CONFIG_DIR", str(logged_in))
        push(folder / "reviews", "lab:team/reviews-of-all", options=PushOptions(version="1.0.0"))
    return "team/reviews-of-all"


@dataclass(frozen=True)
class StackFolder:
    """A directory with stack.yaml."""

    folder: Path
    published: str
    petapter: Petapter

    @property
    def yaml(self) -> Path:
        return self.folder / "stack.yaml"

    @property
    def lock_file(self) -> Path:
        return self.folder / "stack.lock"

    @property
    def locked(self) -> dict[str, Any]:
        """By alias."""
        return {module["alias"]: module for module in json.loads(self.lock_file.read_text())["modules"]}

    def edit(self, old: str, new: str) -> None:
        """Change a part of stack.yaml."""
        text = self.yaml.read_text()
        assert old in text
        self.yaml.write_text(text.replace(old, new))

    def restamp(self, alias: str, version: str) -> None:
        """Make a module of the folder another version."""
        path = self.folder / alias / "petapter.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"version": version}))

    def run(self, command: str, *arguments: object) -> Any:
        """Run `petapter stack COMMAND stack.yaml …`."""
        return self.petapter("stack", command, self.yaml, *arguments)


@pytest.fixture
def published(request: pytest.FixtureRequest, published_once: str) -> str:
    """A module at one version: its own for a test that publishes further ones or deletes it."""
    if {"publish", "delete"} & set(inspect.signature(request.function).parameters):
        return str(request.getfixturevalue("publish")(request.getfixturevalue("repo_id")))
    return published_once


@pytest.fixture
def stack(lab: Petapter, published: str, reviews: Path, backbone: Path, tmp_path: Path) -> StackFolder:
    """One module at a version, the newest of it in one pattern, and a directory."""
    folder = tmp_path / "served"
    folder.mkdir()
    shutil.copytree(reviews, folder / "own")
    shutil.copytree(backbone, folder / "backbone")
    (folder / "stack.yaml").write_text(
        f"""\
# who answers
backbone: ./backbone
modules:
  pinned: lab:{published}@v1.0.0
  newest:
    module: {published}
    patterns: [2, 0]
  own: ./own
"""
    )
    return StackFolder(folder, published, lab)


@pytest.fixture
def forget(tmp_path: Path) -> Callable[[], None]:
    """Empty the cache, as on another machine."""
    return lambda: shutil.rmtree(tmp_path / "cache", ignore_errors=True)


@pytest.fixture
def delete(registry: Registry) -> Callable[[str], None]:
    """Delete a module from the registry."""
    from huggingface_hub import HfApi

    return lambda repo_id: HfApi(endpoint=registry.url, token=registry.token).delete_repo(repo_id)
