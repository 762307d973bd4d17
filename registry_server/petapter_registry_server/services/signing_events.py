"""How the events of webhooks are signed: HMAC-SHA256 over id, time and body, in the headers of Standard Webhooks.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md: receivers find libraries
for it in most languages.
"""

import base64
import hmac
import secrets
from collections.abc import Mapping, Sequence
from hashlib import sha256

_PREFIX = "whsec_"
_SECRET_BYTES = 32


def new_secret() -> str:
    """A secret as receivers get it: 32 random bytes in base64 behind `whsec_`."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def signed_headers(keys: Sequence[str], message_id: str, *, at_s: int, body: bytes) -> Mapping[str, str]:
    """The headers of a delivery: its id, the time of this attempt, and a signature over both and the body with each
    secret; receivers take a message when one of them fits.
    """
    signed = f"{message_id}.{at_s}.".encode() + body
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": " ".join(_signature(key, signed) for key in keys),
    }


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    return f"v1,{base64.b64encode(hmac.new(key, signed, sha256).digest()).decode()}"
