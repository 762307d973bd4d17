"""Login by browser (RFC 8628): a program waits while somebody who has a token says that it may act as them."""

import secrets
from dataclasses import dataclass

from sqlalchemy.orm import Session

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db import audit, device_logins
from petapter_registry_server.db.device_tables import DeviceLogin
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.tables import User
from petapter_registry_server.errors import InvalidRequestError, OAuthError, PermissionDeniedError
from petapter_registry_server.services.access import token_sha256
from petapter_registry_server.services.accounts import TokenLimits, issue, require_user
from petapter_registry_server.services.callers import CONSOLE, Caller
from petapter_registry_server.services.policy import require_token
from petapter_registry_server.services.tokens import user_id_of
from petapter_registry_server.services.trusted_publishing import ShortToken

WAIT_S = 900
INTERVAL_S = 5
_TOKEN_LIFE_S = 30 * 86_400
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # RFC 8628, section 6.1: no vowels, so no words; 20^8 codes
_MAX_WAITING = 1000
_WAITING, _APPROVED, _DENIED = "waiting", "approved", "denied"


@dataclass(frozen=True)
class WaitingDevice:
    """What a program shows and keeps."""

    device_code: str
    user_code: str


class DeviceLogins:
    """The logins by browser of one registry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self) -> WaitingDevice:
        """Let a program wait for a quarter of an hour.

        Raises:
            OAuthError: A thousand wait already.
        """
        device, letters = secrets.token_urlsafe(32), [secrets.choice(_LETTERS) for _ in range(8)]
        user_code = f"{''.join(letters[:4])}-{''.join(letters[4:])}"
        with self._database.write() as session:
            device_logins.forget_expired(session, at_ms=now_ms())
            if device_logins.count_waiting(session) >= _MAX_WAITING:
                raise OAuthError("temporarily_unavailable", "too many logins wait for approval: try again later")
            session.add(
                DeviceLogin(
                    device_sha256=token_sha256(device),
                    user_code=user_code,
                    expires_ms=now_ms() + WAIT_S * 1000,
                    state=_WAITING,
                    user_id=None,
                    token_expires_ms=None,
                )
            )
        return WaitingDevice(device, user_code)

    def approve(self, caller: Caller, user_code: str) -> None:
        """Let the program that shows this code act as the caller, no longer than the caller's own token.

        Raises:
            PermissionDeniedError: The caller's token is limited, so that it can give no other.
            InvalidRequestError: No program waits with this code.
        """
        require_token(caller, "admin")
        if not caller.is_unlimited:
            raise PermissionDeniedError(f"this token is for {caller.pattern}: approve with one that has no pattern")
        with self._database.write() as session:
            login = _decide(session, user_code, _APPROVED, actor=caller.name)
            login.user_id = user_id_of(caller)
            login.token_expires_ms = caller.expires_ms

    def approve_for(self, user_name: str, user_code: str) -> None:
        """The same from the console, for any user. Raises: UserNotFoundError, and as `approve`."""
        with self._database.write() as session:
            user = require_user(session, user_name)
            _decide(session, user_code, _APPROVED, actor=CONSOLE.name).user_id = user.id

    def deny(self, caller: Caller, user_code: str) -> None:
        """Send the program that shows this code away. Raises: InvalidRequestError when none waits."""
        require_token(caller, "admin")
        with self._database.write() as session:
            _decide(session, user_code, _DENIED, actor=caller.name)

    def collect(self, device_code: str) -> ShortToken:
        """The token of an approved program, once.

        Raises:
            OAuthError: Nobody has decided yet, somebody said no, or it is too late.
        """
        with self._database.write() as session:
            login = session.get(DeviceLogin, token_sha256(device_code))
            if login is None or login.expires_ms <= now_ms():
                raise OAuthError("expired_token", "this login has ended: begin again")
            if login.state == _WAITING:
                raise OAuthError("authorization_pending", "nobody has approved this login yet")
            if login.state == _DENIED:
                raise OAuthError("access_denied", "somebody refused this login")
            session.delete(login)
            ends = now_ms() + _TOKEN_LIFE_S * 1000
            limits = TokenLimits(f"login {login.user_code}", min(ends, login.token_expires_ms or ends))
            user = session.get_one(User, login.user_id)
            secret = issue(session, user, "write", limits, actor=user.name).secret
            return ShortToken(secret, ((limits.expires_ms or ends) - now_ms()) // 1000)


def _decide(session: Session, user_code: str, state: str, *, actor: str) -> DeviceLogin:
    shown = user_code.strip().upper()
    login = device_logins.find_shown(session, shown)
    if login is None or login.state != _WAITING or login.expires_ms <= now_ms():
        raise InvalidRequestError(f"no login waits with the code {shown!r}: it is good for a quarter of an hour, once")
    login.state = state
    audit.record(session, actor=actor, action=f"login.{state}", subject=shown)
    return login
