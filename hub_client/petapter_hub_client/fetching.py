"""Pull: from a reference to a local directory every byte of which matches the manifest, or to nothing at all."""

import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import is_offline_mode

from petapter_hub_client.cache import (
    CachedRepository,
    cached_repository,
    check_room,
    copy_module,
    note_remote,
)
from petapter_hub_client.downloading import RemoteFile, complete
from petapter_hub_client.fits import Fit, likely_fit, require_fit
from petapter_hub_client.hub import Hub, open_hub
from petapter_hub_client.remotes import Remote, find_policy, find_remote
from petapter_hub_client.resolving import Resolved, read_remote_manifest, resolve
from petapter_hub_client.suggestions import did_you_mean
from petapter_schemas.durable import appear, new_directory
from petapter_schemas.ensemble import is_ensemble
from petapter_schemas.errors import DigestMismatchError, InputError, ModuleError
from petapter_schemas.manifest import MANIFEST_FILE, Manifest, manifest_digest, parse_manifest
from petapter_schemas.module_files import verify_directory
from petapter_schemas.references import Reference

OnProgress = Callable[[str, int, int], None]
"""Called as bytes arrive, with the file's path, how many bytes of the module are here, and how many it has."""

_LOG = logging.getLogger(__name__)


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
        fit: Whether it runs on the backbone that was asked for, else on the one it names where that is here; None where
            nobody asked and the module was in the cache already.
    """

    reference: str
    commit: str
    digest: str
    size_bytes: int
    directory: Path
    was_cached: bool
    manifest: Manifest
    fit: Fit | None

    def __repr__(self) -> str:
        """Short enough for a notebook."""
        return f"PulledModule({self.reference!r}, {self.size_bytes:,} bytes, directory={str(self.directory)!r})"


def pull(
    reference: str, *, out: Path | None = None, backbone: str | None = None, on_progress: OnProgress | None = None
) -> PulledModule:
    """Fetch a module, check every byte, and keep it in the cache.

    Args:
        reference: `[remote:]namespace/name[@revision]`; without a revision, the newest version.
        out: A new directory to copy the module to.
        backbone: What it shall run on, as `--backbone` takes it; must be on this machine.
        on_progress: Hears of the progress.

    Raises:
        InputError: The reference or the remote cannot be used, or `out` is not empty.
        BackboneMismatchError: The module does not run on `backbone`; none of its weights was fetched.
        RemoteError: The remote said no, or nothing; what arrived is kept, and the next pull goes on there.
        CacheError: The cache cannot be written, or has no room.
        SignatureError: The policy of the remote asks for a signature that it lacks; none of its weights was fetched.
        ModuleError: What came is not what its manifest promises; nothing of it was kept.
    """
    parsed = Reference.parse(reference)
    if out is not None:
        check_new_directory(out)
    remote = find_remote(parsed.remote)
    wanted = _Wanted(parsed, cached_repository(remote, parsed.repo_id), backbone)
    pulled = _pull(wanted, remote, on_progress)
    return pulled if out is None else _copied(pulled, out)


def pull_to_sign(reference: str, *, on_progress: OnProgress | None = None) -> PulledModule:
    """As `pull`, for whoever is about to sign the module: the policy of the remote is not asked."""
    parsed = Reference.parse(reference)
    remote = find_remote(parsed.remote)
    wanted = _Wanted(parsed, cached_repository(remote, parsed.repo_id), None, is_judged=False)
    return _pull(wanted, remote, on_progress)


def _pull(wanted: "_Wanted", remote: Remote, on_progress: OnProgress | None) -> PulledModule:
    if (pulled := _from_cache_alone(wanted, remote)) is not None:
        return pulled
    hub = open_hub(remote.name)
    return _fetch(hub, resolve(hub, wanted.reference), wanted, on_progress)


def locate_module(name: str) -> Path:
    """The directory of a module given as a local directory or as a reference, which is pulled.

    Raises:
        InputError: It is neither.
        RemoteError: The remote said no, or nothing.
        ModuleError: The module must not be used.
    """
    if is_local_module(name):
        return Path(name)
    if "/" not in name:
        raise InputError(
            f"{name!r} is neither a module's directory nor a reference such as team/{name}"
            f"{did_you_mean(name, _modules_here())}"
        )
    return pull(name).directory


def _modules_here() -> list[str]:
    return [path.parent.name for path in sorted(Path().glob(f"*/{MANIFEST_FILE}"))]


def is_local_module(name: str) -> bool:
    """Whether a name on the command line means a directory; one that is no module shall fail as such.

    `team/intents` is a reference unless a module lies there; `./team/intents` is always a directory.
    """
    path = Path(name)
    if path.is_absolute() or name.startswith((".", "~")):
        return True
    return (path / MANIFEST_FILE).is_file() or is_ensemble(path) or ("/" not in name.rstrip("/") and path.is_dir())


def fetch_manifest(reference: Reference) -> tuple[Resolved, bytes]:
    """The raw manifest of a module on a remote, without its weights; offline, that of the cached module.

    Raises:
        RemoteError: The remote said no, or nothing.
    """
    remote = find_remote(reference.remote)
    wanted = _Wanted(reference, cached_repository(remote, reference.repo_id), None, is_judged=False)
    if (pulled := _from_cache_alone(wanted, remote)) is not None:
        resolved = Resolved(remote, reference.repo_id, Reference.parse(pulled.reference).revision or "", pulled.commit)
        return resolved, (pulled.directory / MANIFEST_FILE).read_bytes()
    hub = open_hub(remote.name)
    resolved = resolve(hub, reference)
    return resolved, read_remote_manifest(hub, resolved)


def check_new_directory(out: Path) -> None:
    """Refuse to write over anything.

    Raises:
        InputError: `out` exists and is not an empty directory.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not empty: choose another directory")


