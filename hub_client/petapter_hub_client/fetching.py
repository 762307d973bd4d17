"""Pull: from a reference to a local directory every byte of which matches the manifest, or to nothing at all."""

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import is_offline_mode

from petapter_hub_client.cache import CachedRepository, cached_repository, check_commit, copy_module
from petapter_hub_client.hub import Hub, asking, open_hub
from petapter_hub_client.maintaining import find_detail, shown_revision, yank_of
from petapter_hub_client.remotes import Remote, find_remote
from petapter_hub_client.versions import newest_tag
from petapter_schemas.durable import appear, new_directory, sync_directory
from petapter_schemas.ensemble import is_ensemble
from petapter_schemas.errors import InputError
from petapter_schemas.manifest import MANIFEST_FILE, Manifest, manifest_digest, parse_manifest
from petapter_schemas.module_files import verify_directory
from petapter_schemas.references import Reference

OnFile = Callable[[str, int, int], None]
"""Called after each file with its path, its size in bytes and the size of the whole module in bytes."""

_MAIN = "main"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Resolved:
    """A reference after the remote said which commit it means.

    Attributes:
        remote: Where the module is.
        repo_id: namespace/name.
        revision: What was asked for or, when nothing was, the tag of the newest version or "main".
        commit: 40 hex digits.
    """

    remote: Remote
    repo_id: str
    revision: str
    commit: str

    @property
    def reference(self) -> str:
        """The reference with nothing left to guess but the commit."""
        return str(Reference(self.remote.name, self.repo_id, self.revision))


@dataclass(frozen=True)
class PulledModule:
    """A verified module on this machine.

    Attributes:
        reference: What was pulled, with remote and revision.
        commit: 40 hex digits.
        digest: sha256 of petapter.json, which names the module version.
        size_bytes: Of all files.
        directory: Where they are; the cache's own copy, not to be changed, unless `out` was given.
        was_cached: Whether nothing had to be downloaded.
        manifest: The manifest.
    """

    reference: str
    commit: str
    digest: str
    size_bytes: int
    directory: Path
    was_cached: bool
    manifest: Manifest


def pull(reference: str, *, out: Path | None = None, on_file: OnFile | None = None) -> PulledModule:
    """Fetch a module, check every byte, and keep it in the cache.

    Args:
        reference: `[remote:]namespace/name[@revision]`; without a revision, the newest version.
        out: A new directory to copy the module to.
        on_file: Hears of the progress.

    Raises:
        InputError: The reference or the remote cannot be used, or `out` is not empty.
        RemoteError: The remote said no, or nothing.
        ModuleError: What came is not what its manifest promises; nothing of it was kept.
    """
    parsed = Reference.parse(reference)
    if out is not None:
        check_new_directory(out)
    remote = find_remote(parsed.remote)
    repository = cached_repository(remote, parsed.repo_id)
    if (pulled := _from_cache_alone(parsed, remote, repository)) is None:
        hub = open_hub(remote.name)
        pulled = _fetch(hub, resolve(hub, parsed), repository, parsed.revision, on_file)
    return pulled if out is None else _copied(pulled, out)


def locate_module(name: str) -> Path:
    """The directory of a module given as a local directory or as a reference, which is pulled.

    Raises:
        InputError: It is neither.
        RemoteError: The remote said no, or nothing.
        ModuleError: The module must not be used.
    """
    return Path(name) if is_local_module(name) else pull(name).directory


def is_local_module(name: str) -> bool:
    """Whether a name on the command line means a directory; one that is no module shall fail as such.

    `team/intents` is a reference unless a module lies there; `./team/intents` is always a directory.
    """
    path = Path(name)
    if path.is_absolute() or name.startswith((".", "~")):
        return True
    return (path / MANIFEST_FILE).is_file() or is_ensemble(path) or ("/" not in name.rstrip("/") and path.is_dir())


def fetch_manifest(reference: Reference) -> tuple[Resolved, bytes]:
    """The raw manifest of a module on a remote, without its weights.

    Raises:
        RemoteError: The remote said no, or nothing.
    """
    hub = open_hub(reference.remote)
    resolved = resolve(hub, reference)
    with tempfile.TemporaryDirectory(prefix="petapter-") as scratch:
        return resolved, _download(hub, resolved, MANIFEST_FILE, Path(scratch)).read_bytes()


