"""What a push will do: asks a remote what it holds, and settles version, files and the next step; writes nothing."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from huggingface_hub import constants
from huggingface_hub.utils import paginate  # type: ignore[attr-defined]  # it exports them lazily
from semver import Version

from petapter_hub_client.hints import hints
from petapter_hub_client.hub import Hub, asking, open_hub, require_token
from petapter_hub_client.staging import StagedModule, files_by_path, read_module, same_content, with_version
from petapter_hub_client.versions import read_version, version_tag
from petapter_schemas.errors import InputError, InvalidReferenceError, RemoteNotFoundError, VersionConflictError
from petapter_schemas.manifest import MANIFEST_FILE, manifest_digest, parse_manifest
from petapter_schemas.references import Reference
from petapter_schemas.version_rule import blocking_version

Bump = Literal["major", "minor", "patch"]
Step = Literal["commit", "tag", "nothing"]
FileState = Literal["new", "changed", "there"]

_KEPT = frozenset({".gitattributes"})
_MAIN = "main"
_LOOKED_BACK = 20
"""Commits in which one of an interrupted push is looked for."""


@dataclass(frozen=True)
class PushOptions:
    """How to push.

    Attributes:
        version: Publish it as this version; None takes the one it has.
        bump: Publish it as the next version after the newest that the remote has, which of its numbers goes up.
        private: Visibility of a repository that has to be made; None leaves it to the remote.
        message: Of the commit.
    """

    version: str | None = None
    bump: Bump | None = None
    private: bool | None = None
    message: str | None = None


@dataclass(frozen=True)
class PlannedFile:
    """A file of the version.

    Attributes:
        path: In the module.
        size_bytes: Its size.
        state: `there` on the remote already and not sent, `changed` from what is there, or `new`.
    """

    path: str
    size_bytes: int
    state: FileState


@dataclass(frozen=True)
class PushPlan:
    """What a push will do.

    Attributes:
        reference: Of the version, with remote and tag.
        version: Which it will be.
        digest: That of petapter.json as it is sent, or as the remote holds it.
        step: `commit`, and then the tag; the `tag` alone, since an earlier push got as far as its commit; or `nothing`,
            since the remote holds this module already.
        makes_repository: Whether the remote has no such module yet.
        files: All of the version.
        deleted: What the remote's newest commit has and the module no longer.
        golden_made: Whether golden outputs were computed for it, because it had none.
        hints: What its author may want to mend before.
    """

    reference: str
    version: str
    digest: str
    step: Step
    makes_repository: bool
    files: tuple[PlannedFile, ...]
    deleted: tuple[str, ...]
    golden_made: bool
    hints: tuple[str, ...]

    @property
    def sent_bytes(self) -> int:
        """How much leaves this machine."""
        return sum(file.size_bytes for file in self.files if file.state != "there") if self.step == "commit" else 0


@dataclass(frozen=True)
class Published:
    """What the remote holds: the head of main, and commits by version tag. Without a repository, nothing."""

    exists: bool
    head: str | None
    tags: dict[str, str]

    @property
    def versions(self) -> list[Version]:
        """All that are published."""
        return [found for tag in self.tags if (found := read_version(tag)) is not None]


@dataclass(frozen=True)
class PreparedPush:
    """Everything is known, and nothing is written yet.

    Attributes:
        hub: Where it goes.
        target: The reference, without a revision.
        module: What is sent.
        published: What the remote has.
        plan: What is to be done.
        commit: With the step `tag` the commit that an earlier push of this module made; with `nothing` that of the
            version; else None.
    """

    hub: Hub
    target: Reference
    module: StagedModule
    published: Published
    plan: PushPlan
    commit: str | None


@contextmanager
def prepared_push(directory: Path, reference: str, options: PushOptions) -> Iterator[PreparedPush]:
    """Check a module, ask the remote, and settle what a push would do; copies are gone after the block.

    Raises:
        InputError: The reference or an option cannot be used.
        ModuleError: The directory is no valid module.
        VersionConflictError: The remote holds this version with other bytes, or a newer one.
        RemoteError: The remote said no, or nothing.
    """
    target = _target(reference)
    wanted = _wanted(options)
    with tempfile.TemporaryDirectory(prefix="petapter-push-") as scratch:
        module = read_module(directory, Path(scratch))
        hub = open_hub(target.remote)
        require_token(hub)
        published = ask_published(hub, target)
        there = _held(hub, target, module, published, wanted, options.bump)
        if there is not None:
            plan, commit = _plan_of_nothing(hub, target, there), published.tags[version_tag(there.version)]
            yield PreparedPush(hub, target, module, published, plan, commit)
            return
        version = wanted or _next_version(module, published, options.bump)
        _refuse_older(target, version, published)
        if module.manifest.version != str(version):
            tag = version_tag(str(version))
            module = with_version(module, str(version), f"{target.repo_id}@{tag}", Path(scratch))
        unfinished = commit_left(hub, target, module, published)
        found = hints(directory, module.manifest, target.repo_id)
        plan = _plan(hub, target, module, published, found) if unfinished is None else _plan_of_tag(hub, target, module)
        yield PreparedPush(hub, target, module, published, plan, unfinished)


def ask_published(hub: Hub, target: Reference) -> Published:
    """What a remote holds of a module.

    Raises:
        RemoteError: The remote said no, or nothing.
    """
    try:
        with asking(hub.remote, target.repo_id):
            refs = hub.api.list_repo_refs(target.repo_id)
    except RemoteNotFoundError:
        return Published(exists=False, head=None, tags={})
    head = next((branch.target_commit for branch in refs.branches if branch.name == _MAIN), None)
    return Published(exists=True, head=head, tags={tag.name: tag.target_commit for tag in refs.tags})


def manifest_at(hub: Hub, target: Reference, revision: str) -> bytes | None:
    """The bytes of petapter.json at a revision; None where there is none."""
    try:
        with tempfile.TemporaryDirectory(prefix="petapter-") as scratch, asking(hub.remote, target.repo_id):
            path = hub.api.hf_hub_download(target.repo_id, MANIFEST_FILE, revision=revision, local_dir=scratch)
            return Path(path).read_bytes()
    except RemoteNotFoundError:
        return None


def commit_left(hub: Hub, target: Reference, module: StagedModule, published: Published) -> str | None:
    """The commit that an earlier push of this module made and did not tag, whatever was committed after it.

    Raises:
        RemoteError: The remote said no, or nothing.
    """
    if published.head is None:
        return None
    tagged = set(published.tags.values())
    headers = hub.headers
    address = f"{hub.remote.url}/api/models/{target.repo_id}/commits/{constants.DEFAULT_REVISION}"
    with asking(hub.remote, target.repo_id):
        newest = [str(commit["id"]) for commit in islice(paginate(address, {}, headers), _LOOKED_BACK)]
    untagged = (commit for commit in newest if commit not in tagged)
    return next((commit for commit in untagged if manifest_at(hub, target, commit) == module.data), None)


def _target(reference: str) -> Reference:
    target = Reference.parse(reference)
    if target.revision is not None:
        raise InvalidReferenceError(
            f"push takes no revision ({target.revision!r}): the version comes from the manifest, from --version or "
            "from --bump"
        )
    return target


def _wanted(options: PushOptions) -> Version | None:
    """The version that was asked for by its number."""
    if options.version is None:
        return None
    if options.bump is not None:
        raise InputError("--version names the version and --bump counts it: give one of them")
    try:
        return Version.parse(options.version)
    except ValueError as error:
        raise InputError(f"{options.version!r} is no version: write MAJOR.MINOR.PATCH, for example 1.2.0") from error


@dataclass(frozen=True)
class _Held:
    """A version that the remote holds, and its petapter.json."""

    version: str
    data: bytes


def _held(
    hub: Hub, target: Reference, module: StagedModule, published: Published, wanted: Version | None, bump: Bump | None
) -> _Held | None:
    """The version under which the remote already holds this module; None where it has to be sent.

    Raises:
        VersionConflictError: The version that it would get is taken by another module.
    """
    if bump is not None:
        newest = _newest(published)
        if newest is None:
            return None
        data = manifest_at(hub, target, version_tag(str(newest)))
        return _Held(str(newest), data) if data is not None and same_content(module.data, data) else None
    version = str(wanted or module.manifest.version)
    if version_tag(version) not in published.tags:
        return None
    data = manifest_at(hub, target, version_tag(version))
    if data is not None and same_content(module.data, data):
        return _Held(version, data)
    raise VersionConflictError(
        f"{target.repo_id} already holds {version} with other content, and a published version never "
        f"changes: push with {_remedy(published)}"
    )


def _newest(published: Published) -> Version | None:
    return max(published.versions, default=None)


def _next_version(module: StagedModule, published: Published, bump: Bump | None) -> Version:
    newest = _newest(published)
    if bump is None or newest is None:
        return Version.parse(module.manifest.version)
    return newest.next_version(bump)


def _refuse_older(target: Reference, version: Version, published: Published) -> None:
    blocking = blocking_version(version, published.versions)
    if blocking is not None:
        how = "newer than" if version < blocking else "as high as"
        raise VersionConflictError(
            f"{target.repo_id} already holds {blocking}, {how} {version}: push with {_remedy(published)}"
        )


def _remedy(published: Published) -> str:
    newest = _newest(published)
    return "--version 0.1.0" if newest is None else f"--version {newest.next_version('patch')}, or --bump"


def _plan_of_nothing(hub: Hub, target: Reference, held: _Held) -> PushPlan:
    return PushPlan(
        reference=_reference(hub, target, held.version),
        version=held.version,
        digest=manifest_digest(held.data),
        step="nothing",
        makes_repository=False,
        files=_all_there(held.data),
        deleted=(),
        golden_made=False,
        hints=(),
    )


def _plan_of_tag(hub: Hub, target: Reference, module: StagedModule) -> PushPlan:
    return PushPlan(
        reference=_reference(hub, target, module.manifest.version),
        version=module.manifest.version,
        digest=manifest_digest(module.data),
        step="tag",
        makes_repository=False,
        files=_all_there(module.data),
        deleted=(),
        golden_made=module.golden_made,
        hints=(),
    )


def _all_there(data: bytes) -> tuple[PlannedFile, ...]:
    sizes = ((MANIFEST_FILE, len(data)), *((file.path, file.size) for file in parse_manifest(data).files))
    return tuple(PlannedFile(path, size, "there") for path, size in sizes)


def _plan(hub: Hub, target: Reference, module: StagedModule, published: Published, found: tuple[str, ...]) -> PushPlan:
    at_head = None if published.head is None else manifest_at(hub, target, published.head)
    present = _paths_at(hub, target, published.head)
    digests = files_by_path(at_head)
    files = tuple(
        PlannedFile(file.path, file.size, _state(file.path, file.sha256, present, digests)) for file in module.files
    )
    return PushPlan(
        reference=_reference(hub, target, module.manifest.version),
        version=module.manifest.version,
        digest=manifest_digest(module.data),
        step="commit",
        makes_repository=not published.exists,
        files=files,
        deleted=tuple(sorted(present - {file.path for file in files} - _KEPT)),
        golden_made=module.golden_made,
        hints=found,
    )


def _state(path: str, sha256: str, present: set[str], digests: Mapping[str, str]) -> FileState:
    """By the petapter.json beside it; the remote is asked again for each file when they are sent."""
    if path in present and digests.get(path) == sha256:
        return "there"
    return "changed" if path in present else "new"


def _paths_at(hub: Hub, target: Reference, commit: str | None) -> set[str]:
    if commit is None:
        return set()
    with asking(hub.remote, target.repo_id):
        info = hub.api.model_info(target.repo_id, revision=commit)
    return {sibling.rfilename for sibling in info.siblings or ()}


def _reference(hub: Hub, target: Reference, version: str) -> str:
    return str(Reference(hub.remote.name, target.repo_id, version_tag(version)))
