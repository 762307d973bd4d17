# ruff: noqa: PLC0415 (joserfc is a tenth of a start, and most registries prove no assertion)
"""OpenID Connect assertions (RFC 7519) of issuers that somebody registered: signature, times and audience."""

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from petapter_registry_server.errors import OAuthError, OutboundError
from petapter_registry_server.services.outbound import Outbound

if TYPE_CHECKING:
    from joserfc.jwk import KeySet

ALGORITHMS = ("RS256", "ES256")
"""What issuers sign with; an assertion cannot choose another, such as none, or a secret shared with nobody."""
LEEWAY_S = 30
MAX_LIFE_S = 86_400
_KEPT_S = 600
_ASKED_AGAIN_S = 60
_LATEST_S = 1 << 40


@dataclass(frozen=True)
class Assertion:
    """What an issuer says of a program, proved."""

    issuer: str
    audiences: tuple[str, ...]
    claims: Mapping[str, Any]
    sha256: str
    last_ms: int


@dataclass(frozen=True)
class _Keys:
    keys: "KeySet"
    at: float


class Assertions:
    """Proves assertions, with the keys that their issuers publish."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self._known: dict[str, _Keys] = {}

    def prove(self, token: str, issuer: str, *, now_s: float) -> Assertion:
        """What a signed assertion of an issuer says.

        Raises:
            OAuthError: The signature, the times, or the form is wrong.
        """
        from joserfc.errors import JoseError

        try:
            claims = self._signed_claims(token, issuer)
        except (JoseError, ValueError) as error:
            raise _refused("its signature cannot be verified") from error
        if claims.get("iss") != issuer:
            raise _refused("it is of another issuer")
        issued, ends = _time(claims, "iat"), _time(claims, "exp")
        begins = _time(claims, "nbf") if "nbf" in claims else issued
        if ends + LEEWAY_S <= now_s or max(issued, begins) - LEEWAY_S > now_s or ends - issued > MAX_LIFE_S:
            raise _refused("it is not good any more, or not yet, or for more than a day")
        unique, audience = claims.get("jti"), claims.get("aud")
        if not isinstance(unique, str) or not unique:
            raise _refused("it has no jti, so that it could be used twice")
        audiences = (audience,) if isinstance(audience, str) else tuple(audience or ())
        digest = sha256(f"{issuer}\0{unique}".encode("utf-8", "surrogatepass")).hexdigest()
        return Assertion(issuer, audiences, claims, digest, int((ends + LEEWAY_S) * 1000))

    def _signed_claims(self, token: str, issuer: str) -> Mapping[str, Any]:
        from joserfc import jwt
        from joserfc.errors import JoseError

        try:
            return jwt.decode(token, self._keys(issuer, _KEPT_S), algorithms=ALGORITHMS).claims
        except (JoseError, ValueError):  # an issuer may have new keys; it is asked once a minute at most
            return jwt.decode(token, self._keys(issuer, _ASKED_AGAIN_S), algorithms=ALGORITHMS).claims

    def _keys(self, issuer: str, kept_s: float) -> "KeySet":
        known = self._known.get(issuer)
        if known is None or time.monotonic() - known.at > kept_s:  # two threads may both ask: better than to wait
            known = _Keys(self._fetch(issuer), time.monotonic())
            self._known[issuer] = known
        return known.keys

    def _fetch(self, issuer: str) -> "KeySet":
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        try:
            about = self._outbound.read_json(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
            if about.get("issuer") != issuer:
                raise _refused("its issuer calls itself otherwise")
            published = self._outbound.read_json(str(about.get("jwks_uri")))
            usable = [key for key in published.get("keys", ()) if key.get("kty") in {"RSA", "EC"}]
            return KeySet.import_key_set({"keys": usable})
        except (OutboundError, JoseError, ValueError, AttributeError, TypeError) as error:
            raise _refused(f"the keys of its issuer cannot be read ({error})") from error


def unproved_issuer(token: str) -> str:
    """The issuer that an assertion names, to find out whether anybody registered it.

    Raises:
        OAuthError: It is no assertion.
    """
    try:
        body = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return str(claims["iss"])
    except (IndexError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise _refused("it is no JSON Web Token with an issuer") from error


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < _LATEST_S:
        raise _refused(f"its {name} is no time")
    return value


def _refused(why: str) -> OAuthError:
    return OAuthError("invalid_grant", f"the subject_token is refused: {why}")
