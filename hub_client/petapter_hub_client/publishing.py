"""Push: a checked module directory becomes one commit and one version tag on a remote, or changes nothing there."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from petapter_hub_client.fetching import OnProgress
from petapter_hub_client.hub import asking
from petapter_hub_client.large_files import LocalFile
from petapter_hub_client.push_plans import (
    PreparedPush,
    Published,
    PushOptions,
    PushPlan,
    ask_published,
    commit_left,
    manifest_at,
    prepared_push,
)
from petapter_hub_client.uploading import NewCommit, commit_files
from petapter_hub_client.versions import version_tag
from petapter_schemas.digests import sha256_bytes
from petapter_schemas.errors import VersionConflictError
from petapter_schemas.manifest import MANIFEST_FILE

OnPlan = Callable[[PushPlan], None]
"""Called with what will be done, before anything is written on the remote."""


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


def push(
    directory: Path,
    reference: str,
    *,
    options: PushOptions | None = None,
    on_plan: OnPlan | None = None,
    on_progress: OnProgress | None = None,
) -> PushedModule:
    """Publish a module directory as a version.

    Pushing the same module again does nothing; an interrupted push is completed by running it again. The directory is
    never written: another version is sent from a copy.

    Args:
        directory: Holds petapter.json. Without golden outputs these are computed, where torch and the backbone are.
        reference: `[remote:]namespace/name`.
        options: How.
        on_plan: Hears what will be done.
        on_progress: Hears of bytes as they leave.

    Raises:
        ModuleError: The directory is no valid module; nothing was sent.
        VersionConflictError: The remote holds this version with other bytes, a newer version, or changed meanwhile.
        RemoteError: The remote said no, or nothing; large files that arrived are not sent again.
    """
    options = options or PushOptions()
    with prepared_push(directory, reference, options) as prepared:
        if on_plan is not None:
            on_plan(prepared.plan)
        if prepared.plan.step == "nothing":
            return _pushed(prepared, str(prepared.commit))
        commit = prepared.commit or _send(prepared, options, on_progress or _nobody)
        return _pushed(prepared, _tag(prepared, commit))


def plan_push(directory: Path, reference: str, *, options: PushOptions | None = None) -> PushPlan:
    """What `push` would do; nothing is uploaded or written.

    Raises:
        PetapterError: As `push`.
    """
    with prepared_push(directory, reference, options or PushOptions()) as prepared:
        return prepared.plan


def _send(prepared: PreparedPush, options: PushOptions, on_progress: OnProgress) -> str:
    """One commit of all files that the remote has not."""
    hub, repo_id, published, plan = prepared.hub, prepared.target.repo_id, prepared.published, prepared.plan
    if not published.exists:
        with asking(hub.remote, repo_id):
            hub.api.create_repo(repo_id, private=options.private, exist_ok=True)
        published = ask_published(hub, prepared.target)
    sent = {file.path for file in plan.files if file.state != "there"}
    done, total = 0, plan.sent_bytes

    def on_bytes(path: str, more: int) -> None:
        nonlocal done
        done += more if path in sent else 0
        on_progress(path, done, total)

    commit = NewCommit(
        message=options.message or f"{prepared.module.manifest.name} {plan.version}",
        parent=published.head,
        adds=_local_files(prepared),
        deletes=plan.deleted,
    )
    try:
        return commit_files(hub, repo_id, commit, on_bytes)
    except VersionConflictError:
        made = _made_meanwhile(prepared)
        if made is None:
            raise
        return made


def _made_meanwhile(prepared: PreparedPush) -> str | None:
    """The commit of these very bytes that somebody made since the plan: a push of the same module at the same time, or
    the last request of an interrupted one, which arrived late.
    """
    hub, target, module = prepared.hub, prepared.target, prepared.module
    published = ask_published(hub, target)
    return _tagged(prepared, published) or commit_left(hub, target, module, published)


def _tagged(prepared: PreparedPush, published: Published) -> str | None:
    """The commit that has the version's tag, if these very bytes are in it."""
    there = published.tags.get(version_tag(prepared.plan.version))
    same = there is not None and manifest_at(prepared.hub, prepared.target, there) == prepared.module.data
    return there if same else None


def _local_files(prepared: PreparedPush) -> tuple[LocalFile, ...]:
    module = prepared.module
    own = sha256_bytes(module.data)
    return tuple(
        LocalFile(
            file.path, module.directory / file.path, file.size, own if file.path == MANIFEST_FILE else file.sha256
        )
        for file in module.files
    )


def _tag(prepared: PreparedPush, commit: str) -> str:
    """Give a commit its version tag; of two pushes of the same bytes at once both succeed, and mean one commit."""
    hub, target, tag = prepared.hub, prepared.target, version_tag(prepared.plan.version)
    try:
        with asking(hub.remote, target.repo_id):
            hub.api.create_tag(target.repo_id, tag=tag, revision=commit)
    except VersionConflictError:
        there = _tagged(prepared, ask_published(hub, target))
        if there is None:
            raise
        return there
    return commit


def _pushed(prepared: PreparedPush, commit: str) -> PushedModule:
    plan = prepared.plan
    return PushedModule(
        reference=plan.reference,
        version=plan.version,
        commit=commit,
        digest=plan.digest,
        size_bytes=sum(file.size_bytes for file in plan.files),
        was_there=plan.step == "nothing",
    )


def _nobody(_path: str, _done: int, _total: int) -> None:
    """Hears of the progress where nobody asked."""
