"""Routes on the path as it was sent: in `refs%2Fpr%2F1` the escaped slash is no separator."""

from typing import Annotated
from urllib.parse import unquote

from fastapi import Path
from pydantic import AfterValidator
from starlette.types import ASGIApp, Receive, Scope, Send


class RawPathRouting:
    """ASGI middleware: frameworks route on the decoded path, this one lets them see the escaped one.

    Route parameters then arrive escaped; `Segment` undoes that.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http" and scope.get("raw_path"):
            scope = {**scope, "path": scope["raw_path"].decode("latin-1").partition("?")[0]}
        await self._app(scope, receive, send)


def unescape(segment: str) -> str:
    """A route parameter as it was meant."""
    return unquote(segment)


Segment = Annotated[str, Path(), AfterValidator(unescape)]
"""A route parameter, decoded after routing."""
