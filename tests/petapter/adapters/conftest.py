from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import PreTrainedModel

from petapter import Backbone
from tests.petapter.tiny_backbones import build_backbone

ModelOf = Callable[[str], PreTrainedModel]


@pytest.fixture(scope="session")
def model_directory(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Builds a tiny model of an architecture once."""
    folder = tmp_path_factory.mktemp("architectures")

    def build(architecture: str) -> Path:
        directory = folder / architecture
        return directory if directory.exists() else build_backbone(architecture, directory)

    return build


@pytest.fixture(scope="session")
def model_of(model_directory: Callable[[str], Path]) -> ModelOf:
    """Loads a tiny model of an architecture once; tests leave it bare."""
    loaded: dict[str, PreTrainedModel] = {}

    def load(architecture: str) -> PreTrainedModel:
        if architecture not in loaded:
            loaded[architecture] = Backbone.load(model_directory(architecture), device="cpu").model
        return loaded[architecture]

    return load
