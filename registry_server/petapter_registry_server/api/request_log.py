"""One log line per request, and the id that ties an answer to it. Never tokens, never bodies."""

import random
import re
import time
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID = "request_id"
"""Under which name the state of a request has its id."""
_SENT_ID = re.compile(r"[A-Za-z0-9._:;=/-]{1,128}")
_ID_HEADERS = ("x-request-id", "x-amzn-trace-id")


class RequestLog:
    """ASGI middleware: takes the client's request id or makes one, answers with it, and logs the outcome."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._log = structlog.get_logger("petapter_registry_server")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope))
        scope.setdefault("state", {})[REQUEST_ID] = request_id
        began = time.perf_counter()
        status = 500  # what a client sees when the application fails before it answers

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, answer)
        finally:
            self._log.info(
                "request",
                request_id=request_id,
                method=scope["method"],
                path=scope.get("raw_path", b"").decode("latin-1"),  # still escaped: no line breaks
                status=status,
                ms=round((time.perf_counter() - began) * 1000, 1),
            )


def _request_id(headers: Headers) -> str:
    for name in _ID_HEADERS:
        if (sent := headers.get(name)) and _SENT_ID.fullmatch(sent):
            return sent
    return str(uuid.UUID(int=random.getrandbits(128), version=4))
