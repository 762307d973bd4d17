"""Where a backbone runs: what is asked for, if the machine has it."""

from pathlib import Path

import pytest
import torch

from petapter import Backbone
from petapter_schemas.errors import BackboneError


@pytest.mark.parametrize("name", ["gpu", "meta", "cuda:99", "cpu:x"])
def test_device_that_is_not_there_is_refused_in_one_line(directories: dict[str, Path], name: str) -> None:
    with pytest.raises(BackboneError, match=f"^there is no device '{name}' on this machine: take") as refused:
        Backbone.load(directories["bert"], device=name)
    assert "\n" not in str(refused.value)


def test_device_is_looked_at_before_any_file(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="no device"):
        Backbone.load(tmp_path, device="gpu")


def test_without_a_gpu_it_is_the_cpu(directories: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Backbone.load(directories["bert"]).device == torch.device("cpu")
