"""Whom identity providers know users as: linked by the user, by an operator, or by the sign-in that made the user.

All logins of an identity stand for one token of its user, whose secret nobody has: who revokes it ends them all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from sqlalchemy.orm import Session

from petapter_registry_server.clock import hub_date, now_ms
from petapter_registry_server.db import audit, identities
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.identities import Identity
from petapter_registry_server.db.tables import Token, User
from petapter_registry_server.errors import InvalidRequestError, PermissionDeniedError, SignInRefusedError
from petapter_registry_server.services.accounts import TokenLimits, issue, register, require_user, revoke
from petapter_registry_server.services.callers import CONSOLE, Caller
from petapter_registry_server.services.identity_provider import is_subject
from petapter_registry_server.services.policy import require_token
from petapter_registry_server.services.tokens import user_id_of

SIGN_IN = "(sign-in)"
"""Who makes a user by signing in, in the audit; no user is called so."""
_MAX_ISSUER = 500
_MAX_HOST = 80


@dataclass(frozen=True)
class IdentityLine:
    """What is known of an identity."""

    id: int
    user: str
    issuer: str
    subject: str
    created: str
    used: str | None


class Identities:
    """The identities of the users of one registry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def sign_in(self, issuer: str, subject: str) -> int | None:
        """The token that the logins of an identity stand for; None where it is linked with nobody.

        Raises:
            SignInRefusedError: Its user is disabled.
        """
        with self._database.write() as session:
            found = identities.find_identity(session, issuer, subject)
            return _enter(session, *found) if found else None

    def create(self, issuer: str, subject: str, name: str) -> int:
        """The same for somebody who becomes a user by signing in, unless that was done a moment ago.

        Raises:
            InvalidNameError: The name breaks the rules for users.
            InvalidRequestError: The name, or one that looks like it, is taken.
            SignInRefusedError: The user is there and disabled.
        """
        with self._database.write() as session:
            found = identities.find_identity(session, issuer, subject)
            if found is None:
                user = register(session, name, actor=SIGN_IN)
                found = _link(session, user, issuer, subject, actor=SIGN_IN), user
            return _enter(session, *found)

    def link(self, caller: Caller, issuer: str, subject: str) -> None:
        """Let an identity sign in as the caller.

        Raises:
            PermissionDeniedError: The caller's token is limited, so that it cannot give what a sign-in gives.
            InvalidRequestError: The identity signs in as somebody else.
        """
        check_may_link(caller)
        with self._database.write() as session:
            _link(session, session.get_one(User, user_id_of(caller)), issuer, subject, actor=caller.name)

    def link_for(self, user_name: str, issuer: str, subject: str) -> None:
        """The same from the console, for any user.

        Raises:
            UserNotFoundError: There is no such user.
            InvalidRequestError: As `link`, or issuer or subject can be none.
        """
        if not 0 < len(issuer) <= _MAX_ISSUER or not issuer.startswith(("https://", "http://")):
            raise InvalidRequestError(f"{issuer!r} is no issuer: give its address as its tokens have it, https://…")
        if not is_subject(subject):
            raise InvalidRequestError(f"{subject!r} is no subject: it has 1 to 255 visible characters of ASCII")
        with self._database.write() as session:
            _link(session, require_user(session, user_name), issuer, subject, actor=CONSOLE.name)

    def unlink(self, caller: Caller, identity_id: int) -> None:
        """Let an identity of the caller sign in no more, and end its logins.

        Raises:
            PermissionDeniedError: The caller's token has not the scope admin.
            InvalidRequestError: The caller has no such identity.
        """
        require_token(caller, "admin")
        with self._database.write() as session:
            identity = session.get(Identity, identity_id)
            if identity is None or identity.user_id != user_id_of(caller):  # somebody else's does not exist
                raise InvalidRequestError(f"you have no identity {identity_id}")
            _unlink(session, identity, caller.name, actor=caller.name)

    def unlink_for(self, user_name: str, issuer: str, subject: str) -> None:
        """The same from the console. Raises: UserNotFoundError, InvalidRequestError when the user has no such one."""
        with self._database.write() as session:
            user = require_user(session, user_name)
            found = identities.find_identity(session, issuer, subject)
            if found is None or found[1].id != user.id:
                raise InvalidRequestError(
                    f"{user.name} has no such identity: 'petapter-registry user identities' lists them"
                )
            _unlink(session, found[0], user.name, actor=CONSOLE.name)

    def list_own(self, caller: Caller) -> Sequence[IdentityLine]:
        """The caller's identities, oldest first."""
        return self._lines(user_id_of(caller))

    def list_all(self) -> Sequence[IdentityLine]:
        """All identities, oldest first."""
        return self._lines(None)

    def _lines(self, user_id: int | None) -> Sequence[IdentityLine]:
        with self._database.read() as session:
            return [_line(identity, user) for identity, user in identities.list_identities(session, user_id)]


def check_may_link(caller: Caller) -> None:
    """Refuse callers whose token lets through less than a sign-in does.

    Raises:
        LoginRequiredError: The caller is anonymous.
        PermissionDeniedError: The token is limited.
    """
    require_token(caller, "admin")
    if not caller.is_unlimited:
        raise PermissionDeniedError(f"this token is for {caller.pattern}: link with one that has no pattern")


def _link(session: Session, user: User, issuer: str, subject: str, *, actor: str) -> Identity:
    found = identities.find_identity(session, issuer, subject)
    if found is not None:
        identity, holder = found
        if holder.id != user.id:
            raise InvalidRequestError("this identity signs in as another user already: unlink it there first")
        return identity
    identity = Identity(
        issuer=issuer, subject=subject, user_id=user.id, token_id=None, created_ms=now_ms(), used_ms=None
    )
    session.add(identity)
    session.flush()
    audit.record(session, actor=actor, action="identity.link", subject=user.name, detail=_detail(identity))
    return identity


def _unlink(session: Session, identity: Identity, user_name: str, *, actor: str) -> None:
    token = session.get(Token, identity.token_id) if identity.token_id is not None else None
    audit.record(session, actor=actor, action="identity.unlink", subject=user_name, detail=_detail(identity))
    session.delete(identity)
    if token is not None and token.revoked_ms is None:
        revoke(session, token, actor=actor)


def _enter(session: Session, identity: Identity, user: User) -> int:
    """Write down that somebody signed in, and return the token that the login stands for."""
    if user.disabled_ms is not None:
        raise SignInRefusedError(f"the user {user.name!r} is disabled: ask whoever runs this registry")
    token = session.get(Token, identity.token_id) if identity.token_id is not None else None
    token_id = _new_token(session, identity, user) if token is None or token.revoked_ms is not None else token.id
    identity.token_id, identity.used_ms = token_id, now_ms()
    audit.record(session, actor=user.name, action="identity.sign-in", subject=user.name, detail=_detail(identity))
    return token_id


def _new_token(session: Session, identity: Identity, user: User) -> int:
    """It ends with no day, so that tokens which are made by it may last; its logins do, after half a day."""
    host = (urlsplit(identity.issuer).hostname or "")[:_MAX_HOST]
    return issue(session, user, "write", TokenLimits(f"sign-in by {host}"), actor=user.name).id


def _detail(identity: Identity) -> str:
    return f"id={identity.id} issuer={identity.issuer} subject={identity.subject}"


def _line(identity: Identity, user: str) -> IdentityLine:
    used = None if identity.used_ms is None else hub_date(identity.used_ms)
    return IdentityLine(identity.id, user, identity.issuer, identity.subject, hub_date(identity.created_ms), used)
