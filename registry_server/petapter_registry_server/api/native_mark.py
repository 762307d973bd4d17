"""`X-Petapter-Api: 1` on all answers of the native API, errors too: by it clients know a registry from the Hub."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from petapter_schemas.registry_api import API, API_HEADER, API_VERSION


class NativeMark:
    """ASGI middleware: marks the answers of the native API."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or not scope["path"].startswith(f"{API}/"):
            await self._app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[API_HEADER] = API_VERSION
            await send(message)

        await self._app(scope, receive, answer)