def resolve(hub: Hub, reference: Reference) -> Resolved:
    """Ask the remote which commit a reference means, and warn of a version that was yanked.

    Without a revision it is the newest version; on a registry, of those that are not yanked.

    Raises:
        RemoteError: The remote has no such module or revision, or fails.
    """
    revision = reference.revision
    detail = find_detail(hub, reference.repo_id)
    if revision is None and detail is not None:
        revision = shown_revision(detail)
    with asking(hub.remote, str(reference)):
        if revision is None:
            refs = hub.api.list_repo_refs(reference.repo_id)
            revision = newest_tag(tag.name for tag in refs.tags) or _MAIN
        info = hub.api.model_info(reference.repo_id, revision=revision)
    commit = check_commit(info.sha)
    if detail is not None and (yank := yank_of(detail, commit)) is not None:
        _LOG.warning("%s", yank)
    return Resolved(hub.remote, reference.repo_id, revision, commit)


def check_new_directory(out: Path) -> None:
    """Refuse to write over anything.

    Raises:
        InputError: `out` exists and is not an empty directory.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not empty: choose another directory")


def _from_cache_alone(parsed: Reference, remote: Remote, repository: CachedRepository) -> PulledModule | None:
    """Offline, the commit that the revision meant last time; online, only a commit given by its id needs no remote."""
    commit = repository.recall(parsed.revision)
    if commit is None or not (is_offline_mode() or commit == parsed.revision):
        return None
    if (manifest := repository.find(commit)) is None:
        return None
    resolved = Resolved(remote, parsed.repo_id, parsed.revision or f"v{manifest.version}", commit)
    return _pulled(resolved, repository.path(commit), was_cached=True)


def _fetch(
    hub: Hub, resolved: Resolved, repository: CachedRepository, revision: str | None, on_file: OnFile | None
) -> PulledModule:
    with repository.locked():
        was_cached = repository.find(resolved.commit) is not None
        if not was_cached:
            with repository.scratch() as scratch:
                checked = _download_module(hub, resolved, scratch, on_file)
                repository.install(resolved.commit, checked, scratch)
                sync_directory(repository.directory)
        repository.remember(revision, resolved.commit)
        return _pulled(resolved, repository.path(resolved.commit), was_cached=was_cached)


def _download_module(hub: Hub, resolved: Resolved, scratch: Path, on_file: OnFile | None) -> Path:
    """The manifest first, then the files it lists and nothing else; moved away from huggingface_hub's own files."""
    arriving, checked = scratch / "arriving", scratch / "checked"
    data = _download(hub, resolved, MANIFEST_FILE, arriving).read_bytes()
    manifest = parse_manifest(data)
    total = len(data) + sum(file.size for file in manifest.files)
    for file in manifest.files:
        _download(hub, resolved, file.path, arriving)
        if on_file is not None:
            on_file(file.path, file.size, total)
    copy_module(manifest, arriving, checked)
    verify_directory(checked)
    return checked


def _download(hub: Hub, resolved: Resolved, path: str, into: Path) -> Path:
    with asking(resolved.remote, resolved.reference):
        return Path(hub.api.hf_hub_download(resolved.repo_id, path, revision=resolved.commit, local_dir=into))


def _pulled(resolved: Resolved, directory: Path, *, was_cached: bool) -> PulledModule:
    data = (directory / MANIFEST_FILE).read_bytes()
    manifest = parse_manifest(data)
    return PulledModule(
        reference=resolved.reference,
        commit=resolved.commit,
        digest=manifest_digest(data),
        size_bytes=len(data) + sum(file.size for file in manifest.files),
        directory=directory,
        was_cached=was_cached,
        manifest=manifest,
    )


def _copied(pulled: PulledModule, out: Path) -> PulledModule:
    with new_directory(out) as scratch:
        copy_module(pulled.manifest, pulled.directory, scratch)
        verify_directory(scratch)
        appear(scratch, out)
    return _pulled_at(pulled, out)


def _pulled_at(pulled: PulledModule, directory: Path) -> PulledModule:
    return PulledModule(**{**pulled.__dict__, "directory": directory})
