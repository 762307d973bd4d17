"""Who is asking, and what they may see and change: the one place that decides."""

import hashlib
from dataclasses import dataclass
from typing import Literal

from sqlalchemy.orm import Session

from petapter_registry_server.db import accounts, former_names, repositories
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.search import Viewer
from petapter_registry_server.db.tables import Repository
from petapter_registry_server.errors import (
    InvalidTokenError,
    LoginRequiredError,
    NameRetiredError,
    PermissionDeniedError,
    RepositoryMovedError,
    RepositoryNotFoundAnonymouslyError,
    RepositoryNotFoundError,
)
from petapter_schemas.errors import InvalidNameError
from petapter_schemas.names import split_repo_id

Role = Literal["read", "write", "admin"]
ROLES: tuple[Role, ...] = ("read", "write", "admin")


@dataclass(frozen=True)
class Caller:
    """The user behind a request, with the role of the token; `user_id` None is anybody without a token."""

    user_id: int | None
    name: str
    role: str
    token_id: int | None = None
    token_created_ms: int = 0

    @property
    def is_anonymous(self) -> bool:
        """Whether the request came without a token."""
        return self.user_id is None

    @property
    def is_admin(self) -> bool:
        """Whether the token may do everything."""
        return self.role == "admin"


ANONYMOUS = Caller(user_id=None, name="", role="read")


def token_sha256(token: str) -> str:
    """What the database holds of a token. A token has 256 random bits, so a slow password hash would add nothing."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class Access:
    """Decides for one registry. A repository that a caller may not see does not exist for that caller."""

    def __init__(self, database: Database, *, anonymous_may_read: bool) -> None:
        self._database = database
        self._anonymous_may_read = anonymous_may_read

    def authenticate(self, authorization: str | None) -> Caller:
        """The caller that an Authorization header names; no header is an anonymous caller.

        Raises:
            InvalidTokenError: The header holds no token of this registry, or a revoked one.
        """
        if authorization is None:
            return ANONYMOUS
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise InvalidTokenError
        with self._database.read() as session:
            holder = accounts.find_holder(session, token_sha256(token.strip()))
        if holder is None:
            raise InvalidTokenError
        return Caller(holder.user_id, holder.user_name, holder.role, holder.token_id, holder.created_ms)

    def viewer(self, caller: Caller) -> Viewer:
        """What the caller may see in lists."""
        sees_public = self._anonymous_may_read or not caller.is_anonymous
        return Viewer(user_id=caller.user_id, sees_all=caller.is_admin, sees_public=sees_public)

    def readable(self, session: Session, caller: Caller, repo_id: str) -> Repository:
        """The repository, when the caller may read it.

        Raises:
            RepositoryNotFoundError: There is none, or none for this caller.
            RepositoryMovedError: It has another name by now.
            NameRetiredError: It has another owner by now.
        """
        repository = _find(session, repo_id)
        if repository is None:
            self._lead_on(session, caller, repo_id)
        if repository is None or not self._may_read(session, caller, repository):
            raise (
                RepositoryNotFoundAnonymouslyError(repo_id) if caller.is_anonymous else RepositoryNotFoundError(repo_id)
            )
        return repository

    def writable(self, session: Session, caller: Caller, repo_id: str) -> Repository:
        """The repository, when the caller may change it.

        Raises:
            RepositoryNotFoundError: There is none, or none for this caller.
            LoginRequiredError: The caller sees it but is anonymous.
            PermissionDeniedError: The caller sees it but may not change it.
        """
        repository = self.readable(session, caller, repo_id)
        require_write_role(caller)
        if not _belongs(session, caller, repository.namespace_id):
            namespace = repository.full_name.partition("/")[0]
            raise PermissionDeniedError(f"{caller.name} does not belong to {namespace!r}: ask a member or an admin")
        return repository

    def belongs(self, session: Session, caller: Caller, repository: Repository) -> bool:
        """Whether the caller is a member of the repository's namespace, or an admin."""
        return _belongs(session, caller, repository.namespace_id)

    def _lead_on(self, session: Session, caller: Caller, repo_id: str) -> None:
        """Tell callers who may read it what a repository is called by now, if it had this name once."""
        found = former_names.find_former(session, repo_id)
        if found is None or not self._may_read(session, caller, found[1]):
            return
        former, repository = found
        if former.leads_on:
            raise RepositoryMovedError(repo_id, repository.full_name)
        raise NameRetiredError(f"{repo_id} belongs to another namespace by now: ask for {repository.full_name}")

    def _may_read(self, session: Session, caller: Caller, repository: Repository) -> bool:
        if not repository.private and self.viewer(caller).sees_public:
            return True
        return _belongs(session, caller, repository.namespace_id)


def require_write_role(caller: Caller) -> None:
    """Refuse callers that may write nowhere.

    Raises:
        LoginRequiredError: The caller is anonymous.
        PermissionDeniedError: The token is for reading only.
    """
    if caller.is_anonymous:
        raise LoginRequiredError("a token is needed: log in with 'hf auth login' or 'petapter login'")
    if caller.role == "read":
        raise PermissionDeniedError("this token may only read: ask for a token with the role 'write'")


def require_namespace(session: Session, caller: Caller, namespace_id: int, name: str) -> None:
    """Refuse callers that may not make repositories in a namespace.

    Raises:
        PermissionDeniedError: The caller does not belong to it.
    """
    if not _belongs(session, caller, namespace_id):
        raise PermissionDeniedError(f"{caller.name} does not belong to {name!r}: ask a member, or choose another name")


def _belongs(session: Session, caller: Caller, namespace_id: int) -> bool:
    if caller.is_admin:
        return True
    return caller.user_id is not None and accounts.is_member(session, namespace_id=namespace_id, user_id=caller.user_id)


def _find(session: Session, repo_id: str) -> Repository | None:
    try:
        split_repo_id(repo_id)
    except InvalidNameError:
        return None
    return repositories.find_repository(session, repo_id)
