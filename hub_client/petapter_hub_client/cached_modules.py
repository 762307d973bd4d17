"""What the cache holds: lists its modules, removes them, and checks them byte by byte."""

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from petapter_hub_client.cache import MODULES_FOLDER, REMOTE_FILE, CachedRepository, remote_directory, writing_cache
from petapter_hub_client.places import cache_directory
from petapter_hub_client.remotes import find_remote, list_remotes
from petapter_hub_client.suggestions import did_you_mean
from petapter_hub_client.versions import read_version
from petapter_schemas import strict_json
from petapter_schemas.errors import InputError, ManifestError, ModuleError, PetapterError
from petapter_schemas.manifest import MANIFEST_FILE, Manifest, read_manifest
from petapter_schemas.module_files import verify_directory
from petapter_schemas.references import Reference

State = Literal["checked", "changed", "broken"]

_QUARANTINE = "quarantine"
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGE = re.compile(r"(\d{1,6})([mhdw])")


@dataclass(frozen=True)
class CachedModule:
    """One commit of one module in the cache.

    Attributes:
        reference: What `pull` takes; of a remote that is no longer known, with its address in place of the name.
        remote: As it is called here; None where it is no longer known.
        url: The remote's address; None where not even that is known.
        repo_id: namespace/name.
        commit: 40 hex digits.
        revisions: What meant this commit when it was pulled, versions first.
        version: By its manifest; None where that cannot be read.
        backbone: Which it was trained on; likewise.
        size_bytes: On the disk.
        used: When it was last pulled or run.
        checked: When all its bytes were last hashed and right; None if never, or not since the client notes it.
        state: `checked`: nothing changed since then, as far as sizes and times tell; `changed`: something did;
            `broken`: its manifest cannot be read.
        directory: Its files.
    """

    reference: str
    remote: str | None
    url: str | None
    repo_id: str
    commit: str
    revisions: tuple[str, ...]
    version: str | None
    backbone: str | None
    size_bytes: int
    used: datetime
    checked: datetime | None
    state: State
    directory: Path

    def __repr__(self) -> str:
        """Short enough for a notebook."""
        return f"CachedModule({self.reference!r}, {self.size_bytes:,} bytes, {self.state})"


@dataclass(frozen=True)
class CheckedModule:
    """What a check of a cached module found.

    Attributes:
        module: The module.
        problem: What is wrong with it; None where every byte is right.
        quarantine: Where a broken one was moved to.
        was_repaired: Whether it was fetched again.
    """

    module: CachedModule
    problem: str | None
    quarantine: Path | None = None
    was_repaired: bool = False


def list_cached() -> list[CachedModule]:
    """All cached modules, the last used first.

    Raises:
        InputError: remotes.json is broken.
    """
    names = {remote.url: remote.name for remote in list_remotes()}
    found = [
        _describe(place, commit, names.get(place.url or ""))
        for place in _places()
        for commit in place.repository.commits()
    ]
    return sorted(found, key=lambda module: module.used, reverse=True)


def list_references() -> list[str]:
    """The references of all cached modules, without reading a manifest: quick enough for the tab key.

    Raises:
        InputError: remotes.json is broken.
    """
    names = {remote.url: remote.name for remote in list_remotes()}
    found: set[str] = set()
    for place in _places():
        if (name := names.get(place.url or "")) is not None and place.repository.commits():
            revisions = (revision for revision in place.repository.refs() if revision)
            found |= {str(Reference(name, place.repo_id, revision)) for revision in revisions}
            found.add(str(Reference(name, place.repo_id, None)))
    return sorted(found)


def find_cached(reference: str) -> list[CachedModule]:
    """The cached modules that a reference means: all commits, or the one of its revision.

    Raises:
        InputError: There is none; the nearest name is offered.
    """
    parsed = Reference.parse(reference)
    remote = find_remote(parsed.remote)
    cached = list_cached()
    same = [module for module in cached if (module.url, module.repo_id) == (remote.url, parsed.repo_id)]
    revision = parsed.revision
    found = [module for module in same if revision is None or _is_called(module, revision)]
    if not found:
        known = [module.reference for module in cached]
        asked = str(Reference(remote.name, parsed.repo_id, revision))
        raise InputError(f"{asked} is not in the cache: see 'petapter list'{did_you_mean(asked, known)}")
    return found


def older_than(age: str) -> list[CachedModule]:
    """The cached modules that were last used longer ago than an age such as 30d.

    Raises:
        InputError: The age cannot be read.
    """
    if (parts := _AGE.fullmatch(age)) is None:
        raise InputError(f"{age!r} is no age: write a number and m, h, d or w, for example 30d")
    border = datetime.now(UTC) - timedelta(**{_UNITS[parts[2]]: int(parts[1])})
    return [module for module in list_cached() if module.used < border]


def remove_cached(modules: Sequence[CachedModule]) -> None:
    """Remove modules from the cache, and with them what unfinished pulls of the same repositories left.

    A process that is reading one of them may fail in one line; nothing is ever half there.

    Raises:
        CacheError: The cache cannot be written.
    """
    for module in modules:
        repository = CachedRepository(module.directory.parent)
        with repository.locked(), repository.scratch() as scratch:
            repository.take_out(module.commit, scratch)
            shutil.rmtree(repository.parts, ignore_errors=True)
            left = {revision: commit for revision, commit in repository.refs().items() if commit != module.commit}
            repository.write_refs(left)


