"""A browser without a screen: a client that sends the cookies and the form fields that a page of the registry gives."""

import re
from dataclasses import dataclass
from typing import Any

from petapter_registry_server.errors import InvalidTokenError
from petapter_registry_server.services.web_sessions import WebSessions
from petapter_registry_server.web.visitors import PROOF
from tests.registry_server.conftest import Registry

ORIGIN = "http://registry.test"
SESSION, FORM = "petapter", "petapter-form"
_NONCE = "a-nonce-that-the-browser-was-given"


@dataclass(frozen=True)
class Browser:
    """Somebody with a login that was begun with a token, or without one."""

    registry: Registry
    cookie: str | None

    @classmethod
    def of(cls, registry: Registry, token: str | None) -> "Browser":
        """Logged in with a token; one that is worth nothing by now stands for a login that has ended."""
        return cls(registry, None if token is None else _cookie(registry, token))

    @property
    def sessions(self) -> WebSessions:
        sessions: WebSessions = self.registry.app.state.services.web_sessions
        return sessions

    def proof(self) -> str:
        """What the registry's own forms carry for this browser."""
        if self.cookie is not None:
            session = self.sessions.read(self.cookie)
            try:
                self.sessions.caller(session)
                return self.sessions.form_proof(session.id)
            except InvalidTokenError:
                pass
        return self.sessions.form_proof(_NONCE)

    def get(self, path: str, **options: Any) -> Any:
        return self._call("GET", path, options.pop("headers", {}), **options)

    def post(self, path: str, fields: dict[str, str] | None = None, *, headers: dict[str, str] | None = None) -> Any:
        """Send a form as a page of the registry would; headers and fields may say otherwise."""
        sent = {PROOF: self.proof(), **(fields or {})}
        return self._call("POST", path, {"origin": ORIGIN, **(headers or {})}, data=sent)

    def _call(self, method: str, path: str, headers: dict[str, str], **options: Any) -> Any:
        cookies = f"{FORM}={_NONCE}" + (f"; {SESSION}={self.cookie}" if self.cookie else "")
        options.setdefault("follow_redirects", False)
        self.registry.client.cookies.clear()
        return self.registry.client.request(method, path, headers={"cookie": cookies, **headers}, **options)


def text_of(answer: Any) -> str:
    """What a page says, without its markup."""
    return " ".join(re.sub(r"<[^>]*>", " ", answer.text).split())


def _cookie(registry: Registry, token: str) -> str:
    """As `WebSessions.begin`, which refuses tokens that have ended."""
    from petapter_registry_server.services.access import token_sha256

    (row,) = registry.rows(f"SELECT id FROM tokens WHERE sha256 = '{token_sha256(token)}'")  # noqa: S608 (hex digits)
    sessions: WebSessions = registry.app.state.services.web_sessions
    signed = sessions._serializer.dumps([row[0], "a-login"])
    return signed if isinstance(signed, str) else signed.decode()
