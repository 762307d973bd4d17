# ruff: noqa: PLC0415 (joserfc is a tenth of a start, and most registries prove nothing by OpenID Connect)
"""What OpenID Connect issuers publish, kept for minutes, and the claims that they sign: signature, issuer and times."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from petapter_registry_server.errors import OutboundError, UnprovedError
from petapter_registry_server.services.outbound import Outbound

if TYPE_CHECKING:
    from joserfc.jwk import KeySet

ALGORITHMS = ("RS256", "ES256")
"""What issuers sign with; a token cannot choose another, such as none, or a secret shared with nobody."""
LEEWAY_S = 30
MAX_LIFE_S = 86_400
_KEPT_S = 600
_ASKED_AGAIN_S = 60
_LATEST_S = 1 << 40


@dataclass(frozen=True)
class Proved:
    """What an issuer says, proved.

    Attributes:
        issuer: Who says it.
        audiences: Whom it is meant for.
        claims: All that it says.
        ends_s: Until when, in seconds since 1970.
    """

    issuer: str
    audiences: tuple[str, ...]
    claims: Mapping[str, Any]
    ends_s: float


@dataclass(frozen=True)
class _Known:
    about: Mapping[str, Any]
    keys: "KeySet"
    at: float


class Issuers:
    """Proves what issuers sign, with the keys that they publish."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self._known: dict[str, _Known] = {}

    def about(self, issuer: str) -> Mapping[str, Any]:
        """What an issuer says of itself (OpenID Connect Discovery 1.0).

        Raises:
            OutboundError: It cannot be asked, publishes something else, or calls itself otherwise.
        """
        return self._ask(issuer, _KEPT_S).about

    def prove(self, token: str, issuer: str, *, now_s: float) -> Proved:
        """What a signed token of an issuer says.

        Raises:
            OutboundError: The keys of the issuer cannot be read.
            UnprovedError: The signature, the times, or the form is wrong.
        """
        from joserfc.errors import JoseError

        try:
            claims = self._signed_claims(token, issuer)
        except (JoseError, ValueError) as error:
            raise UnprovedError("its signature cannot be verified") from error
        if claims.get("iss") != issuer:
            raise UnprovedError("it is of another issuer")
        issued, ends = _time(claims, "iat"), _time(claims, "exp")
        begins = _time(claims, "nbf") if "nbf" in claims else issued
        if ends + LEEWAY_S <= now_s or max(issued, begins) - LEEWAY_S > now_s or ends - issued > MAX_LIFE_S:
            raise UnprovedError("it is not good any more, or not yet, or for more than a day")
        audience = claims.get("aud")
        audiences = (audience,) if isinstance(audience, str) else tuple(audience if isinstance(audience, list) else ())
        return Proved(issuer, audiences, claims, ends)

    def _signed_claims(self, token: str, issuer: str) -> Mapping[str, Any]:
        from joserfc import jwt
        from joserfc.errors import JoseError

        try:
            return jwt.decode(token, self._ask(issuer, _KEPT_S).keys, algorithms=ALGORITHMS).claims
        except (JoseError, ValueError):  # an issuer may have new keys; it is asked once a minute at most
            return jwt.decode(token, self._ask(issuer, _ASKED_AGAIN_S).keys, algorithms=ALGORITHMS).claims

    def _ask(self, issuer: str, kept_s: float) -> _Known:
        known = self._known.get(issuer)
        if known is None or time.monotonic() - known.at > kept_s:  # two threads may both ask: better than to wait
            known = self._fetch(issuer)
            self._known[issuer] = known
        return known

    def _fetch(self, issuer: str) -> _Known:
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        about = self._outbound.read_json(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if about.get("issuer") != issuer:
            raise OutboundError(f"{issuer} calls itself otherwise")
        published = self._outbound.read_json(str(about.get("jwks_uri")))
        try:
            usable = [key for key in published.get("keys", ()) if key.get("kty") in {"RSA", "EC"}]
            keys = KeySet.import_key_set({"keys": usable})
        except (JoseError, ValueError, AttributeError, TypeError) as error:
            raise OutboundError(f"{issuer} publishes something else than keys ({error})") from error
        return _Known(about, keys, time.monotonic())


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < _LATEST_S:
        raise UnprovedError(f"its {name} is no time")
    return value
