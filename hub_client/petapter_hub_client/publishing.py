"""Push: a checked module directory becomes one commit and one version tag on a remote, or changes nothing there."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import CommitOperationAdd, CommitOperationDelete
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


@dataclass(frozen=True)
class PushedModule:
    """A version on a remote.

    Attributes:
        reference: With remote and version tag; `petapter pull` takes it.
        version: Of the module.
        commit: 40 hex digits.
        digest: sha256 of petapter.json, which names the module version.
        size_bytes: Of all files.
        was_there: Whether the remote already held this module as a version; then nothing was sent.
    """

    reference: str
    version: str
    commit: str
    digest: str
    size_bytes: int
    was_there: bool


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


OnPlan = Callable[[PushPlan], None]
"""Called with what will be done, before anything is written on the remote."""


@dataclass(frozen=True)
class _Published:
    """What the remote holds: the head of main, and commits by version tag. Without a repository, nothing."""

    exists: bool
    head: str | None
    tags: dict[str, str]

    @property
    def versions(self) -> list[Version]:
        return [found for tag in self.tags if (found := read_version(tag)) is not None]


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


def push(
    directory: Path, reference: str, *, options: PushOptions | None = None, on_plan: OnPlan | None = None
) -> PushedModule:
    """Publish a module directory as a version.

    Pushing the same module again does nothing; an interrupted push is completed by running it again. The directory is
    never written: another version is sent from a copy.

    Args:
        directory: Holds petapter.json. Without golden outputs these are computed, where torch and the backbone are.
        reference: `[remote:]namespace/name`.
        options: How.
        on_plan: Hears what will be done.

    Raises:
        ModuleError: The directory is no valid module; nothing was sent.
        VersionConflictError: The remote holds this version with other bytes, a newer version, or changed meanwhile.
        RemoteError: The remote said no, or nothing.
    """
    with _prepared(directory, reference, options or PushOptions()) as prepared:
        if on_plan is not None:
            on_plan(prepared.plan)
        return prepared.carry_out()


def plan_push(directory: Path, reference: str, *, options: PushOptions | None = None) -> PushPlan:
    """What `push` would do; nothing is uploaded or written.

    Raises:
        PetapterError: As `push`.
    """
    with _prepared(directory, reference, options or PushOptions()) as prepared:
        return prepared.plan


@dataclass(frozen=True)
class _Prepared:
    """Everything is known, and nothing is written yet."""

    hub: Hub
    target: Reference
    module: StagedModule
    published: _Published
    plan: PushPlan
    options: PushOptions

    def carry_out(self) -> PushedModule:
        tag = version_tag(self.plan.version)
        if self.plan.step == "nothing":
            return self._pushed(self.published.tags[tag])
        commit = self._send() if self.plan.step == "commit" else str(self.published.head)
        with asking(self.hub.remote, self.target.repo_id):
            self.hub.api.create_tag(self.target.repo_id, tag=tag, revision=commit)
        return self._pushed(commit)

    def _send(self) -> str:
        """One commit of all files; huggingface_hub asks the remote which content it has and sends the rest."""
        hub, repo_id, published = self.hub, self.target.repo_id, self.published
        with asking(hub.remote, repo_id):
            if not published.exists:
                hub.api.create_repo(repo_id, private=self.options.private, exist_ok=True)
                published = _ask(hub, self.target)
            adds = [CommitOperationAdd(file.path, self.module.directory / file.path) for file in self.plan.files]
            deletes = [CommitOperationDelete(path, is_folder=False) for path in self.plan.deleted]
            commit = hub.api.create_commit(
                repo_id,
                [*adds, *deletes],
                commit_message=self.options.message or f"{self.module.manifest.name} {self.plan.version}",
                parent_commit=published.head,
            )
        return commit.oid

    def _pushed(self, commit: str) -> PushedModule:
        plan = self.plan
        return PushedModule(
            reference=plan.reference,
            version=plan.version,
            commit=commit,
            digest=plan.digest,
            size_bytes=sum(file.size_bytes for file in plan.files),
            was_there=plan.step == "nothing",
        )


@contextmanager
def _prepared(directory: Path, reference: str, options: PushOptions) -> Iterator[_Prepared]:
    target = _target(reference)
    wanted = _wanted(options)
    with tempfile.TemporaryDirectory(prefix="petapter-push-") as scratch:
        module = read_module(directory, Path(scratch))
        hub = open_hub(target.remote)
        require_token(hub)
        published = _ask(hub, target)
        there = _held(hub, target, module, published, wanted, options.bump)
        if there is not None:
            plan = _plan_of_nothing(hub, target, there)
        else:
            version = wanted or _next_version(module, published, options.bump)
            _refuse_older(target, version, published)
            if module.manifest.version != str(version):
                tag = version_tag(str(version))
                module = with_version(module, str(version), f"{target.repo_id}@{tag}", Path(scratch))
            plan = _plan(hub, target, module, published, hints(directory, module.manifest, target.repo_id))
        yield _Prepared(hub, target, module, published, plan, options)


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


def _ask(hub: Hub, target: Reference) -> _Published:
    try:
        with asking(hub.remote, target.repo_id):
            refs = hub.api.list_repo_refs(target.repo_id)
    except RemoteNotFoundError:
        return _Published(exists=False, head=None, tags={})
    head = next((branch.target_commit for branch in refs.branches if branch.name == _MAIN), None)
    return _Published(exists=True, head=head, tags={tag.name: tag.target_commit for tag in refs.tags})


@dataclass(frozen=True)
class _Held:
    """A version that the remote holds, and its petapter.json."""

    version: str
    data: bytes


def _held(
    hub: Hub, target: Reference, module: StagedModule, published: _Published, wanted: Version | None, bump: Bump | None
) -> _Held | None:
    """The version under which the remote already holds this module; None where it has to be sent.

    Raises:
        VersionConflictError: The version that it would get is taken by another module.
    """
    if bump is not None:
        newest = _newest(published)
        if newest is None:
            return None
        data = _manifest_at(hub, target, version_tag(str(newest)))
        return _Held(str(newest), data) if data is not None and same_content(module.data, data) else None
    version = str(wanted or module.manifest.version)
    if version_tag(version) not in published.tags:
        return None
    data = _manifest_at(hub, target, version_tag(version))
    if data is not None and same_content(module.data, data):
        return _Held(version, data)
    raise VersionConflictError(
        f"{target.repo_id} already holds {version} with other content, and a published version never "
        f"changes: push with {_remedy(published)}"
    )


def _newest(published: _Published) -> Version | None:
    return max(published.versions, default=None)


def _next_version(module: StagedModule, published: _Published, bump: Bump | None) -> Version:
    newest = _newest(published)
    if bump is None or newest is None:
        return Version.parse(module.manifest.version)
    return newest.next_version(bump)


def _refuse_older(target: Reference, version: Version, published: _Published) -> None:
    blocking = blocking_version(version, published.versions)
    if blocking is not None:
        how = "newer than" if version < blocking else "as high as"
        raise VersionConflictError(
            f"{target.repo_id} already holds {blocking}, {how} {version}: push with {_remedy(published)}"
        )


def _remedy(published: _Published) -> str:
    newest = _newest(published)
    return "--version 0.1.0" if newest is None else f"--version {newest.next_version('patch')}, or --bump"


def _manifest_at(hub: Hub, target: Reference, revision: str) -> bytes | None:
    try:
        with tempfile.TemporaryDirectory(prefix="petapter-") as scratch, asking(hub.remote, target.repo_id):
            path = hub.api.hf_hub_download(target.repo_id, MANIFEST_FILE, revision=revision, local_dir=scratch)
            return Path(path).read_bytes()
    except RemoteNotFoundError:
        return None


def _plan_of_nothing(hub: Hub, target: Reference, held: _Held) -> PushPlan:
    manifest = parse_manifest(held.data)
    sizes = ((MANIFEST_FILE, len(held.data)), *((file.path, file.size) for file in manifest.files))
    return PushPlan(
        reference=_reference(hub, target, held.version),
        version=held.version,
        digest=manifest_digest(held.data),
        step="nothing",
        makes_repository=False,
        files=tuple(PlannedFile(path, size, "there") for path, size in sizes),
        deleted=(),
        golden_made=False,
        hints=(),
    )


def _plan(hub: Hub, target: Reference, module: StagedModule, published: _Published, found: tuple[str, ...]) -> PushPlan:
    at_head = None if published.head is None else _manifest_at(hub, target, published.head)
    is_committed = at_head == module.data
    present = _paths_at(hub, target, published.head)
    digests = files_by_path(at_head)
    files = tuple(
        PlannedFile(file.path, file.size, _state(file.path, file.sha256, present, digests, is_whole=is_committed))
        for file in module.files
    )
    return PushPlan(
        reference=_reference(hub, target, module.manifest.version),
        version=module.manifest.version,
        digest=manifest_digest(module.data),
        step="tag" if is_committed else "commit",
        makes_repository=not published.exists,
        files=files,
        deleted=() if is_committed else tuple(sorted(present - {file.path for file in files} - _KEPT)),
        golden_made=module.golden_made,
        hints=found,
    )


def _state(path: str, sha256: str, present: set[str], digests: Mapping[str, str], *, is_whole: bool) -> FileState:
    """By the petapter.json beside it; the remote is asked again for each file when they are sent."""
    if is_whole or (path in present and digests.get(path) == sha256):
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
