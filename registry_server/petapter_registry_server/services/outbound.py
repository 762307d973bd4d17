# ruff: noqa: PLC0415 (httpx is imported when somebody is asked: a start does without)
"""Asking addresses that others name: https only, never inside the network, and no longer than is good for us."""

import ipaddress
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import SplitResult, urlencode, urlsplit

from petapter_registry_server.errors import OutboundError

if TYPE_CHECKING:
    import httpx

_TIMEOUT_S = 5
_DEADLINE_S = 10
_MAX_BYTES = 256 << 10
_READ_TIMEOUT_S = 30
_CHUNK_BYTES = 1 << 16
_UNICAST = ipaddress.ip_network("2000::/3")
"""What of IPv6 is given out for the internet (RFC 4291); Python calls much else global, such as fec0::/10 and ::/96."""
_SPECIAL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20")))
"""Not on the internet either (RFC 6890, 7526, 9637), whatever this Python says."""
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Answer:
    """An answer whose body is still on its way; it must be read, or closed. Names of headers are in small letters."""

    def __init__(self, response: "httpx.Response", closing: ExitStack) -> None:
        self.status = response.status_code
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self._response = response
        self._closing = closing

    def close(self) -> None:
        """Leave the rest of the body."""
        self._closing.close()

    def chunks(self) -> Iterator[bytes]:
        """The body as it arrives; the connection is closed when its chunks are read or dropped."""
        chunks = self._chunks()
        next(chunks)  # to where the connection is closed however the chunks are dropped
        return chunks

    def read(self, limit: int) -> bytes:
        """The whole body.

        Raises:
            OutboundError: It is longer than `limit` bytes, or breaks off.
        """
        body = bytearray()
        for chunk in self.chunks():
            body += chunk
            if len(body) > limit:
                raise OutboundError(f"an answer is longer than {limit} bytes")
        return bytes(body)

    def _chunks(self) -> Iterator[bytes]:
        import httpx

        with self._closing:
            yield b""
            try:
                yield from self._response.iter_raw(_CHUNK_BYTES)
            except httpx.HTTPError as error:
                raise OutboundError(f"an answer broke off: {type(error).__name__}") from error


