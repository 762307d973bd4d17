"""Users and their tokens: made, listed, revoked. A token is shown when it is made and never again."""

import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from petapter_registry_server.clock import hub_date, now_ms
from petapter_registry_server.db import accounts, audit
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.tables import Namespace, Token, User
from petapter_registry_server.errors import InvalidRequestError
from petapter_registry_server.services.access import Role, token_sha256
from petapter_schemas.names import check_namespace, name_key

ADMIN = "admin"
_CONSOLE = "(command line)"


@dataclass(frozen=True)
class IssuedToken:
    """A fresh token; `secret` exists nowhere else."""

    id: int
    secret: str


@dataclass(frozen=True)
class TokenLine:
    """What is known of a token later."""

    id: int
    user: str
    role: str
    created: str
    revoked: str | None


class Accounts:
    """Users and tokens of one registry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create_first_admin(self) -> IssuedToken | None:
        """Make the user `admin` with a token when nobody is registered yet."""
        with self._database.write() as session:
            if accounts.has_users(session):
                return None
            return _issue(session, _register(session, ADMIN), "admin")

    def issue_token(self, user_name: str, role: Role) -> IssuedToken:
        """Make a token; an unknown user is registered, with the namespace of the same name.

        Raises:
            InvalidNameError: The name breaks the rules for namespaces.
            InvalidRequestError: The name, or one that looks like it, is taken by a namespace.
        """
        with self._database.write() as session:
            user = accounts.find_user(session, user_name) or _register(session, user_name)
            return _issue(session, user, role)

    def revoke_token(self, token_id: int) -> None:
        """Make a token worthless from now on.

        Raises:
            InvalidRequestError: There is no such token.
        """
        with self._database.write() as session:
            token = session.get(Token, token_id)
            if token is None:
                raise InvalidRequestError(f"there is no token {token_id}: see 'petapter-registry token list'")
            token.revoked_ms = token.revoked_ms or now_ms()
            audit.record(session, actor=_CONSOLE, action="token.revoke", subject=str(token_id))

    def list_tokens(self) -> Sequence[TokenLine]:
        """All tokens, oldest first."""
        with self._database.read() as session:
            return [
                TokenLine(
                    token.id,
                    user,
                    token.role,
                    hub_date(token.created_ms),
                    hub_date(token.revoked_ms) if token.revoked_ms else None,
                )
                for token, user in accounts.list_tokens(session)
            ]

    def teams_of(self, user_id: int) -> Sequence[tuple[str, str]]:
        """Names of a user's teams with the role there."""
        with self._database.read() as session:
            return accounts.team_memberships(session, user_id)


def new_secret() -> str:
    """`ppt_`, 256 random bits in 43 characters, and the CRC-32 by which secret scanners know a token from noise."""
    body = secrets.token_urlsafe(32)
    return f"ppt_{body}{zlib.crc32(body.encode()):08x}"


def _register(session: Session, name: str) -> User:
    check_namespace(name)
    if taken := accounts.find_namespace(session, name_key(name)):
        raise InvalidRequestError(f"{name!r} looks like the namespace {taken.name!r}: choose another user name")
    user = accounts.add_user(session, name)
    namespace = Namespace(name=name, key=name_key(name), user_id=user.id, created_ms=now_ms())
    accounts.add_namespace(session, namespace, owner_id=user.id)
    audit.record(session, actor=_CONSOLE, action="user.create", subject=name)
    return user


def _issue(session: Session, user: User, role: Role) -> IssuedToken:
    secret = new_secret()
    token = Token(user_id=user.id, sha256=token_sha256(secret), role=role, created_ms=now_ms(), revoked_ms=None)
    session.add(token)
    session.flush()
    audit.record(session, actor=_CONSOLE, action="token.create", subject=user.name, detail=f"id={token.id} role={role}")
    return IssuedToken(token.id, secret)
