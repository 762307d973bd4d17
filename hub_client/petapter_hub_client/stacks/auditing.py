"""Audit: what the remotes say today of the modules that a stack.lock has fixed; changes nothing, fetches no weights."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from petapter_hub_client.cache import cached_repository
from petapter_hub_client.hub import Hub, asking, open_hub
from petapter_hub_client.maintaining import find_detail
from petapter_hub_client.remotes import find_policy, list_remotes
from petapter_hub_client.resolving import Resolved, read_remote_manifest
from petapter_hub_client.signing.policies import check_files, policy_problem
from petapter_hub_client.signing.statements import Signed
from petapter_hub_client.signing.stored import fetch_signatures
from petapter_hub_client.versions import newest_tag, read_version, version_tag
from petapter_schemas.errors import (
    ManifestError,
    RemoteError,
    RemoteNotFoundError,
    StackError,
)
from petapter_schemas.manifest import EvaluationSpec, manifest_digest, parse_manifest
from petapter_schemas.references import Reference
from petapter_schemas.registry_api import ModuleDetail
from petapter_schemas.stack import MAX_LOCK_BYTES, LockedModule, StackLock, parse_lock

Kind = Literal["gone", "changed", "yanked", "disputed", "unsigned", "unknown remote", "superseded", "not asked"]

_ACTION: frozenset[Kind] = frozenset({"gone", "changed", "yanked", "disputed", "unsigned", "unknown remote"})
_SHOWN = 12


@dataclass(frozen=True)
class AuditFinding:
    """One thing that is to be known about a locked module.

    Attributes:
        kind: `gone`: the remote no longer has it. `changed`: it has other bytes at that commit. `yanked`: its
            maintainers withdrew it. `disputed`: a figure of it was not reproduced. `unsigned`: the policy of the remote
            does not accept it. `unknown remote`: there is no remote of that name at that address here. `superseded`:
            there is a newer version. `not asked`: the remote does not answer.
        detail: One line for people.
    """

    kind: Kind
    detail: str

    @property
    def demands_action(self) -> bool:
        """Whether somebody must do something before the stack is used on."""
        return self.kind in _ACTION


@dataclass(frozen=True)
class AuditedModule:
    """A locked module.

    Attributes:
        name: The alias or, of a member, the alias and its number.
        reference: As it was resolved when it was locked; None for a directory, which no remote is asked about.
        commit: 40 hex digits; likewise.
        newest: The newest version on the remote; None where that is not known.
        findings: What demands action first; nothing where all is well.
    """

    name: str
    reference: str | None
    commit: str | None
    newest: str | None
    findings: tuple[AuditFinding, ...]

    @property
    def demands_action(self) -> bool:
        """Whether one of the findings does."""
        return any(finding.demands_action for finding in self.findings)


@dataclass(frozen=True)
class Audit:
    """All modules of a lock, in its order."""

    lock: Path
    modules: tuple[AuditedModule, ...]

    @property
    def demands_action(self) -> bool:
        """Whether one of the modules does."""
        return any(module.demands_action for module in self.modules)

    @property
    def is_complete(self) -> bool:
        """Whether every remote was asked."""
        return not any(finding.kind == "not asked" for module in self.modules for finding in module.findings)


def audit(lock: Path, *, on_module: Callable[[str], None] | None = None) -> Audit:
    """Ask the remotes about every module of a lock.

    Args:
        lock: A stack.lock, or the stack.yaml beside it.
        on_module: Hears the name of each before it is asked about.

    Raises:
        StackError: There is no lock, or it cannot be read.
    """
    path = lock.with_suffix(".lock") if lock.suffix in {".yaml", ".yml"} else lock
    asker = _Asker({})
    modules = []
    for module in _read(path).modules:
        if on_module is not None:
            on_module(module.name)
        modules.append(asker.audit(module))
    return Audit(path, tuple(modules))


def _read(path: Path) -> StackLock:
    try:
        with path.open("rb") as stream:
            return parse_lock(stream.read(MAX_LOCK_BYTES + 1), source=str(path))
    except FileNotFoundError as error:
        raise StackError(f"there is no {path}: run 'petapter stack lock', or name the lock") from error
    except OSError as error:
        raise StackError(f"{path} cannot be read: {error.strerror}") from error


@dataclass(frozen=True)
class _Asker:
    """Asks remotes, each of which is reached once; one that does not answer is not asked again."""

    reached: "dict[str, Hub | RemoteError]"

    def audit(self, module: LockedModule) -> AuditedModule:
        """One module."""
        exact = module.exact_reference
        if exact is None:
            return AuditedModule(module.name, None, None, None, ())
        try:
            newest, findings = self._ask(module, exact)
        except RemoteNotFoundError as error:
            newest, findings = None, [AuditFinding("gone", str(error))]
        except RemoteError as error:
            newest, findings = None, [AuditFinding("not asked", str(error))]
        ordered = sorted(findings, key=lambda finding: not finding.demands_action)
        return AuditedModule(module.name, module.reference, module.commit, newest, tuple(ordered))

    def _ask(self, module: LockedModule, exact: Reference) -> tuple[str | None, list[AuditFinding]]:
        if (problem := _unknown_remote(module, exact)) is not None:
            return None, [problem]
        hub = self._reach(str(exact.remote))
        manifest = _manifest_there(hub, exact)
        detail = find_detail(hub, exact.repo_id)
        newest = _newest(hub, exact.repo_id, detail)
        findings = [] if detail is None else _yanked(detail, exact)
        findings += _disputed(detail, exact, manifest) + _superseded(module, newest)
        return newest, findings + _unsigned(hub, exact, module.digest) + _changed(manifest, module)

    def _reach(self, name: str) -> Hub:
        if name not in self.reached:
            try:
                self.reached[name] = open_hub(name)
            except RemoteError as error:
                self.reached[name] = error
        found = self.reached[name]
        if isinstance(found, RemoteError):
            raise found
        return found


def _unknown_remote(module: LockedModule, exact: Reference) -> AuditFinding | None:
    known = {remote.name: remote.url for remote in list_remotes()}
    name = str(exact.remote)
    if known.get(name) == module.url:
        return None
    how = f"is {known[name]} here" if name in known else "is not known here"
    return AuditFinding("unknown remote", f"remote {name!r} {how}; the lock means {module.url}")


def _manifest_there(hub: Hub, exact: Reference) -> bytes:
    """What the locked commit says now. Raises: RemoteNotFoundError: It is gone."""
    with asking(hub.remote, str(exact)):
        return read_remote_manifest(hub, Resolved(hub.remote, exact.repo_id, str(exact.revision), str(exact.revision)))


def _newest(hub: Hub, repo_id: str, detail: ModuleDetail | None) -> str | None:
    if detail is not None:
        return None if detail.latest is None else version_tag(detail.latest)
    with asking(hub.remote, repo_id):
        return newest_tag(tag.name for tag in hub.api.list_repo_refs(repo_id).tags)


def _yanked(detail: ModuleDetail, exact: Reference) -> list[AuditFinding]:
    return [
        AuditFinding("yanked", f"{version.tag} was yanked: {version.yanked.reason}")
        for version in detail.versions
        if version.commit == exact.revision and version.yanked is not None
    ]


def _disputed(detail: ModuleDetail | None, exact: Reference, manifest: bytes) -> list[AuditFinding]:
    """By what a registry says of the version now, else by what the module says of itself."""
    version = next((one for one in detail.versions if one.commit == exact.revision), None) if detail else None
    if version is not None:
        figures = [(one.metric, one.evaluation_set) for one in version.metrics if one.status == "disputed"]
    else:
        figures = [(one.metric, one.evaluation_set.name) for one in _evaluation(manifest) if one.status == "disputed"]
    return [AuditFinding("disputed", f"its {metric} on {rows} was not reproduced") for metric, rows in figures]


def _evaluation(manifest: bytes) -> Sequence[EvaluationSpec]:
    try:
        return parse_manifest(manifest).evaluation
    except ManifestError:  # the digest is compared elsewhere
        return ()


def _superseded(module: LockedModule, newest: str | None) -> list[AuditFinding]:
    locked = read_version(str(Reference.parse(str(module.reference)).revision))
    latest = None if newest is None else read_version(newest)
    if locked is None or latest is None or latest <= locked:
        return []
    command = f"'petapter stack lock --upgrade-module {module.alias}'"
    return [AuditFinding("superseded", f"{newest} is newer: name it in stack.yaml, or {command}")]


def _unsigned(hub: Hub, exact: Reference, digest: str) -> list[AuditFinding]:
    policy = find_policy(exact.remote)
    if not policy.asks_for_signatures:
        return []
    files = fetch_signatures(hub, exact.repo_id, digest, cached_repository(hub.remote, exact.repo_id))
    problem = policy_problem(policy, exact.repo_id, check_files(files, Signed(digest, exact.repo_id)))
    return [] if problem is None else [AuditFinding("unsigned", problem)]


def _changed(manifest: bytes, module: LockedModule) -> list[AuditFinding]:
    found = manifest_digest(manifest)
    if found == module.digest:
        return []
    return [
        AuditFinding("changed", f"the remote has {found[:_SHOWN]} at that commit, locked is {module.digest[:_SHOWN]}")
    ]
