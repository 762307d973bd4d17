"""Turns the value of `--backbone` into a local directory: a directory, the built-in `minilm`, or a Hub id."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from petapter_hub_client.locks import CACHE_TIMEOUT_S, locked
from petapter_hub_client.minilm_sources import fetch_encoder
from petapter_hub_client.places import cache_directory
from petapter_hub_client.remotes import HUB_URL, Remote
from petapter_hub_client.tokens import find_token
from petapter_schemas.digests import Sha256
from petapter_schemas.durable import sync_directory
from petapter_schemas.errors import BackboneError, InvalidNameError, RemoteError
from petapter_schemas.minilm import MINILM, MINILM_ENCODER_SHA256
from petapter_schemas.names import check_name
from petapter_schemas.references import HUB_REMOTE

_BUILD = "1"
"""Changes whenever `build_minilm` would write other bytes, so that old builds are left alone."""

_WANTED = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model")
_UNWANTED = ("*/*",)


@dataclass(frozen=True)
class ResolvedBackbone:
    """A backbone's files and the name that manifests record for it.

    Attributes:
        directory: Holds config.json, the weights as safetensors, and the tokenizer.
        repo: A Hub id, "minilm", or the name of a local directory.
        revision: Commit on the Hub, where it came from there.
        digests: Of configuration, weights and tokenizer, where these were taken just before; None where they were not.
    """

    directory: Path
    repo: str
    revision: str | None
    digests: tuple[Sha256, Sha256, Sha256] | None = None


def resolve_backbone(name: str, *, revision: str | None = None) -> ResolvedBackbone:
    """Find a backbone on this machine, or fetch it.

    Args:
        name: A local directory, "minilm" or a Hub id.
        revision: Commit of a Hub id; its main branch by default.

    Raises:
        BackboneError: Nothing of that name can be had; the message says what was tried.
    """
    directory = Path(name).expanduser()
    if name and directory.is_dir():
        return ResolvedBackbone(directory, directory.resolve().name, None)
    if name == MINILM:
        return ResolvedBackbone(_built_minilm(), MINILM, None)
    if not _is_hub_id(name):
        raise BackboneError(
            f"{name!r} is no backbone: give a local directory, a Hub id such as org/model, or {MINILM!r}"
        )
    return _from_hub(name, revision)


def _is_hub_id(name: str) -> bool:
    parts = name.split("/")
    try:
        return len(parts) <= 2 and all(check_name(part) for part in parts)  # noqa: PLR2004 (namespace and name)
    except InvalidNameError:
        return False


def _built_minilm() -> Path:
    """The built-in backbone, built once; the directory appears by one rename."""
    parent = cache_directory() / "backbones"
    target = parent / f"{MINILM}-{MINILM_ENCODER_SHA256[:12]}-{_BUILD}"
    if target.is_dir():
        return target
    parent.mkdir(parents=True, exist_ok=True)
    with locked(parent / f".{MINILM}.lock", CACHE_TIMEOUT_S):
        if not target.is_dir():
            _build_minilm(target)
    return target


def _build_minilm(target: Path) -> None:
    try:
        from petapter.minilm import build_minilm  # noqa: PLC0415 (imports torch)
    except ModuleNotFoundError as error:
        raise BackboneError(
            f"{MINILM!r} is not built yet, which needs {error.name}: pip install 'petapter[train]'"
        ) from error

    scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=".scratch-"))
    try:
        encoder = fetch_encoder(scratch)
        build_minilm(encoder, scratch / "built")
        (scratch / "built").rename(target)
        sync_directory(target.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _from_hub(name: str, revision: str | None) -> ResolvedBackbone:
    """A snapshot from the Hub, or the one that huggingface_hub cached earlier when the Hub cannot be reached."""
    from huggingface_hub import is_offline_mode  # noqa: PLC0415 (slow to import)

    from petapter_hub_client.hub import asking, probe  # noqa: PLC0415

    remote = Remote(HUB_REMOTE, os.environ.get("HF_ENDPOINT", HUB_URL).rstrip("/"))
    problem = "HF_HUB_OFFLINE is set" if is_offline_mode() else probe(remote.url)
    if problem is not None:
        return _from_hub_cache(name, revision, f"{remote.url} does not answer ({problem})")
    try:
        with asking(remote, name):
            directory = _snapshot(name, revision, remote, local_files_only=False)
    except RemoteError as error:
        raise BackboneError(f"backbone {name!r} cannot be had: {error}") from error
    return ResolvedBackbone(directory, name, directory.name)


def _from_hub_cache(name: str, revision: str | None, problem: str) -> ResolvedBackbone:
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415 (slow to import)

    try:
        directory = _snapshot(name, revision, Remote(HUB_REMOTE, HUB_URL), local_files_only=True)
    except LocalEntryNotFoundError as error:
        raise BackboneError(
            f"backbone {name!r} is not on this machine, and {problem}: connect, or give a local directory"
        ) from error
    return ResolvedBackbone(directory, name, directory.name)


def _snapshot(name: str, revision: str | None, remote: Remote, *, local_files_only: bool) -> Path:
    from huggingface_hub import snapshot_download  # noqa: PLC0415 (slow to import)

    found = snapshot_download(
        name,
        revision=revision,
        endpoint=remote.url,
        token=(find_token(remote) or False) if remote.url == HUB_URL else None,  # None: what HF_ENDPOINT's user set up
        allow_patterns=list(_WANTED),
        ignore_patterns=list(_UNWANTED),
        local_files_only=local_files_only,
        library_name="petapter",
    )
    return Path(found)
