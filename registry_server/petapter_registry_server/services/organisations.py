"""Organisations, their members, and roles on single modules. An organisation is never without an admin."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db import accounts, audit, memberships
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.memberships import RoleLine
from petapter_registry_server.db.tables import Namespace, User
from petapter_registry_server.errors import (
    InvalidRequestError,
    LastAdminError,
    PermissionDeniedError,
)
from petapter_registry_server.services.access import Access
from petapter_registry_server.services.accounts import require_user
from petapter_registry_server.services.callers import Caller
from petapter_registry_server.services.roles import Role
from petapter_schemas.names import check_namespace, name_key


class Organisations:
    """Organisations of one registry."""

    def __init__(self, database: Database, access: Access) -> None:
        self._database = database
        self._access = access

    def create(self, caller: Caller, name: str, *, admin: str) -> str:
        """Make an organisation with its first admin, and return its name.

        Raises:
            PermissionDeniedError: The caller's token is limited, or the first admin is somebody else.
            InvalidNameError: The name breaks the rules.
            InvalidRequestError: The name, or one that looks like it, is taken.
            UserNotFoundError: There is no such first admin.
        """
        check_namespace(name)
        if not caller.is_unlimited or not (caller.is_admin or admin == caller.name):
            raise PermissionDeniedError("this token may not found an organisation for that user")
        with self._database.write() as session:
            if taken := accounts.find_namespace(session, name_key(name)):
                raise InvalidRequestError(f"{name!r} looks like the namespace {taken.name!r}: choose another name")
            first = _active_user(session, admin)
            namespace = Namespace(name=name, key=name_key(name), user_id=None, created_ms=now_ms())
            accounts.add_namespace(session, namespace, owner_id=first.id)
            audit.record(session, actor=caller.name, action="namespace.create", subject=name, detail=first.name)
        return name

    def list_for(self, caller: Caller) -> Sequence[tuple[str, str]]:
        """The caller's organisations with the role there; for the console all of them."""
        with self._database.read() as session:
            return memberships.list_organisations(session, caller.user_id)

    def members(self, caller: Caller, name: str) -> Sequence[RoleLine]:
        """Who belongs to an organisation.

        Raises:
            OrganisationNotFoundError: There is none that the caller belongs to.
        """
        with self._database.read() as session:
            return memberships.list_members(session, self._access.organisation(session, caller, name, "read").id)

    def may_change_members(self, caller: Caller, name: str) -> bool:
        """Whether the caller may add and remove members. Raises: OrganisationNotFoundError."""
        with self._database.read() as session:
            try:
                self._access.organisation(session, caller, name, "admin")
            except PermissionDeniedError:
                return False
        return True

    def set_member(self, caller: Caller, name: str, user: str, role: Role) -> None:
        """Give a user a role in an organisation.

        Raises:
            OrganisationNotFoundError: There is none that the caller belongs to.
            PermissionDeniedError: The caller is no admin of it.
            UserNotFoundError: There is no such user.
            LastAdminError: It would leave the organisation without an admin.
        """
        with self._database.write() as session:
            organisation = self._access.organisation(session, caller, name, "admin")
            member = _active_user(session, user)
            if role != "admin":
                _require_other_admin(session, organisation, member)
            memberships.set_member(session, organisation.id, member.id, role)
            detail = f"{member.name} {role}"
            audit.record(session, actor=caller.name, action="member.set", subject=organisation.name, detail=detail)

    def remove_member(self, caller: Caller, name: str, user: str) -> None:
        """Take a user out of an organisation, and every role that the user had on its modules.

        Raises:
            InvalidRequestError: The user does not belong to it.
            Otherwise as `set_member`.
        """
        with self._database.write() as session:
            organisation = self._access.organisation(session, caller, name, "admin")
            _remove(session, caller, organisation, require_user(session, user))

    def leave(self, caller: Caller, name: str) -> None:
        """Take the caller out of an organisation.

        Raises:
            OrganisationNotFoundError: There is none that the caller belongs to.
            LastAdminError: It would leave the organisation without an admin.
        """
        with self._database.write() as session:
            organisation = self._access.organisation(session, caller, name, "read")
            _remove(session, caller, organisation, require_user(session, caller.name))

    def grants(self, caller: Caller, repo_id: str) -> Sequence[RoleLine]:
        """Who has a role on a module itself. Raises: as `Access.administrable`."""
        with self._database.read() as session:
            repository = self._access.administrable(session, caller, repo_id)
            return memberships.list_grants(session, repository.id)

    def grant(self, caller: Caller, repo_id: str, user: str, role: Role) -> None:
        """Give a user a role on one module, whatever the user is in its namespace; the greater of the two counts.

        Raises:
            UserNotFoundError: There is no such user.
            Otherwise as `Access.administrable`.
        """
        with self._database.write() as session:
            repository = self._access.administrable(session, caller, repo_id)
            holder = _active_user(session, user)
            memberships.set_grant(session, repository.id, holder.id, role)
            detail = f"{holder.name} {role}"
            audit.record(session, actor=caller.name, action="grant.set", subject=repository.full_name, detail=detail)

    def revoke_grant(self, caller: Caller, repo_id: str, user: str) -> None:
        """Take a user's role on one module away.

        Raises:
            InvalidRequestError: The user has none.
            Otherwise as `Access.administrable`.
        """
        with self._database.write() as session:
            repository = self._access.administrable(session, caller, repo_id)
            holder = require_user(session, user)
            if not memberships.remove_grant(session, repository.id, holder.id):
                raise InvalidRequestError(f"{holder.name} has no role on {repository.full_name} itself")
            subject = repository.full_name
            audit.record(session, actor=caller.name, action="grant.remove", subject=subject, detail=holder.name)


def _active_user(session: Session, name: str) -> User:
    user = require_user(session, name)
    if user.disabled_ms is not None:
        raise InvalidRequestError(f"the user {user.name!r} is disabled")
    return user


def _remove(session: Session, caller: Caller, organisation: Namespace, member: User) -> None:
    if memberships.role_in(session, organisation.id, member.id) is None:
        raise InvalidRequestError(f"{member.name} does not belong to {organisation.name!r}")
    _require_other_admin(session, organisation, member)
    memberships.remove_member(session, organisation.id, member.id)
    audit.record(session, actor=caller.name, action="member.remove", subject=organisation.name, detail=member.name)


def _require_other_admin(session: Session, organisation: Namespace, member: User) -> None:
    is_admin = memberships.role_in(session, organisation.id, member.id) == "admin"
    if is_admin and not memberships.has_other_admin(session, organisation.id, member.id):
        raise LastAdminError(
            f"{member.name} is the last admin of {organisation.name!r}: make somebody else admin first"
        )
