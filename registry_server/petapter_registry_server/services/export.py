"""The registry as plain directories and JSON Lines, for whoever goes on without this program.

The rows are read as one state and name the files; the bytes follow, each hashed while it is copied. As in a backup,
bytes are there before a row promises them, and garbage collection waits for its grace before it deletes any.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO
from urllib.parse import quote

from sqlalchemy.orm import Session

from petapter_registry_server.clock import hub_date
from petapter_registry_server.db import commits, export_rows, repositories, versions
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.evaluation_set_tables import EvaluationSet, EvaluationSetVersion
from petapter_registry_server.db.module_tables import ModuleVersion
from petapter_registry_server.db.repositories import MAIN
from petapter_registry_server.db.tables import Reference, Repository
from petapter_registry_server.errors import DataDirectoryError
from petapter_registry_server.services.audit_log import audit_line
from petapter_registry_server.services.evaluation_sets import spec_of
from petapter_registry_server.services.verified_copy import copy_verified
from petapter_registry_server.storage.appearing import appearing
from petapter_registry_server.storage.blobs import BlobStore
from petapter_registry_server.storage.durable import sync_directory, sync_file
from petapter_schemas.digests import sha256_file
from petapter_schemas.evaluation_rows import ROWS_FILE
from petapter_schemas.evaluation_set import EVALUATION_SET_FILE, evaluation_set_bytes

SUMS = "SHA256SUMS"
_LISTS = tuple(
    f"{n}.jsonl"
    for n in ("repositories", "refs", "versions", "yanks", "channels", "commits", "evaluation_sets", "audit")
)
_REMEDY = "run 'petapter-registry scrub', which heals it from a replica or says which file to push again"

_README = """\
An export of a petapter registry. Everything is plain files; no program of the registry is needed to use them.

repositories/NAMESPACE/NAME/versions/vX.Y.Z/   the files of a published version
repositories/NAMESPACE/NAME/branches/BRANCH/   the files at the head of a branch, unless a version has the same commit
repositories/NAMESPACE/NAME/tags/TAG/          likewise of a tag that is no version
evaluation-sets/NAMESPACE/NAME/VERSION/         evaluation-set.json, and rows.jsonl where the rows are here

A commit is there once, under the first of these names that fits. A slash in the name of a branch or tag is written %2F.
Each directory of a module can be opened as it is. The lists are JSON Lines; times are UTC:

repositories.jsonl  name, private, gated (how requests are answered, or false), created, updated, deleted, former_names
refs.jsonl          repository, kind, name, commit, directory
versions.jsonl      repository, version, commit, directory, published, published_by, yanked
yanks.jsonl         repository, version, at, by, reason
channels.jsonl      every step of each channel: repository, channel, version (null ends it), at, by
commits.jsonl       repository, commit, parent, title, message, author, date
evaluation_sets.jsonl  name, version, private, digest, rows_sha256, directory, published, published_by, rows_withdrawn
audit.jsonl         the record of changes; its sha256 chain is whole only where all of the registry was exported

