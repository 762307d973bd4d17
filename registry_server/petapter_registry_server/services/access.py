"""Who is asking, and what they may see and change: looks up what services/policy.py decides by."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db import accounts, evaluation_sets, former_names, memberships, repositories
from petapter_registry_server.db.accounts import TokenHolder
from petapter_registry_server.db.answers import State
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.evaluation_set_tables import EvaluationSet
from petapter_registry_server.db.tables import Namespace, Repository
from petapter_registry_server.db.visibility import Viewer
from petapter_registry_server.errors import (
    EvaluationSetNotFoundAnonymouslyError,
    EvaluationSetNotFoundError,
    InvalidTokenError,
    NameRetiredError,
    OrganisationNotFoundError,
    PassingError,
    PermissionDeniedError,
    RegistryError,
    RepositoryMovedError,
    RepositoryNotFoundAnonymouslyError,
    RepositoryNotFoundError,
)
from petapter_registry_server.services.callers import ANONYMOUS, CONSOLE, Caller
from petapter_registry_server.services.patterns import whole_namespace
from petapter_registry_server.services.policy import Standing, granted, refusal, require_token
from petapter_registry_server.services.roles import Role, reaches, read_role
from petapter_schemas.errors import InvalidNameError
from petapter_schemas.names import name_key, split_repo_id

__all__ = ["ANONYMOUS", "CONSOLE", "Access", "Caller", "Need", "require_write_role", "token_sha256"]

Resource = Literal["public", "signed", "registry", "account", "organisation", "repository", "evalset", "site"]
"""`signed` is what an address or a token made by services/signed_addresses.py allows."""
_USE_NOTED_EVERY_MS = 60_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Need:
    """What a route does to what; `name` is None where only the body names it, so that the service has to look."""

    resource: Resource
    action: Role
    name: str | None = None


def token_sha256(token: str) -> str:
    """What the database holds of a token. A token has 256 random bits, so a slow password hash would add nothing."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class Access:
    """Decides for one registry. A repository that a caller may not see does not exist for that caller."""

    def __init__(self, database: Database, *, anonymous_may_read: bool) -> None:
        self._database = database
        self._anonymous_may_read = anonymous_may_read

    async def state(self) -> State | None:
        """What the database holds now, for `authenticate`; None where that cannot be told."""
        return await self._database.state_soon()

    def anonymous(self) -> Caller:
        """A caller who names nobody."""
        return self.authenticate(None, self._database.state())

    def authenticate(self, authorization: str | None, state: State | None) -> Caller:
        """The caller that an Authorization header names; no header is an anonymous caller.

        Args:
            authorization: The header.
            state: What the database held when the request was there.

        Raises:
            InvalidTokenError: The header holds no token of this registry, or one that is revoked or has expired.
        """
        if authorization is None:
            return replace(ANONYMOUS, state=state)
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise InvalidTokenError
        digest = token_sha256(token.strip())
        return self._recognise(
            ("token", digest), state, lambda session, now: accounts.find_holder(session, digest, at_ms=now)
        )

    def recognise(self, token_id: int) -> Caller:
        """The caller whom a token stands for that somebody proved to hold before.

        Raises:
            InvalidTokenError: It is revoked or has expired, or its user is disabled.
        """
        return self._recognise(
            ("token id", token_id),
            self._database.state(),
            lambda session, now: accounts.find_holder_of(session, token_id, at_ms=now),
        )

    def _recognise(
        self,
        key: tuple[str, str | int],
        state: State | None,
        find: Callable[[Session, int], TokenHolder | None],
    ) -> Caller:
        now = now_ms()

        def read() -> TokenHolder:
            with self._database.read() as session:
                holder = find(session, now)
            if holder is None:
                raise InvalidTokenError
            return holder

        holder = self._database.answers.recall(state, key, read)
        if holder.expires_ms is not None and holder.expires_ms <= now:
            raise InvalidTokenError
        self._note_use(holder, now)
        return replace(_caller(holder), state=state)

    def admit(self, caller: Caller, need: Need) -> Caller:
        """The caller of a route, refused unless the route's need is met, and held to it.

        Raises:
            RepositoryNotFoundError: The repository does not exist for this caller.
            OrganisationNotFoundError: The organisation does not.
            EvaluationSetNotFoundError: The evaluation set does not.
            LoginRequiredError: The caller is anonymous.
            PermissionDeniedError: The caller's role or the token's scope is too small.
        """
        caller = caller.narrowed(need.action)
        if need.resource == "site" and not caller.is_admin:
            require_token(caller, need.action)
            raise PermissionDeniedError("only an admin of this registry may do that: use an admin's token")
        if need.resource in {"repository", "organisation", "evalset"} and need.name is not None:
            self._database.answers.recall(caller.state, ("admit", caller, need), lambda: self._find(caller, need))
        elif need.resource not in {"public", "registry"}:
            require_token(caller, need.action)
        return caller

    def may_be_elsewhere(self, caller: Caller, repo_id: str) -> bool:
        """Whether a caller who may see what is public may have meant another Hub's repository.

        A namespace that exists here, or looks like one that does, hides all of that name: who founds `acme` here must
        not get what somebody else put under `acme` there.
        """
        try:
            namespace, _ = split_repo_id(repo_id)
        except InvalidNameError:
            return False
        if not self.viewer(caller).sees_public:
            return False
        with self._database.read() as session:
            return accounts.find_namespace(session, name_key(namespace)) is None

    def _find(self, caller: Caller, need: Need) -> None:
        finders = {"repository": self.require, "evalset": self.evaluation_set}
        with self._database.read() as session:
            finders.get(need.resource, self.organisation)(session, caller, need.name or "", need.action)

    def viewer(self, caller: Caller) -> Viewer:
        """What the caller may see in lists."""
        sees_public = self._anonymous_may_read or not caller.is_anonymous
        return Viewer(caller.user_id, sees_all=caller.is_admin, sees_public=sees_public, pattern=caller.pattern)

    def readable(self, session: Session, caller: Caller, repo_id: str) -> Repository:
        """The repository, when the caller may read it. Raises: as `require`."""
        return self.require(session, caller, repo_id, "read")

    def writable(self, session: Session, caller: Caller, repo_id: str) -> Repository:
        """The repository, when the caller may commit and make branches and tags. Raises: as `require`."""
        return self.require(session, caller, repo_id, "write")

    def maintainable(self, session: Session, caller: Caller, repo_id: str) -> Repository:
        """The repository, when the caller may take back what was published. Raises: as `require`."""
        return self.require(session, caller, repo_id, "maintain")

    def administrable(self, session: Session, caller: Caller, repo_id: str) -> Repository:
        """The repository, when the caller may delete and hide it and grant rights to it. Raises: as `require`."""
        return self.require(session, caller, repo_id, "admin")

    def require(self, session: Session, caller: Caller, repo_id: str, needed: Role) -> Repository:
        """The repository, when the caller's role there reaches `needed`.

        Raises:
            RepositoryNotFoundError: There is none, or none for this caller.
            RepositoryMovedError: It has another name by now.
            NameRetiredError: It has another owner by now.
            LoginRequiredError: The caller sees it but is anonymous.
            PermissionDeniedError: The caller sees it but may not do that.
        """
        repository = _find(session, repo_id)
        if repository is None:
            self._lead_on(session, caller, repo_id)
            raise _not_found(caller, repo_id)
        _check(caller, self._standing(session, caller, repository), needed, _not_found(caller, repo_id))
        return repository

    def evaluation_set(self, session: Session, caller: Caller, full_name: str, needed: Role) -> EvaluationSet:
        """The evaluation set, when the caller's role in its namespace reaches `needed`.

        A token for one repository alone is for no evaluation set.

        Raises:
            EvaluationSetNotFoundError: There is none, or none for this caller.
            LoginRequiredError: The caller sees it but is anonymous.
            PermissionDeniedError: The caller sees it but may not do that.
        """
        missing = _no_set(caller, full_name)
        found = None if _is_no_name(full_name) else evaluation_sets.find_set(session, full_name)
        if found is None:
            raise missing
        role = None if caller.user_id is None else memberships.role_in(session, found.namespace_id, caller.user_id)
        is_open = not found.private and self.viewer(caller).sees_public
        place = whole_namespace(found.full_name.partition("/")[0])
        _check(caller, Standing(place, read_role(role) if role else None, is_open=is_open), needed, missing)
        return found

    def role(self, session: Session, caller: Caller, repository: Repository) -> Role | None:
        """The most that the caller may do to a repository, whatever route asks; None where it may not be seen."""
        return granted(replace(caller, ceiling="admin"), self._standing(session, caller, repository))

    def belongs(self, session: Session, caller: Caller, repository: Repository) -> bool:
        """Whether the caller has a role on a repository, and not just leave to read what is open."""
        return granted(caller, replace(self._standing(session, caller, repository), is_open=False)) is not None

    def _standing(self, session: Session, caller: Caller, repository: Repository) -> Standing:
        role = None if caller.user_id is None else memberships.role_on(session, repository, caller.user_id)
        is_open = not repository.private and self.viewer(caller).sees_public
        return Standing(repository.full_name, read_role(role) if role else None, is_open=is_open)

    def _lead_on(self, session: Session, caller: Caller, repo_id: str) -> None:
        """Tell callers who may read it what a repository is called by now, if it had this name once."""
        found = None if "\0" in repo_id else former_names.find_former(session, repo_id)
        if found is None:
            return
        former, repository = found
        standing = self._standing(session, caller, repository)
        if not standing.is_open and granted(caller, standing) is None:
            return
        if former.leads_on:
            raise RepositoryMovedError(repo_id, repository.full_name)
        raise NameRetiredError(f"{repo_id} belongs to another namespace by now: ask for {repository.full_name}")

    def organisation(self, session: Session, caller: Caller, name: str, needed: Role) -> Namespace:
        """The organisation, when the caller's role there reaches `needed`; it exists for members and admins alone.

        Raises:
            OrganisationNotFoundError: There is none for this caller.
            LoginRequiredError: The caller is anonymous.
            PermissionDeniedError: The caller's role or the token's scope is too small.
        """
        require_token(caller, "read")
        namespace = accounts.find_namespace(session, name_key(name))
        if namespace is None or namespace.name.lower() != name.lower() or namespace.user_id is not None:
            raise OrganisationNotFoundError(name)
        standing = namespace_standing(session, caller, namespace)
        acting = granted(caller, standing)
        if acting is None and standing.role is None:
            raise OrganisationNotFoundError(name)
        if not reaches(acting, needed):
            raise refusal(caller, standing, needed)
        return namespace

    def _note_use(self, holder: TokenHolder, now: int) -> None:
        """Write down that a token is in use; a registry whose disk is full still answers."""
        before = now - _USE_NOTED_EVERY_MS
        if holder.last_used_ms is not None and holder.last_used_ms > before:
            return
        try:
            with self._database.write() as session:
                accounts.note_use(session, holder.token_id, at_ms=now, unless_after_ms=before)
        except (OperationalError, PassingError):
            _log.warning("the use of token %d could not be written down", holder.token_id)


