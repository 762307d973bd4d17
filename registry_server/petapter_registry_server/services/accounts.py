"""Users and their tokens, as the console makes, lists and revokes them. A token is shown once and never again."""

import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from petapter_registry_server.clock import hub_date, now_ms
from petapter_registry_server.db import accounts, audit, memberships
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.tables import Namespace, Token, User
from petapter_registry_server.errors import InvalidRequestError, UserNotFoundError
from petapter_registry_server.services.access import token_sha256
from petapter_registry_server.services.callers import CONSOLE
from petapter_registry_server.services.patterns import check_pattern
from petapter_registry_server.services.roles import FINE_GRAINED, Role, TokenRole
from petapter_schemas.names import check_line, check_namespace, name_key

ADMIN = "admin"
_MAX_TOKEN_NAME = 100


@dataclass(frozen=True)
class IssuedToken:
    """A fresh token; `secret` exists nowhere else."""

    id: int
    secret: str


@dataclass(frozen=True)
class TokenLimits:
    """What holds a token back: how it is called, the last moment it is good for, and, for a fine-grained one, more.

    A token with a scope is fine-grained: it lets through no more than the scope, in the repositories of the pattern.
    """

    name: str | None = None
    expires_ms: int | None = None
    scope: Role | None = None
    pattern: str | None = None


NO_LIMITS = TokenLimits()


@dataclass(frozen=True)
class TokenLine:
    """What is known of a token later."""

    id: int
    user: str
    role: str
    created: str
    revoked: str | None
    name: str | None = None
    scope: str | None = None
    pattern: str | None = None
    expires: str | None = None
    last_used: str | None = None


@dataclass(frozen=True)
class UserLine:
    """What is known of a user."""

    name: str
    created: str
    disabled: str | None


class Accounts:
    """Users and tokens of one registry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create_first_admin(self) -> IssuedToken | None:
        """Make the user `admin` with a token when nobody is registered yet."""
        with self._database.write() as session:
            if accounts.has_users(session):
                return None
            return issue(session, register(session, ADMIN), "admin", NO_LIMITS, actor=CONSOLE.name)

    def create_user(self, name: str) -> None:
        """Register a user, with the namespace of the same name.

        Raises:
            InvalidNameError: The name breaks the rules for namespaces.
            InvalidRequestError: The name, or one that looks like it, is taken.
        """
        with self._database.write() as session:
            register(session, name)

    def disable_user(self, name: str) -> None:
        """Shut a user out: every token is revoked and none works again; what the user published stays.

        Raises:
            UserNotFoundError: There is no such user.
        """
        with self._database.write() as session:
            user = require_user(session, name)
            user.disabled_ms = user.disabled_ms or now_ms()
            accounts.revoke_all(session, user.id, at_ms=now_ms())
            audit.record(session, actor=CONSOLE.name, action="user.disable", subject=user.name)

    def enable_user(self, name: str) -> None:
        """Let a disabled user in again, with tokens that are made from now on.

        Raises:
            UserNotFoundError: There is no such user.
        """
        with self._database.write() as session:
            user = require_user(session, name)
            user.disabled_ms = None
            audit.record(session, actor=CONSOLE.name, action="user.enable", subject=user.name)

    def list_users(self) -> Sequence[UserLine]:
        """All users, oldest first."""
        with self._database.read() as session:
            return [
                UserLine(user.name, hub_date(user.created_ms), _date(user.disabled_ms))
                for user in accounts.list_users(session)
            ]

    def issue_token(self, user_name: str, role: TokenRole, limits: TokenLimits = NO_LIMITS) -> IssuedToken:
        """Make a token; an unknown user is registered, with the namespace of the same name.

        Raises:
            InvalidNameError: The name breaks the rules for namespaces.
            InvalidRequestError: The name, or one that looks like it, is taken by a namespace, the user is disabled, or
                the limits are none.
        """
        with self._database.write() as session:
            user = accounts.find_user(session, user_name) or register(session, user_name)
            return issue(session, user, role, limits, actor=CONSOLE.name)

    def revoke_token(self, token_id: int) -> None:
        """Make a token worthless from now on.

        Raises:
            InvalidRequestError: There is no such token.
        """
        with self._database.write() as session:
            token = session.get(Token, token_id)
            if token is None:
                raise InvalidRequestError(f"there is no token {token_id}: see 'petapter-registry token list'")
            revoke(session, token, actor=CONSOLE.name)

    def list_tokens(self) -> Sequence[TokenLine]:
        """All tokens, oldest first."""
        with self._database.read() as session:
            return [token_line(token, user) for token, user in accounts.list_tokens(session)]

    def teams_of(self, user_id: int) -> Sequence[tuple[str, str]]:
        """Names of a user's organisations with the role there."""
        with self._database.read() as session:
            return memberships.list_organisations(session, user_id)