class Outbound:
    """Asks over HTTP. The name is resolved once, its address judged, and that address connected to, so that a name that
    changes its address in between changes nothing; redirects are not followed.
    """

    def __init__(self, *, loopback: bool) -> None:
        self._loopback = loopback

    def check_url(self, url: str) -> SplitResult:
        """The parts of an address that may be asked.

        Raises:
            OutboundError: It is no plain https address.
        """
        parts = _split(url)
        host = parts.hostname or ""
        plain = parts.scheme == "http" and self._loopback and is_loopback(host)
        if not (parts.scheme == "https" or plain) or not host or parts.username is not None or parts.fragment:
            raise OutboundError(f"{url!r} cannot be asked: it must be an https address without a user")
        return parts

    def check_place(self, url: str) -> None:
        """Look up where an address leads now.

        Raises:
            OutboundError: As `check_url`, or its name is unknown, or leads to a place that is not asked.
        """
        self._pinned(url)

    def send(self, url: str, *, headers: Mapping[str, str], body: bytes) -> int:
        """POST a body and return the status of the answer, of which nothing else is read.

        It ends after `_DEADLINE_S` seconds, however slowly the other side takes and answers.

        Raises:
            OutboundError: The address may not be asked, or does not answer in time.
        """
        import httpx

        parts, pinned = self._pinned(url)
        own = {"Host": parts.netloc, "Accept-Encoding": "identity", "User-Agent": "petapter-registry"}
        with (
            _Deadline(_DEADLINE_S) as deadline,
            httpx.Client(timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False) as client,
        ):
            client.headers.clear()
            try:
                with client.stream(
                    "POST",
                    pinned,
                    headers={**headers, **own},
                    content=body,
                    extensions={"sni_hostname": parts.hostname or "", "trace": deadline.watch},
                ) as response:
                    return response.status_code
            except httpx.HTTPError as error:
                raise OutboundError(f"{parts.hostname} did not answer: {type(error).__name__}") from error

    def read_json(self, url: str, *, headers: Mapping[str, str] | None = None) -> Mapping[str, Any]:
        """The JSON object at an address, asked for with headers that carry nobody's secrets but the address's own.

        Raises:
            OutboundError: The address may not be asked, does not answer, or answers something else.
        """
        status, text = self._converse("GET", url, headers=headers or {}, body=b"")
        if status != HTTPStatus.OK:
            raise OutboundError(f"{self.check_url(url).hostname} answered with status {status}")
        return _json_object(url, text)

    def send_form(self, url: str, *, headers: Mapping[str, str], form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        """The status and the JSON object with which an address answers to the fields of a form.

        Raises:
            OutboundError: The address may not be asked, does not answer, or answers something else.
        """
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        status, text = self._converse("POST", url, headers={**headers, **kind}, body=urlencode(form).encode())
        return status, _json_object(url, text)

    def _converse(self, method: str, url: str, *, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        import httpx

        parts, pinned = self._pinned(url)
        own = {"Host": parts.netloc, "Accept-Encoding": "identity", "User-Agent": "petapter-registry"}
        asked = {"Accept": "application/json", **headers, **own}
        try:
            return _read(httpx.Request(method, pinned, headers=asked, content=body or None), name=parts.hostname or "")
        except httpx.HTTPError as error:
            raise OutboundError(f"{parts.hostname} did not answer: {type(error).__name__}") from error

    def ask(self, method: str, url: str, *, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer to a request that bears these headers and none of anybody's secrets; its body comes as it is sent.

        Raises:
            OutboundError: The address may not be asked, does not answer, or packs its answer although asked not to.
        """
        import httpx

        parts, pinned = self._pinned(url)
        own = {"Host": parts.netloc, "Accept-Encoding": "identity", "User-Agent": "petapter-registry"}
        with ExitStack() as stack:
            try:
                timeout = httpx.Timeout(_TIMEOUT_S, read=_READ_TIMEOUT_S)
                client = stack.enter_context(httpx.Client(timeout=timeout, follow_redirects=False, trust_env=False))
                client.headers.clear()
                response = stack.enter_context(
                    client.stream(
                        method,
                        pinned,
                        headers={**headers, **own},
                        content=body or None,
                        extensions={"sni_hostname": parts.hostname or ""},
                    )
                )
            except httpx.HTTPError as error:
                raise OutboundError(f"{parts.hostname} did not answer: {type(error).__name__}") from error
            if response.headers.get("content-encoding", "identity") != "identity":
                raise OutboundError(f"{parts.hostname} packed its answer although asked not to")
            return Answer(response, stack.pop_all())

    def _pinned(self, url: str) -> tuple[SplitResult, str]:
        """The parts of an address, and the same address with the number that was judged in the place of the name."""
        parts = self.check_url(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        address = self._resolve(host, port)
        shown = f"[{address}]" if address.version == 6 else str(address)  # noqa: PLR2004
        return parts, parts._replace(netloc=f"{shown}:{port}").geturl()

    def _resolve(self, host: str, port: int) -> _Address:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:  # the latter where a part of the name is empty or too long
            raise OutboundError(f"the address of {host} cannot be found") from error
        addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
        for address in addresses:
            if not (is_public(address) or (self._loopback and address.is_loopback)):
                raise OutboundError(f"{host} is not on the public internet and is not asked")
        return addresses[0]


class _Deadline:
    """Breaks a connection off that is still open after so many seconds, whatever either side is doing.

    Limits of single reads and writes do not: an answer that comes letter by letter keeps within all of them.
    """

    def __init__(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
        self._is_over = False

    def watch(self, event: str, about: Mapping[str, Any]) -> None:
        """Learn of the connection: what httpx calls with every step of a request."""
        if event != "connection.connect_tcp.complete":
            return
        with self._lock:
            self._connection = about["return_value"].get_extra_info("socket").dup()
            if self._is_over:
                self._break_off()

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _end(self) -> None:
        with self._lock:
            self._is_over = True
            self._break_off()

    def _break_off(self) -> None:
        if self._connection is not None:
            with suppress(OSError):  # the other side was quicker
                self._connection.shutdown(socket.SHUT_RDWR)


def is_public(address: _Address) -> bool:
    """Whether an address is somebody else's on the internet; addresses that carry another are not."""
    if isinstance(address, ipaddress.IPv6Address):
        carries = address.ipv4_mapped or address.sixtofour or address.teredo
        if carries or address not in _UNICAST:
            return False
    is_special = any(address in network for network in _SPECIAL)
    return address.is_global and not address.is_multicast and not is_special


def _split(url: str) -> SplitResult:
    """The parts. What is left out or written otherwise by one reader of addresses and not by the next is refused."""
    if not url.isascii() or not url.isprintable() or " " in url:
        raise OutboundError(
            f"{url!r} is no address: it has characters that addresses do not have, so write them as %20, and those of "
            "a name as xn--…"
        )
    try:
        parts = urlsplit(url)
        _ = parts.port  # a port that is none is found when it is asked for
    except ValueError as error:
        raise OutboundError(f"{url!r} is no address: {error}") from error
    return parts


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine, as it is written."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _json_object(url: str, text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise OutboundError(f"{url} did not answer with JSON: {type(error).__name__}") from error
    if not isinstance(document, dict):
        raise OutboundError(f"{url} answered with something else than an object")
    return document


def _read(request: "httpx.Request", *, name: str) -> tuple[int, bytes]:
    """Status and body; TLS checks the certificate against the name, not against the address that is connected to."""
    import httpx

    body, ends = bytearray(), time.monotonic() + _DEADLINE_S
    with (
        _Deadline(_DEADLINE_S) as deadline,
        httpx.Client(timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False) as client,
    ):
        request.extensions = {"sni_hostname": name, "trace": deadline.watch, "timeout": client.timeout.as_dict()}
        with closing(client.send(request, stream=True)) as response:
            for chunk in response.iter_raw():  # as sent: what is packed small cannot become large
                body += chunk
                if len(body) > _MAX_BYTES or time.monotonic() > ends:
                    raise OutboundError(f"{name} answered with more than {_MAX_BYTES} bytes, or for too long")
    return response.status_code, bytes(body)