def require_write_role(caller: Caller) -> None:
    """Refuse callers that may write nowhere.

    Raises:
        LoginRequiredError: The caller is anonymous.
        PermissionDeniedError: The token is for reading only.
    """
    require_token(caller, "write")


def require_namespace(session: Session, caller: Caller, namespace: Namespace, repo_id: str) -> None:
    """Refuse callers that may not make this repository in its namespace.

    Raises:
        PermissionDeniedError: The caller's role there is too small, or the token is for other repositories.
    """
    standing = namespace_standing(session, caller, namespace)
    wanted = Standing(repo_id, standing.role)
    if not reaches(granted(caller, wanted), "write"):
        raise refusal(caller, wanted, "write")


def namespace_standing(session: Session, caller: Caller, namespace: Namespace) -> Standing:
    """What the caller's user is to a namespace."""
    role = None if caller.user_id is None else memberships.role_in(session, namespace.id, caller.user_id)
    return Standing(whole_namespace(namespace.name), read_role(role) if role else None)


def _caller(holder: TokenHolder) -> Caller:
    return Caller(
        user_id=holder.user_id,
        name=holder.user_name,
        role=holder.role,
        token_id=holder.token_id,
        token_created_ms=holder.created_ms,
        scope=read_role(holder.scope) if holder.scope else "admin",
        pattern=holder.pattern,
        token_name=holder.name,
        expires_ms=holder.expires_ms,
    )


def _check(caller: Caller, standing: Standing, needed: Role, missing: RegistryError) -> None:
    """Refuse a caller who may not do to something what needs a role; to some it does not exist."""
    if standing.is_open and needed == "read":
        return
    acting = granted(caller, standing)
    if acting is None:
        raise missing
    if not reaches(acting, needed):
        raise refusal(caller, standing, needed)


def _no_set(caller: Caller, full_name: str) -> EvaluationSetNotFoundError:
    kind = EvaluationSetNotFoundAnonymouslyError if caller.is_anonymous else EvaluationSetNotFoundError
    return kind(full_name)


def _not_found(caller: Caller, repo_id: str) -> RepositoryNotFoundError:
    return RepositoryNotFoundAnonymouslyError(repo_id) if caller.is_anonymous else RepositoryNotFoundError(repo_id)


def _find(session: Session, repo_id: str) -> Repository | None:
    return None if _is_no_name(repo_id) else repositories.find_repository(session, repo_id)


def _is_no_name(full_name: str) -> bool:
    try:
        split_repo_id(full_name)
    except InvalidNameError:
        return True
    return False