@dataclass(frozen=True)
class _Wanted:
    """What a pull was asked for, and the part of the cache for it."""

    reference: Reference
    repository: CachedRepository
    backbone: str | None
    is_judged: bool = True
    """Whether the policy of the remote is asked, before any weight is fetched or given."""

    def judge(self, resolved: Resolved, manifest: bytes, ask: Callable[[], Hub] | None) -> None:
        """Refuse a module that the policy of its remote does not accept."""
        if not self.is_judged or not find_policy(resolved.remote.name).asks_for_signatures:
            return
        from petapter_hub_client.signing.policies import require_accepted  # noqa: PLC0415 (few remotes have a policy)
        from petapter_hub_client.signing.statements import Signed  # noqa: PLC0415

        signed = Signed(manifest_digest(manifest), resolved.repo_id)
        require_accepted(Reference.parse(resolved.reference), signed, self.repository, ask)

    def fit_of_cached(self, manifest: Manifest) -> Fit | None:
        """The verdict about a module that is here: only if asked for, since a backbone's tokenizer is long to read."""
        return None if self.backbone is None else require_fit(manifest, self.backbone)

    def fit_of_coming(self, manifest: Manifest) -> Fit:
        """The verdict about a module that is about to be fetched; one that nobody asked for does not stop that."""
        if self.backbone is not None:
            return require_fit(manifest, self.backbone)
        fit = likely_fit(manifest)
        if fit.verdict == "refuse":
            _LOG.warning("%s %s was trained on %s", manifest.name, manifest.version, fit)
        return fit


def _from_cache_alone(wanted: _Wanted, remote: Remote) -> PulledModule | None:
    """Offline, the commit that the revision meant last time; online, only a commit given by its id needs no remote."""
    repository, revision = wanted.repository, wanted.reference.revision
    commit = repository.recall(revision)
    if commit is None or not (is_offline_mode() or commit == revision):
        return None
    if (manifest := repository.find(commit)) is None:
        return None
    resolved = Resolved(remote, wanted.reference.repo_id, revision or f"v{manifest.version}", commit)
    ask = None if is_offline_mode() else lambda: open_hub(remote.name)
    wanted.judge(resolved, (repository.path(commit) / MANIFEST_FILE).read_bytes(), ask)
    return _pulled(resolved, repository, wanted.fit_of_cached(manifest), was_cached=True)