Of deleted repositories there is only their row. Files of older commits, users and tokens are not here: a backup has
them.
`sha256sum --check SHA256SUMS` proves that every file is what it was.
"""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    repositories: int
    versions: int
    files: int
    bytes: int


def export(database: Database, store: BlobStore, target: Path, only: str | None = None) -> Exported:
    """Write a registry, which may be serving, to a new directory that appears whole or not at all.

    `only` is a namespace, or one repository.

    Raises:
        DataDirectoryError: The target is there already, nothing has the name `only`, or a file is missing or damaged.
        DatabaseUnavailableError: The database does not answer.
        StoreError: The blob store does not answer.
    """
    with appearing(target) as place:
        with database.read() as session, ExitStack() as opened:
            names = (SUMS, *_LISTS)
            lists = Lists(
                {name: opened.enter_context((place / name).open("w", encoding="utf-8")) for name in names}, place
            )
            done = _write_lists(session, lists, only)
        files, size = _copy_files(store, place)
        (place / "README.txt").write_text(_README, encoding="utf-8")
        _finish(place)
    return Exported(done.repositories, done.versions, files, size)


@dataclass(frozen=True)
class Lists:
    """The open lists of one export, by file name, and the place of the export, for files that no blob holds."""

    streams: Mapping[str, TextIO]
    place: Path

    def add(self, name: str, /, **line: object) -> None:
        """Write a line of JSON to a list."""
        self.streams[f"{name}.jsonl"].write(json.dumps(line, ensure_ascii=False) + "\n")

    def add_document(self, path: str, data: bytes) -> None:
        """Write a file that no blob holds."""
        target = self.place / path
        target.parent.mkdir(parents=True)
        target.write_bytes(data)
        sync_file(target)

    def add_file(self, path: str, sha256: str) -> None:
        """Write down a file, as `sha256sum` reads it."""
        self.streams[SUMS].write(f"{sha256}  {path}\n")


@dataclass(frozen=True)
class _Counts:
    repositories: int
    versions: int


def _write_lists(session: Session, lists: Lists, only: str | None) -> _Counts:
    found = export_rows.repositories_of(session, only)
    sets = export_rows.evaluation_sets_of(session, only)
    if only is not None and not found and not sets:
        raise DataDirectoryError(f"no repository and no namespace with repositories is called {only!r}")
    published = 0
    for repository, gate in found:
        lists.add(
            "repositories",
            name=repository.full_name,
            private=repository.private,
            gated=gate or False,
            created=hub_date(repository.created_ms),
            updated=hub_date(repository.updated_ms),
            deleted=_date(repository.deleted_ms),
            former_names=export_rows.former_names_of(session, repository.id),
        )
        if repository.deleted_ms is None:
            published += _write_repository(session, lists, repository)
    for of, version in sets:
        _write_set(lists, of, version)
    for row in export_rows.audit_of(session, only):
        lists.add("audit", **asdict(audit_line(row)))
    return _Counts(sum(repository.deleted_ms is None for repository, _ in found), published)


def _write_repository(session: Session, lists: Lists, repository: Repository) -> int:
    """What is known of a repository, and its files; returns how many versions it has."""
    name = repository.full_name
    of_repository = versions.list_versions(session, repository.id)
    references = repositories.list_references(session, repository.id)
    directories = _directories(name, of_repository, references)
    for version in of_repository:
        _write_version(lists, name, version, directories[version.commit_oid])
    for ref in references:
        where = directories[ref.commit_oid]
        lists.add("refs", repository=name, kind=ref.kind, name=ref.name, commit=ref.commit_oid, directory=where)
    for move in reversed(versions.channel_history(session, repository.id)):
        at = hub_date(move.at_ms)
        lists.add("channels", repository=name, channel=move.name, version=move.version, at=at, by=move.actor)
    for commit in export_rows.commits_of(session, repository.id):
        lists.add(
            "commits",
            repository=name,
            commit=commit.oid,
            parent=commit.parent_oid,
            title=commit.title,
            message=commit.message,
            author=commit.author,
            date=hub_date(commit.created_ms),
        )
    for oid, directory in directories.items():
        for file in commits.read_tree(session, oid).values():
            lists.add_file(f"{directory}/{file.path}", file.sha256)
    return len(of_repository)


def _write_version(lists: Lists, name: str, version: ModuleVersion, directory: str) -> None:
    lists.add(
        "versions",
        repository=name,
        version=version.version,
        commit=version.commit_oid,
        directory=directory,
        published=hub_date(version.published_ms),
        published_by=version.published_by,
        yanked=version.yanked_ms is not None,
    )
    if version.yanked_ms is not None:
        at = hub_date(version.yanked_ms)
        lists.add(
            "yanks", repository=name, version=version.version, at=at, by=version.yanked_by, reason=version.yank_reason
        )


def _write_set(lists: Lists, of: EvaluationSet, version: EvaluationSetVersion) -> None:
    directory = f"evaluation-sets/{of.full_name}/{version.version}"
    lists.add(
        "evaluation_sets",
        name=of.full_name,
        version=version.version,
        private=of.private,
        digest=version.digest,
        rows_sha256=version.rows_sha256,
        directory=directory,
        published=hub_date(version.published_ms),
        published_by=version.published_by,
        rows_withdrawn=_date(version.withdrawn_ms),
    )
    lists.add_document(f"{directory}/{EVALUATION_SET_FILE}", evaluation_set_bytes(spec_of(version)))
    if version.rows_blob is not None:
        lists.add_file(f"{directory}/{ROWS_FILE}", version.rows_blob)


def _directories(name: str, published: Iterable[ModuleVersion], references: Iterable[Reference]) -> dict[str, str]:
    """By commit, where its files go: a version before main, that before other branches, those before tags."""
    found: dict[str, str] = {}
    for version in published:
        found.setdefault(version.commit_oid, f"repositories/{name}/versions/v{version.version}")
    for ref in sorted(references, key=lambda ref: (ref.kind, ref.name != MAIN)):
        kind = {"branch": "branches", "tag": "tags"}[ref.kind]
        found.setdefault(ref.commit_oid, f"repositories/{name}/{kind}/{quote(ref.name, safe='')}")
    return found


def _copy_files(store: BlobStore, place: Path) -> tuple[int, int]:
    """Fetch every listed file; returns how many there are, and their bytes."""
    files = size = 0
    for sha256, path in _listed(place):
        target = place / path
        target.parent.mkdir(parents=True, exist_ok=True)
        copy_verified(store, sha256, target, remedy=f"{path} cannot be exported; {_REMEDY}")
        files += 1
        size += target.stat().st_size
    return files, size


def _listed(place: Path) -> Iterator[tuple[str, str]]:
    with (place / SUMS).open(encoding="utf-8") as lines:
        for line in lines:
            sha256, _, path = line.rstrip("\n").partition("  ")
            yield sha256, path


def _finish(place: Path) -> None:
    """Add the lists to the sums, and bring every name to disk."""
    documents = (
        path.relative_to(place).as_posix() for path in place.glob(f"evaluation-sets/*/*/*/{EVALUATION_SET_FILE}")
    )
    own = ["README.txt", *_LISTS, *sorted(documents)]
    with (place / SUMS).open("a", encoding="utf-8") as sums:
        sums.writelines(f"{sha256_file(place / name)}  {name}\n" for name in own)
    for name in (*own, SUMS):
        sync_file(place / name)
    for directory in [path for path in place.rglob("*") if path.is_dir()]:
        sync_directory(directory)


def _date(at_ms: int | None) -> str | None:
    return None if at_ms is None else hub_date(at_ms)
