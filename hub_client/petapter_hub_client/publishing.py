"""Push: a checked module directory becomes one commit and one version tag on a remote, or changes nothing there."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from semver import Version

from petapter_hub_client.hub import Hub, asking, open_hub, require_token
from petapter_hub_client.versions import read_version, version_tag
from petapter_schemas.ensemble import MEMBERS_FOLDER, is_ensemble
from petapter_schemas.errors import InputError, InvalidReferenceError, RemoteNotFoundError, VersionConflictError
from petapter_schemas.manifest import MANIFEST_FILE, Manifest, manifest_digest
from petapter_schemas.module_files import verify_directory
from petapter_schemas.references import Reference
from petapter_schemas.restamp import restamp_version
from petapter_schemas.version_rule import blocking_version

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
        was_there: Whether the remote already held exactly this version.
    """

    reference: str
    version: str
    commit: str
    digest: str
    size_bytes: int
    was_there: bool


@dataclass(frozen=True)
class PlannedFile:
    """A file that a push is about to send."""

    path: str
    size_bytes: int


OnPlan = Callable[[Sequence[PlannedFile]], None]
"""Called with the files just before the first of them leaves this machine."""


@dataclass(frozen=True)
class _Local:
    """The module directory, whole and checked."""

    directory: Path
    manifest: Manifest
    data: bytes

    @property
    def files(self) -> tuple[PlannedFile, ...]:
        listed = (PlannedFile(file.path, file.size) for file in self.manifest.files)
        return (PlannedFile(MANIFEST_FILE, len(self.data)), *listed)


@dataclass(frozen=True)
class _Published:
    """What the remote holds: the head of main, and commits by version tag. Without a repository, nothing."""

    exists: bool
    head: str | None
    tags: dict[str, str]


@dataclass(frozen=True)
class PushOptions:
    """How to push.

    Attributes:
        version: Stamp this version into the directory first; None pushes the version it has.
        private: Visibility of a repository that has to be made; None leaves it to the remote.
        message: Of the commit.
    """

    version: str | None = None
    private: bool | None = None
    message: str | None = None


def push(
    directory: Path, reference: str, *, options: PushOptions | None = None, on_plan: OnPlan | None = None
) -> PushedModule:
    """Publish a module directory as a version.

    Pushing the same bytes again does nothing; an interrupted push is completed by running it again.

    Args:
        directory: Holds petapter.json. It changes only when `options.version` asks for another version.
        reference: `[remote:]namespace/name`.
        options: How.
        on_plan: Hears what will be sent.

    Raises:
        ModuleError: The directory is no valid module; nothing was sent.
        VersionConflictError: The remote holds this version with other bytes, a newer version, or changed meanwhile.
        RemoteError: The remote said no, or nothing.
    """
    options = options or PushOptions()
    target = _target(reference)
    local = _read(directory)
    version = _version(options.version or local.manifest.version)
    hub = open_hub(target.remote)
    require_token(hub)
    published = _ask(hub, target)
    tag = version_tag(str(version))
    if tag in published.tags:
        return _already_there(hub, target, local, tag, published)
    _refuse_older(target, version, published)
    if local.manifest.version != str(version):
        restamp_version(directory, version=str(version), reference=f"{target.repo_id}@{tag}")
        local = _read(directory)
    if published.head is not None and _manifest_at(hub, target, published.head) == local.data:
        commit = published.head  # an earlier push got as far as its commit
    else:
        commit = _send(hub, target, local, published, options, on_plan)
    with asking(hub.remote, target.repo_id):
        hub.api.create_tag(target.repo_id, tag=tag, revision=commit)
    return _pushed(hub, target, local, commit, was_there=False)


def _target(reference: str) -> Reference:
    target = Reference.parse(reference)
    if target.revision is not None:
        raise InvalidReferenceError(
            f"push takes no revision ({target.revision!r}): the version comes from the manifest, or from --version"
        )
    return target


def _read(directory: Path) -> _Local:
    if is_ensemble(directory):
        raise InputError(
            f"{directory} is an ensemble, and remotes hold single modules: push those in its folder {MEMBERS_FOLDER}/"
        )
    manifest = verify_directory(directory)
    return _Local(directory, manifest, (directory / MANIFEST_FILE).read_bytes())