def remove_leftovers() -> int:
    """Remove what unfinished pulls and broken modules left; returns how many bytes that were.

    Raises:
        CacheError: The cache cannot be written.
    """
    removed = 0
    for place in _places():
        if place.repository.parts.is_dir():
            with place.repository.locked():
                removed += _remove(place.repository.parts)
    with writing_cache():
        return removed + _remove(cache_directory() / _QUARANTINE)


def verify_cached(
    modules: Sequence[CachedModule], *, repair: bool = False, on_module: Callable[[CachedModule], None] | None = None
) -> list[CheckedModule]:
    """Hash every byte of cached modules; broken ones are moved to quarantine, and fetched again if wanted.

    Args:
        modules: Which.
        repair: Fetch broken ones again from their remote.
        on_module: Hears of each before it is checked.

    Raises:
        CacheError: A broken module cannot be moved.
    """
    checked = []
    for module in modules:
        if on_module is not None:
            on_module(module)
        checked.append(_verify(module, repair=repair))
    return checked


def _verify(module: CachedModule, *, repair: bool) -> CheckedModule:
    repository = CachedRepository(module.directory.parent)
    if (problem := _problem(repository, module.commit)) is None:
        return CheckedModule(module, None)
    with repository.locked():
        problem = _problem(repository, module.commit)  # another process may have repaired it meanwhile
        if problem is None:
            return CheckedModule(module, None)
        quarantine = _quarantine(repository, module)
    if not repair or module.remote is None:
        return CheckedModule(module, problem, quarantine)
    from petapter_hub_client.fetching import pull  # noqa: PLC0415 (loads huggingface_hub, which lists do without)

    try:
        pull(str(Reference(module.remote, module.repo_id, module.commit)))
    except PetapterError as error:
        return CheckedModule(module, f"{problem}; it could not be fetched again: {error}", quarantine)
    return CheckedModule(module, problem, quarantine, was_repaired=True)


def _problem(repository: CachedRepository, commit: str) -> str | None:
    try:
        verify_directory(repository.path(commit))
    except ModuleError as error:
        return str(error)
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    repository.note_check(commit)
    return None


def _quarantine(repository: CachedRepository, module: CachedModule) -> Path | None:
    """Move a broken module out of the way, where somebody may look at it; the lock is held."""
    quarantine = cache_directory() / _QUARANTINE
    quarantine.mkdir(exist_ok=True)
    target = (
        quarantine / f"{module.repo_id.replace('/', '--')}-{module.commit[:12]}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    )
    with repository.scratch() as scratch:
        taken = repository.take_out(module.commit, scratch)
        return None if taken is None else taken.rename(target)


@dataclass(frozen=True)
class _Place:
    """The cache of one repository, and where it is from."""

    url: str | None
    repo_id: str
    repository: CachedRepository


def _places() -> Iterator[_Place]:
    known = {remote_directory(remote): remote.url for remote in list_remotes()}
    for folder in _folders(cache_directory() / MODULES_FOLDER):
        url = known.get(folder) or _recorded_url(folder)
        for namespace in _folders(folder):
            for name in _folders(namespace):
                yield _Place(url, f"{namespace.name}/{name.name}", CachedRepository(name))


def _folders(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.is_dir() and not path.name.startswith("."))
    except FileNotFoundError:
        return []


def _recorded_url(folder: Path) -> str | None:
    try:
        document = strict_json.loads((folder / REMOTE_FILE).read_bytes(), source=REMOTE_FILE)
    except (OSError, ManifestError):
        return None
    url = document.get("url") if isinstance(document, dict) else None
    return url if isinstance(url, str) else None


def _describe(place: _Place, commit: str, remote: str | None) -> CachedModule:
    repository = place.repository
    directory = repository.path(commit)
    files = [path.stat() for path in directory.rglob("*") if path.is_file()]
    manifest = _manifest(directory)
    marker = repository.checked_marker(commit)
    checked = marker.stat().st_mtime if marker.exists() else None
    revisions = [revision for revision, meant in repository.refs().items() if meant == commit and revision]
    revisions.sort(key=lambda revision: (read_version(revision) is None, revision))
    shown = next(iter(revisions), f"v{manifest.version}" if manifest else commit)
    reference = (
        str(Reference(remote, place.repo_id, shown)) if remote else f"{place.url or '?'}/{place.repo_id}@{shown}"
    )
    return CachedModule(
        reference=reference,
        remote=remote,
        url=place.url,
        repo_id=place.repo_id,
        commit=commit,
        revisions=tuple(revisions),
        version=manifest.version if manifest else None,
        backbone=manifest.backbone.repo if manifest else None,
        size_bytes=sum(file.st_size for file in files),
        used=datetime.fromtimestamp(directory.stat().st_mtime, UTC),
        checked=None if checked is None else datetime.fromtimestamp(checked, UTC),
        state=_state(manifest, directory, checked),
        directory=directory,
    )


def _manifest(directory: Path) -> Manifest | None:
    try:
        return read_manifest(directory)
    except (ModuleError, OSError):
        return None


def _state(manifest: Manifest | None, directory: Path, checked: float | None) -> State:
    """By sizes and times of change alone, which a glance at the cache can afford."""
    if manifest is None:
        return "broken"
    for name, size in ((MANIFEST_FILE, None), *((file.path, file.size) for file in manifest.files)):
        path = directory / name
        found = path.stat() if path.is_file() else None
        if found is None or (size is not None and found.st_size != size):
            return "changed"
        if checked is None or found.st_mtime > checked:
            return "changed"
    return "checked"


def _is_called(module: CachedModule, revision: str) -> bool:
    return revision in (*module.revisions, module.commit, f"v{module.version}")


def _remove(directory: Path) -> int:
    size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    shutil.rmtree(directory, ignore_errors=True)
    return size
