"""Who may do what: tokens as dependencies of the routes. Tokens are compared in constant time and never logged."""

import hmac

from fastapi import Request

from petapter_hub_client.serving.errors import AdminOffError, TokenError
from petapter_hub_client.serving.options import ADMIN_TOKEN_VARIABLE, Tokens

_SCHEME = "bearer "


async def may_predict(request: Request) -> None:
    """Let through whoever has a token that answers need, or everybody where they need none."""
    tokens = _tokens(request)
    if tokens.predict is None or _matches(request, tokens.predict):
        return
    if tokens.admin is None or not _matches(request, tokens.admin):
        raise TokenError("this needs a token: send 'Authorization: Bearer <token>'")


async def may_administer(request: Request) -> None:
    """Let through whoever has the admin token."""
    token = _tokens(request).admin
    if token is None:
        raise AdminOffError(
            "loading and unloading over HTTP are off: start 'petapter serve' with --admin-token-file, "
            f"or with {ADMIN_TOKEN_VARIABLE} set"
        )
    if not _matches(request, token):
        raise TokenError("this needs the admin token: send 'Authorization: Bearer <token>'")


def _tokens(request: Request) -> Tokens:
    found: Tokens = request.app.state.service.options.tokens
    return found


def _matches(request: Request, token: str) -> bool:
    sent = request.headers.get("authorization", "")
    if not sent.lower().startswith(_SCHEME):
        return False
    return hmac.compare_digest(sent[len(_SCHEME) :].strip().encode(), token.encode())
