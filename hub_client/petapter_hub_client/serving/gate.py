"""Every request passes here: its body is bounded, its outcome counted, and a bug becomes an answer."""

import time

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from petapter_hub_client.serving.errors import answer_bug, error_answer
from petapter_hub_client.serving.metrics import Metrics


class Gate:
    """ASGI middleware around all routes."""

    def __init__(self, app: ASGIApp, metrics: Metrics, body_bytes: int) -> None:
        self._app = app
        self._metrics = metrics
        self._body_bytes = body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, unless its body is too large."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        await self._answer(scope, receive, answer)
        self._metrics.count_request(_route(scope), status, time.perf_counter() - began)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def answer(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            if self._is_too_large(Headers(scope=scope).get("content-length", "0")):
                await self._refuse(scope, receive, answer)
            else:
                await self._app(scope, self._bounded(receive), answer)
        except Exception as error:
            bug = answer_bug(error)
            if has_begun:
                raise
            await bug(scope, receive, send)

    def _is_too_large(self, length: str) -> bool:
        return length.isdecimal() and int(length) > self._body_bytes

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._metrics.reject("too_large", 413)
        await error_answer(413, "too_large", self._too_large)(scope, receive, send)

    @property
    def _too_large(self) -> str:
        return f"the body is larger than the {self._body_bytes} bytes a request may have: send fewer texts"

    def _bounded(self, receive: Receive) -> Receive:
        """A body that says nothing of its length is counted as it comes."""
        room = self._body_bytes

        async def counted() -> Message:
            nonlocal room
            message = await receive()
            if message["type"] == "http.request":
                room -= len(message.get("body", b""))
                if room < 0:
                    raise HTTPException(413, self._too_large)
            return message

        return counted


def _route(scope: Scope) -> str:
    """The route's own template, so that callers cannot make up new series."""
    path = getattr(scope.get("route"), "path", None)
    return f"{scope['method']} {path}" if path else "other"
