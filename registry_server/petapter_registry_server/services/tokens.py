"""Fine-grained tokens that their owners make, see and revoke: never with more power than the token that asks."""

from collections.abc import Sequence
from dataclasses import dataclass

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db import accounts
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.tables import Token, User
from petapter_registry_server.errors import InvalidRequestError, LoginRequiredError, PermissionDeniedError
from petapter_registry_server.services.accounts import (
    IssuedToken,
    TokenLimits,
    TokenLine,
    issue,
    revoke,
    token_line,
)
from petapter_registry_server.services.callers import Caller
from petapter_registry_server.services.patterns import covers
from petapter_registry_server.services.policy import LOGIN_NEEDED, require_token
from petapter_registry_server.services.roles import Role

_DAY_MS = 86_400_000


@dataclass(frozen=True)
class NewToken:
    """A token that somebody wants."""

    name: str
    scope: Role
    pattern: str | None
    days: int


class Tokens:
    """The tokens of the users of one registry, for those users."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, caller: Caller, new: NewToken) -> IssuedToken:
        """Make a token of the caller that ends after some days, and no later than the caller's own.

        Raises:
            PermissionDeniedError: The caller's token has not the scope admin, or is for fewer repositories.
            InvalidRequestError: The pattern or the name is none.
        """
        require_token(caller, "admin")
        if not covers(caller.pattern, new.pattern or ""):
            raise PermissionDeniedError(f"this token is for {caller.pattern}: ask for one within that")
        expires = now_ms() + new.days * _DAY_MS
        limits = TokenLimits(new.name, min(expires, caller.expires_ms or expires), new.scope, new.pattern)
        with self._database.write() as session:
            return issue(session, session.get_one(User, user_id_of(caller)), "write", limits, actor=caller.name)

    def list_own(self, caller: Caller) -> Sequence[TokenLine]:
        """The caller's tokens, oldest first."""
        with self._database.read() as session:
            return [token_line(token, user) for token, user in accounts.list_tokens(session, user_id_of(caller))]

    def revoke(self, caller: Caller, token_id: int) -> None:
        """Make one of the caller's tokens worthless.

        Raises:
            PermissionDeniedError: The caller's token has not the scope admin.
            InvalidRequestError: The caller has no such token.
        """
        require_token(caller, "admin")
        with self._database.write() as session:
            token = session.get(Token, token_id)
            if token is None or token.user_id != user_id_of(caller):  # somebody else's does not exist
                raise InvalidRequestError(f"you have no token {token_id}")
            revoke(session, token, actor=caller.name)


def user_id_of(caller: Caller) -> int:
    """The caller's user. Raises: LoginRequiredError when there is none."""
    if caller.user_id is None:
        raise LoginRequiredError(LOGIN_NEEDED)
    return caller.user_id
