"""Logins in a browser: the signed value of a cookie that stands for a token, and the proof that a form came from here.

The cookie holds no token, only which one was shown, or belongs to the identity that signed in: a login ends with its
token, when somebody logs out, and after half a day. The registry's own key signs, so every server over one database
knows the logins of all.
"""

import hmac
import secrets
from dataclasses import dataclass
from hashlib import sha256

from itsdangerous import BadData, URLSafeTimedSerializer

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db import ended_logins
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.own_values import own_value
from petapter_registry_server.errors import FormRefusedError, InvalidTokenError, LoginEndedError
from petapter_registry_server.services.access import Access, Caller

LIFETIME_S = 12 * 3600

_PURPOSE = "web"
_MAX_ID = 1 << 31
_PROOF_BYTES = 32


@dataclass(frozen=True)
class WebSession:
    """A login in a browser.

    Attributes:
        token_id: The token that was shown, or that the logins of an identity stand for.
        id: Random; no other login has it.
    """

    token_id: int
    id: str


class WebSessions:
    """The logins in browsers of one registry."""

    def __init__(self, database: Database, access: Access) -> None:
        self._database = database
        self._access = access
        self._key = _key(database)
        self._serializer = URLSafeTimedSerializer(self._key, salt="session")

    def begin(self, secret: str) -> str:
        """The cookie of whoever shows a token.

        Raises:
            InvalidTokenError: It is unknown or revoked, or has expired.
        """
        try:
            caller = self._access.authenticate(f"Bearer {secret}", self._database.state())
        except InvalidTokenError:
            raise InvalidTokenError("this token is unknown, was revoked or has expired: show another one") from None
        return self._signed(caller.token_id)

    def begin_for(self, token_id: int) -> str:
        """The cookie of somebody who proved otherwise to be the user of a token."""
        return self._signed(token_id)

    def _signed(self, token_id: int | None) -> str:
        signed = self._serializer.dumps([token_id, secrets.token_urlsafe(16)])
        return signed if isinstance(signed, str) else signed.decode()

    def read(self, cookie: str) -> WebSession:
        """The login that a cookie stands for.

        Raises:
            LoginEndedError: It was not signed here, or too long ago.
        """
        try:
            token_id, name = self._serializer.loads(cookie, max_age=LIFETIME_S)
        except (BadData, TypeError, ValueError) as error:
            raise LoginEndedError from error
        if type(token_id) is not int or type(name) is not str or not 0 < token_id < _MAX_ID:
            raise LoginEndedError
        return WebSession(token_id, name)

    def caller(self, session: WebSession) -> Caller:
        """Who is logged in.

        Raises:
            LoginEndedError: The login was ended, or its token was revoked or has expired, or its user is disabled.
        """
        try:
            caller = self._access.recognise(session.token_id)
        except InvalidTokenError:
            raise LoginEndedError from None
        key = ("ended login", session.id)
        if self._database.answers.recall(caller.state, key, lambda: self._has_ended(session)):
            raise LoginEndedError
        return caller

    def end(self, session: WebSession) -> None:
        """End a login on all servers: a copy of its cookie is worth nothing from now on."""
        at = now_ms()
        with self._database.write() as writing:
            ended_logins.end(writing, _digest(session), forget_ms=at + LIFETIME_S * 1000, at_ms=at)

    def _has_ended(self, session: WebSession) -> bool:
        with self._database.read() as reading:
            return ended_logins.has_ended(reading, _digest(session))

    def form_proof(self, anchor: str) -> str:
        """What a form carries to show that it came from a page of this browser.

        It is another one each time, so that the length of compressed pages tells nothing about it.

        Args:
            anchor: What the browser sends by itself and other sites cannot read: the id of the login, or a cookie.
        """
        pad = secrets.token_bytes(_PROOF_BYTES)
        return (pad + _xor(pad, self._mac(anchor))).hex()

    def check_form(self, anchor: str, proof: str) -> None:
        """Refuse a form without the proof.

        Raises:
            FormRefusedError: There is none, or that of another login.
        """
        try:
            sent = bytes.fromhex(proof)
        except ValueError:
            sent = b""
        pad, masked = sent[:_PROOF_BYTES], sent[_PROOF_BYTES:]
        fits = len(sent) == 2 * _PROOF_BYTES and hmac.compare_digest(_xor(pad, masked), self._mac(anchor))
        if not anchor or not fits:
            raise FormRefusedError(
                "this form belongs to another login, or its page is too old: go back, load the page again, and send it "
                "once more"
            )

    def _mac(self, anchor: str) -> bytes:
        return hmac.new(self._key.encode(), f"form {anchor}".encode(), sha256).digest()


def _digest(session: WebSession) -> str:
    return sha256(session.id.encode()).hexdigest()


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True)) if len(one) == len(other) else b""


def _key(database: Database) -> str:
    with database.write() as session:
        return own_value(session, _PURPOSE)
