"""Users, namespaces, memberships and tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db.tables import Membership, Namespace, Token, User


@dataclass(frozen=True)
class TokenHolder:
    """A token that is not revoked, and its user."""

    token_id: int
    role: str
    created_ms: int
    user_id: int
    user_name: str


def find_holder(session: Session, sha256: str) -> TokenHolder | None:
    """Whose token has this digest, unless it was revoked."""
    row = session.execute(
        select(Token.id, Token.role, Token.created_ms, User.id, User.name)
        .join(User, User.id == Token.user_id)
        .where(Token.sha256 == sha256, Token.revoked_ms.is_(None))
    ).one_or_none()
    return TokenHolder(*row) if row else None


def has_users(session: Session) -> bool:
    """Whether anybody was ever registered."""
    return session.scalar(select(func.count(User.id))) != 0


def find_user(session: Session, name: str) -> User | None:
    """The user of this name, in any case."""
    return session.scalar(select(User).where(func.lower(User.name) == name.lower()))


def add_user(session: Session, name: str) -> User:
    """Register a user."""
    user = User(name=name, created_ms=now_ms())
    session.add(user)
    session.flush()
    return user


def find_namespace(session: Session, key: str) -> Namespace | None:
    """The namespace whose name looks like this one (`name_key`)."""
    return session.scalar(select(Namespace).where(Namespace.key == key))


def add_namespace(session: Session, namespace: Namespace, *, owner_id: int) -> None:
    """Register a namespace with its first member."""
    session.add(namespace)
    session.flush()
    session.add(Membership(namespace_id=namespace.id, user_id=owner_id, role="owner"))


def is_member(session: Session, *, namespace_id: int, user_id: int) -> bool:
    """Whether the user belongs to the namespace."""
    return session.get(Membership, (namespace_id, user_id)) is not None


def team_memberships(session: Session, user_id: int) -> Sequence[tuple[str, str]]:
    """Names of the teams of a user with the role there, without the user's own namespace."""
    rows = session.execute(
        select(Namespace.name, Membership.role)
        .join(Membership, Membership.namespace_id == Namespace.id)
        .where(Membership.user_id == user_id, Namespace.user_id.is_(None))
        .order_by(Namespace.name)
    )
    return [(name, role) for name, role in rows]


def list_tokens(session: Session) -> Sequence[tuple[Token, str]]:
    """All tokens with the names of their users, oldest first."""
    rows = session.execute(select(Token, User.name).join(User, User.id == Token.user_id).order_by(Token.id))
    return [(token, name) for token, name in rows]
