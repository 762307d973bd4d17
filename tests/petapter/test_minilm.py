from pathlib import Path

import pytest

from petapter.minilm import build_minilm
from petapter_schemas.errors import BackboneError


def test_encoder_that_is_not_the_published_one_is_refused_in_one_line(
    directories: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(BackboneError, match="is not the published all-MiniLM") as refusal:
        build_minilm(directories["encoder"], tmp_path / "minilm")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("missing", ["model.safetensors", "tokenizer.json"])
def test_incomplete_encoder_is_refused(tmp_path: Path, missing: str) -> None:
    for name in {"model.safetensors", "tokenizer.json"} - {missing}:
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(BackboneError, match=r"has no model\.safetensors and tokenizer\.json"):
        build_minilm(tmp_path, tmp_path / "minilm")


def test_refused_encoder_leaves_nothing_behind(directories: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(BackboneError):
        build_minilm(directories["encoder"], tmp_path / "minilm")
    assert list(tmp_path.iterdir()) == []
