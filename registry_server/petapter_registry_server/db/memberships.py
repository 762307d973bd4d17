"""Roles of users: in namespaces, and on single repositories."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select, union_all
from sqlalchemy.orm import Session

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db.people_tables import Grant
from petapter_registry_server.db.tables import Membership, Namespace, Repository, User

_ORDER = ("admin", "maintain", "write", "read")


@dataclass(frozen=True)
class RoleLine:
    """Somebody's role; `is_disabled` when the user can do nothing with it."""

    user: str
    role: str
    is_disabled: bool


def role_in(session: Session, namespace_id: int, user_id: int) -> str | None:
    """The user's role in a namespace."""
    membership = session.get(Membership, (namespace_id, user_id))
    return membership.role if membership else None


def role_on(session: Session, repository: Repository, user_id: int) -> str | None:
    """The greater of the user's role in the namespace and the one on the repository itself."""
    member = select(Membership.role).where(
        Membership.namespace_id == repository.namespace_id, Membership.user_id == user_id
    )
    granted = select(Grant.role).where(Grant.repository_id == repository.id, Grant.user_id == user_id)
    roles = session.scalars(union_all(member, granted)).all()
    return min(roles, key=_ORDER.index, default=None)


def list_members(session: Session, namespace_id: int) -> Sequence[RoleLine]:
    """The members of a namespace by name."""
    rows = session.execute(
        select(User.name, Membership.role, User.disabled_ms.is_not(None))
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.namespace_id == namespace_id)
        .order_by(User.name)
    )
    return [RoleLine(*row) for row in rows]


def list_grants(session: Session, repository_id: int) -> Sequence[RoleLine]:
    """The users with a role on a repository itself, by name."""
    rows = session.execute(
        select(User.name, Grant.role, User.disabled_ms.is_not(None))
        .join(Grant, Grant.user_id == User.id)
        .where(Grant.repository_id == repository_id)
        .order_by(User.name)
    )
    return [RoleLine(*row) for row in rows]


def list_organisations(session: Session, user_id: int | None) -> Sequence[tuple[str, str]]:
    """Organisations of a user with the role there; for None all, with the role ''."""
    if user_id is None:
        names = session.scalars(select(Namespace.name).where(Namespace.user_id.is_(None)).order_by(Namespace.name))
        return [(name, "") for name in names]
    rows = session.execute(
        select(Namespace.name, Membership.role)
        .join(Membership, Membership.namespace_id == Namespace.id)
        .where(Membership.user_id == user_id, Namespace.user_id.is_(None))
        .order_by(Namespace.name)
    )
    return [(name, role) for name, role in rows]


def has_other_admin(session: Session, namespace_id: int, user_id: int) -> bool:
    """Whether somebody else who is not disabled is an admin of the namespace.

    Asked in the write that takes one away: writes take turns, so the last two admins cannot leave at the same moment.
    """
    count = session.scalar(
        select(func.count(User.id))
        .join(Membership, Membership.user_id == User.id)
        .where(
            Membership.namespace_id == namespace_id,
            Membership.role == "admin",
            Membership.user_id != user_id,
            User.disabled_ms.is_(None),
        )
    )
    return bool(count)


def set_member(session: Session, namespace_id: int, user_id: int, role: str) -> None:
    """Give a user this role in a namespace."""
    session.merge(Membership(namespace_id=namespace_id, user_id=user_id, role=role))


def remove_member(session: Session, namespace_id: int, user_id: int) -> None:
    """Take a user out of a namespace, with every role on its repositories: what a team gave ends with the team."""
    session.execute(delete(Membership).where(Membership.namespace_id == namespace_id, Membership.user_id == user_id))
    inside = select(Repository.id).where(Repository.namespace_id == namespace_id)
    session.execute(delete(Grant).where(Grant.user_id == user_id, Grant.repository_id.in_(inside)))


def set_grant(session: Session, repository_id: int, user_id: int, role: str) -> None:
    """Give a user this role on a repository."""
    session.merge(Grant(repository_id=repository_id, user_id=user_id, role=role, created_ms=now_ms()))


def remove_grant(session: Session, repository_id: int, user_id: int) -> bool:
    """Take a user's role on a repository away; whether there was one."""
    grant = session.get(Grant, (repository_id, user_id))
    if grant is None:
        return False
    session.delete(grant)
    return True


def remove_grants(session: Session, repository_id: int) -> None:
    """Take everybody's role on a repository away."""
    session.execute(delete(Grant).where(Grant.repository_id == repository_id))
