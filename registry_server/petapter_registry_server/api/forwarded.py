"""What proxies in front say of a request: by which scheme, host and address it came. Only proxies that are trusted."""

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_WITH_PORT = re.compile(r"([0-9.]+):[0-9]{1,5}|\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?")
_SCHEMES = frozenset({"http", "https"})


class Forwarded:
    """ASGI middleware: takes X-Forwarded-Proto, -Host and -For of proxies in `trusted` for the request's own.

    Everybody else's are passed over, so nobody chooses which address is counted or which host answers name. Of several
    values the last counts, which the nearest proxy wrote; of addresses the last that is no trusted proxy itself.
    """

    def __init__(self, app: ASGIApp, trusted: Sequence[Network]) -> None:
        self._app = app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http" and scope.get("client") and self._trusts(_address(scope["client"][0])):
            scope = self._as_forwarded(scope)
        await self._app(scope, receive, send)

    def _trusts(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)

    def _as_forwarded(self, scope: Scope) -> Scope:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        changed: dict[str, object] = {}
        if (scheme := _last(headers, b"x-forwarded-proto").lower()) in _SCHEMES:
            changed["scheme"] = scheme
        if _HOST.fullmatch(host := _last(headers, b"x-forwarded-host")):
            others = [(name, value) for name, value in headers if name != b"host"]
            changed["headers"] = [(b"host", host.encode("ascii")), *others]
        if (client := self._client(_values(headers, b"x-forwarded-for"))) is not None:
            changed["client"] = (str(client), 0)
        return {**scope, **changed}

    def _client(self, named: Sequence[str]) -> Address | None:
        """The last address that is no trusted proxy, or the first one of all; None where that is no address."""
        client = None
        for text in reversed(named):
            client = _address(text)
            if not self._trusts(client):
                break
        return client


def _values(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> list[str]:
    texts = (value.decode("latin-1") for name, value in headers if name == wanted)
    return [part.strip() for text in texts for part in text.split(",")]


def _last(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> str:
    return next(reversed(_values(headers, wanted)), "")


def _address(text: str) -> Address | None:
    if match := _WITH_PORT.fullmatch(text):
        text = match[1] or match[2]
    try:
        return ip_address(text)
    except ValueError:
        return None
