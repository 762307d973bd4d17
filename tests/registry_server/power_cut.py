"""What a power cut can leave behind: file operations are recorded, and every state that they may reach is judged.

The model is POSIX at its worst. A name (made, moved or removed) is on disk for certain only once its directory was
synced after it; any subset of the others may be. Bytes are for certain only once their file was synced; else the file
may be empty, half there, or zeros. A transaction of SQLite is trusted to be whole: before its commit begins it is not
there, after it returns it is, in between it may be (`synchronous = FULL`; SQLite tests that itself).
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.sqlite_copy import copy_file, promised_blobs
from petapter_registry_server.storage.digest_names import blob_name, digest_of

_MAX_SUBSET = 8
"""With more operations that may be lost than this, not all their subsets are tried."""


@dataclass(frozen=True)
class Snapshot:
    """A copy of the database, and the blobs that it promises."""

    copy: Path
    promised: frozenset[str]


File = tuple[int, int]
"""A file behind its names: its inode, and how often that number was given out before."""


@dataclass(frozen=True)
class Named:
    """A file has a name more, or a directory is there (`file` None); `before` is the name that it gave up for that."""

    path: Path
    file: File | None
    before: Path | None = None


@dataclass(frozen=True)
class Unnamed:
    """A name is gone."""

    path: Path


@dataclass(frozen=True)
class SyncedFile:
    """The bytes of a file are on disk."""

    file: File
    sha256: str


@dataclass(frozen=True)
class SyncedDirectory:
    """The names in a directory are on disk."""

    path: Path


@dataclass(frozen=True)
class Committing:
    """A transaction begins to commit."""


@dataclass(frozen=True)
class Committed:
    """A transaction is done."""

    database: "Snapshot"


Event = Named | Unnamed | SyncedFile | SyncedDirectory | Committing | Committed


@dataclass
class Recording:
    """What happened below a data directory, in its order, and the names of blobs that were there before."""

    root: Path
    snapshots: Path
    before: frozenset[Path]
    events: list[Event] = field(default_factory=list)
    given_out: dict[int, int] = field(default_factory=dict)

    def snapshot(self) -> Snapshot:
        """What the database holds now."""
        copy = self.snapshots / f"{len(list(self.snapshots.iterdir()))}.sqlite"
        copy_file(self.root / "registry.sqlite", copy)
        return Snapshot(copy, frozenset(blob.sha256 for blob in promised_blobs(copy)))

    def file(self, path: Path) -> File:
        """The file behind a name."""
        inode = path.stat().st_ino
        return inode, self.given_out.get(inode, 0)

    def covers(self, path: Path) -> bool:
        """Whether a path is below the data directory."""
        return path.is_relative_to(self.root)


@dataclass(frozen=True)
class State:
    """What may be on disk after a cut: names of blobs with whether their bytes are right, and what is promised."""

    blobs: Mapping[str, bool]
    database: Snapshot

    def problems(self) -> list[str]:
        """Promises that are broken, and wrong bytes under the name of right ones."""
        lost = [f"{sha256} is promised and not there" for sha256 in sorted(self.database.promised - self.blobs.keys())]
        return lost + [f"{sha256} holds other bytes" for sha256, is_right in self.blobs.items() if not is_right]


@contextmanager
def recorded(data: Path, snapshots: Path) -> Iterator[Recording]:
    """Record what this process does to the files of a data directory, and what its database promises meanwhile."""
    names = frozenset(path for path in data.rglob("*") if digest_of(path.as_posix()))
    snapshots.mkdir()
    recording = Recording(data, snapshots, names)
    recording.events.append(Committed(recording.snapshot()))
    with pytest.MonkeyPatch.context() as patched:
        for name in ("link", "replace", "mkdir", "unlink", "fsync"):
            patched.setattr(os, name, _RECORDERS[name](recording, getattr(os, name)))
        patched.setattr(Database, "write", _recording_write(recording, Database.write))
        yield recording


def states(recording: Recording) -> Iterator[State]:
    """Every state that a cut after any of the events may leave."""
    for end in range(1, len(recording.events) + 1):
        done = recording.events[:end]
        unsure = _unsure(done)
        for lost in _subsets([index for index in unsure if _matters(done[index], recording.root / "blobs")]):
            surviving = [event for index, event in enumerate(done) if index not in lost]
            for torn in (False, True):
                blobs = _blobs(recording, surviving, done, torn=torn)
                for database in _databases(recording.events, end):
                    yield State(blobs, database)


def _unsure(done: Sequence[Event]) -> list[int]:
    """Operations on names whose directory was not synced after them."""
    unsure: list[int] = []
    for index, event in enumerate(done):
        if isinstance(event, Named | Unnamed):
            unsure.append(index)
        elif isinstance(event, SyncedDirectory):
            unsure = [i for i in unsure if _directory(done[i]) != event.path]
    return unsure


def _directory(event: Event) -> Path | None:
    return event.path.parent if isinstance(event, Named | Unnamed) else None


def _subsets(unsure: Sequence[int]) -> Iterator[frozenset[int]]:
    if len(unsure) <= _MAX_SUBSET:
        for kept in product((True, False), repeat=len(unsure)):
            yield frozenset(i for i, keep in zip(unsure, kept, strict=True) if not keep)
        return
    everything = frozenset(unsure)
    yield from (everything, frozenset())
    for position, index in enumerate(unsure):
        yield from (
            frozenset({index}),
            everything - {index},
            frozenset(unsure[position:]),
            frozenset(unsure[:position]),
        )


def _blobs(recording: Recording, surviving: Sequence[Event], done: Sequence[Event], *, torn: bool) -> dict[str, bool]:
    """The blobs that have a name, and whether their bytes are right; unsynced bytes are whole or torn."""
    synced = {event.file: event.sha256 for event in done if isinstance(event, SyncedFile)}
    files: dict[Path, File | None] = dict.fromkeys(recording.before)
    directories = {event.path for event in surviving if isinstance(event, Named) and event.file is None}
    made = {event.path for event in recording.events if isinstance(event, Named) and event.file is None}
    for event in surviving:
        if isinstance(event, Named) and event.file is not None:
            files[event.path] = event.file
            files.pop(event.before, None) if event.before else None
        elif isinstance(event, Unnamed):
            files.pop(event.path, None)
    found = {}
    for path, file in files.items():
        digest = digest_of(path.as_posix())
        reachable = all(parent in directories for parent in path.parents if parent in made)
        if digest and reachable and path == recording.root / "blobs" / blob_name(digest):
            found[digest] = file is None or synced.get(file) == digest or (file not in synced and not torn)
    return found


def _databases(events: Sequence[Event], end: int) -> list[Snapshot]:
    """What the database may be after a cut: one state, or two while a transaction commits."""
    *_, last = (index for index, event in enumerate(events[:end]) if isinstance(event, Committed))
    before = [event.database for event in events[last : last + 1] if isinstance(event, Committed)]
    if not any(isinstance(event, Committing) for event in events[last:end]):
        return before
    return before + [event.database for event in events[end:] if isinstance(event, Committed)][:1]


def _matters(event: Event, blobs: Path) -> bool:
    """Whether a name is one of a blob; scratch is emptied when a server starts."""
    names = [event.path, getattr(event, "before", None)] if isinstance(event, Named | Unnamed) else []
    return any(name is not None and name.is_relative_to(blobs) for name in names)


def _recording_write(recording: Recording, write: Callable[..., Any]) -> Callable[..., Any]:
    @contextmanager
    def recording_write(database: Database) -> Iterator[Session]:
        with write(database) as session:
            yield session
            recording.events.append(Committing())
        recording.events.append(Committed(recording.snapshot()))

    return recording_write


def _link(recording: Recording, original: Callable[..., Any]) -> Callable[..., Any]:
    def link(source: Path, target: Path, **options: Any) -> None:
        original(source, target, **options)
        if recording.covers(Path(target)):
            recording.events.append(Named(Path(target), recording.file(Path(target))))

    return link


def _replace(recording: Recording, original: Callable[..., Any]) -> Callable[..., Any]:
    def replace(source: Path, target: Path, **options: Any) -> None:
        source, target = Path(source), Path(target)
        known = recording.covers(target)
        file = recording.file(source) if known else None
        same = known and target.exists() and recording.file(target) == file
        original(source, target, **options)
        if file is not None and not same:  # where both name one file, nothing happens
            recording.events.append(Named(target, file, before=source))

    return replace


def _mkdir(recording: Recording, original: Callable[..., Any]) -> Callable[..., Any]:
    def mkdir(path: Path, *rest: Any, **options: Any) -> None:
        original(path, *rest, **options)
        if recording.covers(Path(path)):
            recording.events.append(Named(Path(path), None))

    return mkdir


def _unlink(recording: Recording, original: Callable[..., Any]) -> Callable[..., Any]:
    def unlink(path: Path, *, dir_fd: int | None = None) -> None:
        place = Path(path) if dir_fd is None else _opened(dir_fd) / path
        status = place.lstat() if recording.covers(place) else None
        original(path, dir_fd=dir_fd)
        if status is not None:
            recording.events.append(Unnamed(place))
            if status.st_nlink == 1:  # its number may be given to another file
                recording.given_out[status.st_ino] = recording.given_out.get(status.st_ino, 0) + 1

    return unlink


def _opened(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()


def _fsync(recording: Recording, original: Callable[..., Any]) -> Callable[..., Any]:
    def fsync(descriptor: int) -> None:
        original(descriptor)
        path = _opened(descriptor)
        if not recording.covers(path):
            return
        if path.is_dir():
            recording.events.append(SyncedDirectory(path))
        else:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            recording.events.append(SyncedFile(recording.file(path), digest))

    return fsync


_RECORDERS = {"link": _link, "replace": _replace, "mkdir": _mkdir, "unlink": _unlink, "fsync": _fsync}


def lay_out(state: State, bytes_of: Mapping[str, bytes], data: Path) -> Path:
    """Make a data directory that holds a state, to start a registry over."""
    data.mkdir()
    shutil.copyfile(state.database.copy, data / "registry.sqlite")
    for sha256, is_right in state.blobs.items():
        path = data / "blobs" / blob_name(sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes_of[sha256] if is_right else b"")
    return data
