"""Turns the value of `--backbone` into a local directory: a directory, the built-in `minilm`, or a Hub id."""

import os
import shutil
import tempfile
from pathlib import Path

from petapter_hub_client.local_backbones import (
    UNWANTED,
    WANTED,
    ResolvedBackbone,
    check_hub_id,
    hub_cache_directory,
    local_directory,
    minilm_directory,
)
from petapter_hub_client.locks import CACHE_TIMEOUT_S, locked
from petapter_hub_client.minilm_sources import fetch_encoder
from petapter_hub_client.remotes import HUB_URL, Remote
from petapter_hub_client.tokens import find_token
from petapter_schemas.durable import sync_directory
from petapter_schemas.errors import BackboneError, RemoteError
from petapter_schemas.minilm import MINILM
from petapter_schemas.references import HUB_REMOTE

__all__ = ["ResolvedBackbone", "resolve_backbone"]


def resolve_backbone(name: str, *, revision: str | None = None) -> ResolvedBackbone:
    """Find a backbone on this machine, or fetch it.

    Args:
        name: A local directory, "minilm" or a Hub id.
        revision: Commit of a Hub id; its main branch by default.

    Raises:
        BackboneError: Nothing of that name can be had; the message says what was tried.
    """
    if (directory := local_directory(name)) is not None:
        return ResolvedBackbone(directory, directory.resolve().name, None)
    if name == MINILM:
        return ResolvedBackbone(_built_minilm(), MINILM, None)
    check_hub_id(name)
    return _from_hub(name, revision)


def _built_minilm() -> Path:
    """The built-in backbone, built once; the directory appears by one rename."""
    target = minilm_directory()
    parent = target.parent
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
            directory = _snapshot(name, revision, remote)
    except RemoteError as error:
        raise BackboneError(f"backbone {name!r} cannot be had: {error}") from error
    return ResolvedBackbone(directory, name, directory.name)


def _from_hub_cache(name: str, revision: str | None, problem: str) -> ResolvedBackbone:
    if (directory := hub_cache_directory(name, revision)) is None:
        raise BackboneError(
            f"backbone {name!r} is not on this machine, and {problem}: connect, or give a local directory"
        )
    return ResolvedBackbone(directory, name, directory.name)


def _snapshot(name: str, revision: str | None, remote: Remote) -> Path:
    from huggingface_hub import snapshot_download  # noqa: PLC0415 (slow to import)

    found = snapshot_download(
        name,
        revision=revision,
        endpoint=remote.url,
        token=(find_token(remote) or False) if remote.url == HUB_URL else None,  # None: what HF_ENDPOINT's user set up
        allow_patterns=list(WANTED),
        ignore_patterns=list(UNWANTED),
        library_name="petapter",
    )
    return Path(found)
