"""An identity provider of a test: a real HTTP server on loopback that signs with real keys and says what it is told."""

import base64
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from tests.thread_server import running_in_a_thread

CLIENT, SECRET = "registry", "hush/hush+%"
Key = ECKey | RSAKey


@dataclass
class Provider:
    """What it publishes, whom it signs in, and what it was asked.

    Attributes:
        claims: What it says of whoever signs in.
        changed: What its tokens say besides, or instead; None leaves a claim out.
        signer: What it signs with in the place of its key, with a header.
        answer: What its token endpoint answers in the place of a token, after a status.
    """

    url: str = ""
    key: Key = field(default_factory=lambda: ECKey.generate_key("P-256", {"kid": "one", "use": "sig"}))
    about: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=lambda: {"sub": "248289", "preferred_username": "grace"})
    changed: dict[str, Any] = field(default_factory=dict)
    signer: tuple[Mapping[str, Any], Any] | None = None
    token: str | None = None
    answer: tuple[int, bytes] | None = None
    userinfo: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[Mapping[str, str], Mapping[str, str]]] = field(default_factory=list)
    codes: dict[str, Mapping[str, str]] = field(default_factory=dict)

    def publish(self) -> None:
        """Say where everything is."""
        self.about = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize?tenant=a",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "code_challenge_methods_supported": ["S256"],
        }

    def authorize(self, address: str) -> dict[str, str]:
        """Sign somebody in who was sent to an address: what the browser brings back."""
        query = dict(parse_qsl(urlsplit(address).query))
        code = f"code-{len(self.codes)}"
        self.codes[code] = query
        return {"code": code, "state": query["state"]}

    def sign(self, query: Mapping[str, str]) -> str:
        """A token for what was asked for."""
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": query["nonce"], **self.claims}
        said = {name: value for name, value in {**claims, **self.changed}.items() if value is not None}
        kind = "ES256" if isinstance(self.key, ECKey) else "RS256"
        header, key = self.signer or ({"alg": kind, "kid": self.key.kid}, self.key)
        return jwt.encode(dict(header), said, key, algorithms=[header["alg"]])

    def redeem(self, headers: Mapping[str, str], form: Mapping[str, str]) -> tuple[int, bytes]:
        """The answer of the token endpoint, which checks all that RFC 6749 and 7636 ask it to."""
        self.asked.append((headers, form))
        if self.answer is not None:
            return self.answer
        query = self.codes.pop(form.get("code", ""), None)
        if query is None or query["redirect_uri"] != form.get("redirect_uri"):
            return 400, b'{"error": "invalid_grant"}'
        digest = sha256(form.get("code_verifier", "").encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != query["code_challenge"]:
            return 400, b'{"error": "invalid_grant", "error_description": "PKCE"}'
        token = self.token or self.sign(query)
        return 200, json.dumps({"access_token": "opens", "token_type": "Bearer", "id_token": token}).encode()


@contextmanager
def running_provider() -> Iterator[Provider]:
    """A provider that answers for the time of the block."""
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/authorize?"):
                self._lead_back()
                return
            if self.path == "/userinfo" and self.headers["Authorization"] != "Bearer opens":
                self._send(401, b"{}")
                return
            documents = {
                "/.well-known/openid-configuration": provider.about,
                "/keys": {"keys": [provider.key.as_dict(private=False)]},
                "/userinfo": provider.userinfo,
            }
            document = documents.get(self.path)
            self._send(404 if document is None else 200, json.dumps(document).encode())

        def _lead_back(self) -> None:
            """As for somebody who is signed in there and asked nothing."""
            brought = provider.authorize(self.path)
            self.send_response(302)
            self.send_header("Location", f"{provider.codes[brought['code']]['redirect_uri']}?{urlencode(brought)}")
            self.end_headers()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            self._send(*provider.redeem(dict(self.headers), form))

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with running_in_a_thread(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as provider.url:
        provider.publish()
        yield provider
