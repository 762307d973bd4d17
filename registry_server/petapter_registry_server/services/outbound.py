"""Reading JSON from addresses that others name: https only, never from inside the network, few bytes, soon or not."""

import ipaddress
import json
import socket
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpx

from petapter_registry_server.errors import OutboundError

_TIMEOUT_S = 5
_DEADLINE_S = 10
_MAX_BYTES = 256 << 10
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Outbound:
    """Fetches JSON. The name is resolved once, its address judged, and that address connected to, so that a name that
    changes its address in between changes nothing; redirects are not followed.
    """

    def __init__(self, *, loopback: bool) -> None:
        self._loopback = loopback

    def check_url(self, url: str) -> SplitResult:
        """The parts of an address that may be asked.

        Raises:
            OutboundError: It is no plain https address.
        """
        parts = urlsplit(url)
        host = parts.hostname or ""
        plain = parts.scheme == "http" and self._loopback and _is_loopback(host)
        if not (parts.scheme == "https" or plain) or not host or parts.username is not None or parts.fragment:
            raise OutboundError(f"{url!r} cannot be asked: it must be an https address without a user")
        return parts

    def read_json(self, url: str) -> Mapping[str, Any]:
        """The JSON object at an address.

        Raises:
            OutboundError: The address may not be asked, does not answer, or answers something else.
        """
        parts = self.check_url(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        address = self._resolve(host, port)
        shown = f"[{address}]" if address.version == 6 else str(address)  # noqa: PLR2004
        pinned = parts._replace(netloc=f"{shown}:{port}").geturl()
        try:
            document = json.loads(_read(pinned, host=parts.netloc, name=host))
        except (httpx.HTTPError, ValueError, RecursionError) as error:
            raise OutboundError(f"{url} did not answer with JSON: {type(error).__name__}") from error
        if not isinstance(document, dict):
            raise OutboundError(f"{url} answered with something else than an object")
        return document

    def _resolve(self, host: str, port: int) -> _Address:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise OutboundError(f"the address of {host} cannot be found") from error
        addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
        for address in addresses:
            if not (is_public(address) or (self._loopback and address.is_loopback)):
                raise OutboundError(f"{host} is not on the public internet and is not asked")
        return addresses[0]


def is_public(address: _Address) -> bool:
    """Whether an address is somebody else's on the internet; addresses that carry another are not."""
    if isinstance(address, ipaddress.IPv6Address):
        carries = address.ipv4_mapped or address.sixtofour or address.teredo
        if carries or address in _NAT64:
            return False
    return address.is_global and not address.is_multicast


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read(url: str, *, host: str, name: str) -> bytes:
    """The body; TLS checks the certificate against the name, not against the address that is connected to."""
    body, ends = bytearray(), time.monotonic() + _DEADLINE_S
    headers = {"Host": host, "Accept": "application/json", "Accept-Encoding": "identity"}
    with (
        httpx.Client(timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False) as client,
        client.stream("GET", url, headers=headers, extensions={"sni_hostname": name}) as response,
    ):
        if response.status_code != httpx.codes.OK:
            raise OutboundError(f"{name} answered with status {response.status_code}")
        for chunk in response.iter_raw():  # as sent: what is packed small cannot become large
            body += chunk
            if len(body) > _MAX_BYTES or time.monotonic() > ends:
                raise OutboundError(f"{name} answered with more than {_MAX_BYTES} bytes, or for too long")
    return bytes(body)
