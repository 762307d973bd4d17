import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from petapter import Backbone

StillOf = Callable[[str], Backbone]


@pytest.fixture(scope="session")
def still_directory_of(directories: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The directory of a tiny backbone without dropout, so that two ways to compute the same agree."""

    def copy(family: str) -> Path:
        folder = tmp_path_factory.mktemp("still") / family
        shutil.copytree(directories[family], folder)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return folder

    return copy


@pytest.fixture(scope="session")
def still_of(still_directory_of: Callable[[str], Path]) -> StillOf:
    return lambda family: Backbone.load(still_directory_of(family), device="cpu")