def _fetch(hub: Hub, resolved: Resolved, wanted: _Wanted, on_progress: OnProgress | None) -> PulledModule:
    repository, commit = wanted.repository, resolved.commit
    was_cached = True
    if (manifest := repository.find(commit)) is None:
        data = read_remote_manifest(hub, resolved)
        wanted.judge(resolved, data, lambda: hub)
        fit: Fit | None = wanted.fit_of_coming(parse_manifest(data))
        with repository.locked():
            note_remote(hub.remote)
            if (manifest := repository.find(commit)) is None:  # else another process brought it meanwhile
                _Arrival(hub, resolved, repository, data).bring(on_progress)
                was_cached = False
    else:
        wanted.judge(resolved, (repository.path(commit) / MANIFEST_FILE).read_bytes(), lambda: hub)
        fit = wanted.fit_of_cached(manifest)
    repository.remember(commit, wanted.reference.revision, resolved.revision)
    return _pulled(resolved, repository, fit, was_cached=was_cached)


@dataclass(frozen=True)
class _Arrival:
    """A module on its way from a remote into the cache, whose lock is held."""

    hub: Hub
    resolved: Resolved
    repository: CachedRepository
    data: bytes
    """Of petapter.json."""

    def bring(self, on_progress: OnProgress | None) -> None:
        """Fetch the files that the manifest lists and nothing else, check all of them, and let the module appear."""
        parts = self.repository.parts
        went_on = parts.is_dir() and any(parts.iterdir())
        try:
            self._bring(on_progress)
        except DigestMismatchError:
            shutil.rmtree(parts, ignore_errors=True)
            if not went_on:
                raise
            _LOG.warning("what an earlier pull of %s left is of no use: fetching all of it", self.resolved.reference)
            self._bring(on_progress)

    def _bring(self, on_progress: OnProgress | None) -> None:
        manifest = parse_manifest(self.data)
        self._download(manifest, on_progress)
        with self.repository.scratch() as scratch:
            checked = scratch / "checked"
            self._move(manifest, checked)
            try:
                verify_directory(checked)
            except ModuleError:
                shutil.rmtree(self.repository.parts, ignore_errors=True)
                raise
            self.repository.install(self.resolved.commit, checked, scratch)
        shutil.rmtree(self.repository.parts, ignore_errors=True)

    def _download(self, manifest: Manifest, on_progress: OnProgress | None) -> None:
        parts = self.repository.parts
        parts.mkdir(exist_ok=True)
        total = len(self.data) + sum(file.size for file in manifest.files)
        done = len(self.data) + sum(_size(parts / digest) for digest in {file.sha256 for file in manifest.files})
        check_room(total - done)
        for file in manifest.files:

            def on_bytes(more: int, path: str = file.path) -> None:
                nonlocal done
                done += more
                if on_progress is not None:
                    on_progress(path, done, total)

            on_bytes(0)
            source = RemoteFile(self.resolved.repo_id, self.resolved.commit, file.path)
            complete(self.hub, source, parts / file.sha256, file.size, on_bytes)

    def _move(self, manifest: Manifest, target: Path) -> None:
        """Give the parts their names; a file that is there twice is copied."""
        target.mkdir()
        _write_synced(target / MANIFEST_FILE, self.data)
        placed: dict[str, Path] = {}
        for file in manifest.files:
            destination = target / file.path
            destination.parent.mkdir(parents=True, exist_ok=True)
            if file.sha256 in placed:
                shutil.copyfile(placed[file.sha256], destination)
            else:
                placed[file.sha256] = (self.repository.parts / file.sha256).rename(destination)
            _sync(destination)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _write_synced(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    _sync(path)


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _pulled(resolved: Resolved, repository: CachedRepository, fit: Fit | None, *, was_cached: bool) -> PulledModule:
    directory = repository.path(resolved.commit)
    data = (directory / MANIFEST_FILE).read_bytes()
    manifest = parse_manifest(data)
    repository.note_use(resolved.commit)
    return PulledModule(
        reference=resolved.reference,
        commit=resolved.commit,
        digest=manifest_digest(data),
        size_bytes=len(data) + sum(file.size for file in manifest.files),
        directory=directory,
        was_cached=was_cached,
        manifest=manifest,
        fit=fit,
    )


def _copied(pulled: PulledModule, out: Path) -> PulledModule:
    with new_directory(out) as scratch:
        copy_module(pulled.manifest, pulled.directory, scratch)
        verify_directory(scratch)
        appear(scratch, out)
    return replace(pulled, directory=out)