def new_secret() -> str:
    """`ppt_`, 256 random bits in 43 characters, and the CRC-32 by which secret scanners know a token from noise."""
    body = secrets.token_urlsafe(32)
    return f"ppt_{body}{zlib.crc32(body.encode()):08x}"


def require_user(session: Session, name: str) -> User:
    """The user of this name. Raises: UserNotFoundError."""
    user = accounts.find_user(session, name)
    if user is None:
        raise UserNotFoundError(name)
    return user


def register(session: Session, name: str, *, actor: str = CONSOLE.name) -> User:
    """Make a user with the namespace of the same name.

    Raises:
        InvalidNameError: The name breaks the rules for namespaces.
        InvalidRequestError: The name, or one that looks like it, is taken.
    """
    check_namespace(name)
    if taken := accounts.find_namespace(session, name_key(name)):
        raise InvalidRequestError(f"{name!r} looks like the namespace {taken.name!r}: choose another user name")
    user = accounts.add_user(session, name)
    namespace = Namespace(name=name, key=name_key(name), user_id=user.id, created_ms=now_ms())
    accounts.add_namespace(session, namespace, owner_id=user.id)
    audit.record(session, actor=actor, action="user.create", subject=name)
    return user


def issue(session: Session, user: User, role: TokenRole, limits: TokenLimits, *, actor: str) -> IssuedToken:
    """Make a token of a user. Raises: InvalidRequestError when the user is disabled or the limits are none."""
    if user.disabled_ms is not None:
        raise InvalidRequestError(f"the user {user.name!r} is disabled: 'petapter-registry user enable' lets it in")
    _check_limits(role, limits)
    secret, kind = new_secret(), FINE_GRAINED if limits.scope else role
    token = Token(
        user_id=user.id,
        sha256=token_sha256(secret),
        role=kind,
        created_ms=now_ms(),
        revoked_ms=None,
        name=limits.name,
        scope=limits.scope,
        pattern=limits.pattern,
        expires_ms=limits.expires_ms,
        last_used_ms=None,
    )
    session.add(token)
    session.flush()
    detail = f"id={token.id} role={kind} scope={limits.scope} pattern={limits.pattern} expires_ms={limits.expires_ms}"
    audit.record(session, actor=actor, action="token.create", subject=user.name, detail=detail)
    return IssuedToken(token.id, secret)


def revoke(session: Session, token: Token, *, actor: str) -> None:
    """Make a token worthless."""
    token.revoked_ms = token.revoked_ms or now_ms()
    audit.record(session, actor=actor, action="token.revoke", subject=str(token.id))


def token_line(token: Token, user: str) -> TokenLine:
    """What is shown of a token."""
    return TokenLine(
        token.id,
        user,
        token.role,
        hub_date(token.created_ms),
        _date(token.revoked_ms),
        token.name,
        token.scope,
        token.pattern,
        _date(token.expires_ms),
        _date(token.last_used_ms),
    )


def _date(at_ms: int | None) -> str | None:
    return None if at_ms is None else hub_date(at_ms)


def _check_limits(role: TokenRole, limits: TokenLimits) -> None:
    if limits.scope is None and limits.pattern is not None:
        raise InvalidRequestError("a token for a pattern of repositories needs a scope: read, write, maintain or admin")
    if limits.scope is not None and role != "write":
        raise InvalidRequestError(f"a token with a scope has no role {role!r}: leave the role out")
    if limits.pattern is not None:
        check_pattern(limits.pattern)
    if limits.name is not None:
        check_line(limits.name)
        if not 1 <= len(limits.name) <= _MAX_TOKEN_NAME:
            raise InvalidRequestError(f"the name of a token has 1 to {_MAX_TOKEN_NAME} characters")
