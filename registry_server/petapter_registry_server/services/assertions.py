"""OpenID Connect assertions (RFC 7519) of programs whose issuers somebody registered: proved, and good for one use."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from petapter_registry_server.errors import OAuthError, OutboundError, UnprovedError
from petapter_registry_server.services.issuers import LEEWAY_S, Issuers
from petapter_registry_server.services.outbound import Outbound


@dataclass(frozen=True)
class Assertion:
    """What an issuer says of a program, proved."""

    issuer: str
    audiences: tuple[str, ...]
    claims: Mapping[str, Any]
    sha256: str
    last_ms: int


class Assertions:
    """Proves assertions, with the keys that their issuers publish."""

    def __init__(self, outbound: Outbound) -> None:
        self._issuers = Issuers(outbound)

    def prove(self, token: str, issuer: str, *, now_s: float) -> Assertion:
        """What a signed assertion of an issuer says.

        Raises:
            OAuthError: The signature, the times, or the form is wrong, or the issuer's keys cannot be read.
        """
        try:
            proved = self._issuers.prove(token, issuer, now_s=now_s)
        except UnprovedError as error:
            raise _refused(str(error)) from error
        except OutboundError as error:
            raise _refused(f"the keys of its issuer cannot be read ({error})") from error
        unique = proved.claims.get("jti")
        if not isinstance(unique, str) or not unique:
            raise _refused("it has no jti, so that it could be used twice")
        digest = sha256(f"{issuer}\0{unique}".encode("utf-8", "surrogatepass")).hexdigest()
        last_ms = int((proved.ends_s + LEEWAY_S) * 1000)
        return Assertion(issuer, proved.audiences, proved.claims, digest, last_ms)


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


def _refused(why: str) -> OAuthError:
    return OAuthError("invalid_grant", f"the subject_token is refused: {why}")
