"""Users, namespaces, memberships and tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db.tables import Membership, Namespace, Token, User


@dataclass(frozen=True)
class TokenHolder:
    """A token that can be used, and its user."""

    token_id: int
    role: str
    created_ms: int
    user_id: int
    user_name: str
    name: str | None
    scope: str | None
    pattern: str | None
    expires_ms: int | None
    last_used_ms: int | None


def find_holder(session: Session, sha256: str, *, at_ms: int) -> TokenHolder | None:
    """Whose token has this digest, unless it was revoked, has expired, or its user is disabled."""
    return _find_holder(session, Token.sha256 == sha256, at_ms)


def find_holder_of(session: Session, token_id: int, *, at_ms: int) -> TokenHolder | None:
    """Whose token has this id; None as `find_holder`."""
    return _find_holder(session, Token.id == token_id, at_ms)


def _find_holder(session: Session, which: ColumnElement[bool], at_ms: int) -> TokenHolder | None:
    row = session.execute(
        select(Token, User.name)
        .join(User, User.id == Token.user_id)
        .where(which, Token.revoked_ms.is_(None), User.disabled_ms.is_(None))
        .where(or_(Token.expires_ms.is_(None), Token.expires_ms > at_ms))
    ).one_or_none()
    return _holder(row[0], row[1]) if row else None


def _holder(token: Token, user_name: str) -> TokenHolder:
    return TokenHolder(
        token_id=token.id,
        role=token.role,
        created_ms=token.created_ms,
        user_id=token.user_id,
        user_name=user_name,
        name=token.name,
        scope=token.scope,
        pattern=token.pattern,
        expires_ms=token.expires_ms,
        last_used_ms=token.last_used_ms,
    )


def note_use(session: Session, token_id: int, *, at_ms: int, unless_after_ms: int) -> None:
    """Write down when a token was used, unless that was done after a time."""
    session.execute(
        update(Token)
        .where(Token.id == token_id, or_(Token.last_used_ms.is_(None), Token.last_used_ms <= unless_after_ms))
        .values(last_used_ms=at_ms)
    )


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
    session.add(Membership(namespace_id=namespace.id, user_id=owner_id, role="admin"))


def list_users(session: Session) -> Sequence[User]:
    """All users, oldest first."""
    return session.scalars(select(User).order_by(User.id)).all()


def list_tokens(session: Session, user_id: int | None = None) -> Sequence[tuple[Token, str]]:
    """Tokens of one user, or of all, with the names of their users, oldest first."""
    statement = select(Token, User.name).join(User, User.id == Token.user_id).order_by(Token.id)
    if user_id is not None:
        statement = statement.where(Token.user_id == user_id)
    return [(token, name) for token, name in session.execute(statement)]


def revoke_all(session: Session, user_id: int, *, at_ms: int) -> None:
    """Revoke every token of a user."""
    session.execute(update(Token).where(Token.user_id == user_id, Token.revoked_ms.is_(None)).values(revoked_ms=at_ms))