def _version(text: str) -> Version:
    try:
        return Version.parse(text)
    except ValueError as error:
        raise InputError(f"{text!r} is no version: write MAJOR.MINOR.PATCH, for example 1.2.0") from error


def _ask(hub: Hub, target: Reference) -> _Published:
    try:
        with asking(hub.remote, target.repo_id):
            refs = hub.api.list_repo_refs(target.repo_id)
    except RemoteNotFoundError:
        return _Published(exists=False, head=None, tags={})
    head = next((branch.target_commit for branch in refs.branches if branch.name == _MAIN), None)
    return _Published(exists=True, head=head, tags={tag.name: tag.target_commit for tag in refs.tags})


def _already_there(hub: Hub, target: Reference, local: _Local, tag: str, published: _Published) -> PushedModule:
    if version_tag(local.manifest.version) == tag and _manifest_at(hub, target, tag) == local.data:
        return _pushed(hub, target, local, published.tags[tag], was_there=True)
    raise VersionConflictError(
        f"{target.repo_id} already holds {tag.removeprefix('v')} with other content, and a published version never "
        f"changes: push with --version {_next_version(published)}"
    )


def _refuse_older(target: Reference, version: Version, published: _Published) -> None:
    versions = (found for tag in published.tags if (found := read_version(tag)) is not None)
    blocking = blocking_version(version, versions)
    if blocking is not None:
        how = "newer than" if version < blocking else "as high as"
        raise VersionConflictError(
            f"{target.repo_id} already holds {blocking}, {how} {version}: "
            f"push with --version {_next_version(published)}"
        )


def _newest(published: _Published) -> Version | None:
    return max((found for tag in published.tags if (found := read_version(tag)) is not None), default=None)


def _next_version(published: _Published) -> str:
    newest = _newest(published)
    return "0.1.0" if newest is None else str(newest.bump_patch())


def _manifest_at(hub: Hub, target: Reference, revision: str) -> bytes | None:
    try:
        with tempfile.TemporaryDirectory(prefix="petapter-") as scratch, asking(hub.remote, target.repo_id):
            path = hub.api.hf_hub_download(target.repo_id, MANIFEST_FILE, revision=revision, local_dir=scratch)
            return Path(path).read_bytes()
    except RemoteNotFoundError:
        return None


def _send(
    hub: Hub, target: Reference, local: _Local, published: _Published, options: PushOptions, on_plan: OnPlan | None
) -> str:
    if on_plan is not None:
        on_plan(local.files)
    with asking(hub.remote, target.repo_id):
        if not published.exists:
            hub.api.create_repo(target.repo_id, private=options.private, exist_ok=True)
            published = _ask(hub, target)
        commit = hub.api.create_commit(
            target.repo_id,
            _operations(local, _paths_at(hub, target, published.head)),
            commit_message=options.message or f"{local.manifest.name} {local.manifest.version}",
            parent_commit=published.head,
        )
    return commit.oid


def _paths_at(hub: Hub, target: Reference, commit: str | None) -> set[str]:
    if commit is None:
        return set()
    info = hub.api.model_info(target.repo_id, revision=commit)
    return {sibling.rfilename for sibling in info.siblings or ()}


def _operations(local: _Local, present: set[str]) -> list[CommitOperationAdd | CommitOperationDelete]:
    """Send every file of the module, and delete what the module no longer has."""
    wanted = {file.path for file in local.files}
    adds = [CommitOperationAdd(path, local.directory / path) for path in sorted(wanted)]
    deletes = [CommitOperationDelete(path, is_folder=False) for path in sorted(present - wanted - _KEPT)]
    return [*adds, *deletes]


def _pushed(hub: Hub, target: Reference, local: _Local, commit: str, *, was_there: bool) -> PushedModule:
    version = local.manifest.version
    return PushedModule(
        reference=str(Reference(hub.remote.name, target.repo_id, version_tag(version))),
        version=version,
        commit=commit,
        digest=manifest_digest(local.data),
        size_bytes=sum(file.size_bytes for file in local.files),
        was_there=was_there,
    )
