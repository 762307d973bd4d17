"""What commands do before they run a backbone here."""

from pathlib import Path

import pytest

from petapter import adaptation, process
from petapter.adaptation import AdaptationOptions
from petapter.backbone import Backbone
from petapter_hub_client import backbones
from petapter_hub_client.commands.adapt import _adapt
from petapter_hub_client.local_backbones import ResolvedBackbone
from petapter_hub_client.local_runs import load_backbone


def test_the_process_is_settled_before_a_backbone_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(process, "settle", lambda: done.append("settled"))
    monkeypatch.setattr(Backbone, "load", lambda *_, **__: done.append("backbone"))
    load_backbone(ResolvedBackbone(tmp_path, "minilm", None))
    assert done == ["settled", "backbone"]


def test_the_process_is_settled_before_a_backbone_is_adapted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(process, "settle", lambda: done.append("settled"))
    monkeypatch.setattr(backbones, "resolve_backbone", lambda _: ResolvedBackbone(tmp_path, "minilm", None))
    monkeypatch.setattr(adaptation, "adapt", lambda *_, **__: done.append("adapted"))
    texts = ((tmp_path / "texts.txt",), "text")
    _adapt("minilm", texts, tmp_path / "out", AdaptationOptions(), lambda *_: None)
    assert done == ["settled", "adapted"]
