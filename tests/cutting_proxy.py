"""A proxy before a real registry that cuts, holds or changes the bytes of chosen files, as bad networks do."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.thread_server import running_in_a_thread

_PIECE_BYTES = 1 << 14
_HOP = {"transfer-encoding", "connection", "content-length"}


@dataclass
class Proxy:
    """What shall happen to answers to paths that end in `name`, and what happened.

    Attributes:
        name: The end of the path; nothing happens to others.
        cut_after: Bytes of a body after which the connection breaks; None for never.
        cuts_left: How often it shall.
        hold_after: Bytes of a body after which it waits until `let_go` is set.
        held: Set once it waits.
        flips_last_bit: Whether the last byte is another one.
        replaces: Bytes, and others that stand in their place.
        hold_request: Method and part of the path of requests that wait, instead of bytes, ...
        hold_answer: ... before they are sent on, or only before they are answered.
        asked: Method, path and range of every request.
    """

    url: str = ""
    name: str = "\0"
    cut_after: int | None = None
    cuts_left: int = 1
    hold_after: int | None = None
    held: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)
    flips_last_bit: bool = False
    replaces: tuple[bytes, bytes] | None = None
    hold_request: tuple[str, str] | None = None
    hold_answer: bool = False
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)

    def ranges(self, name: str) -> list[str | None]:
        """The ranges that were asked of a file."""
        return [each for method, path, each in self.asked if method == "GET" and path.endswith(name)]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, target: str, state: Proxy) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target, self.state = target, state


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def forward(self) -> None:
        self.server.state.asked.append((self.command, self.path, self.headers.get("Range")))
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        upstream = http.client.HTTPConnection(self.server.target, timeout=60)
        try:
            self.hold(answer=False)
            upstream.request(self.command, self.path, body=sent or None, headers=dict(self.headers.items()))
            response = upstream.getresponse()
            self.hold(answer=True)
            self.answer(response)
        finally:
            upstream.close()

    def hold(self, *, answer: bool) -> None:
        state = self.server.state
        if state.hold_request is None or state.hold_answer != answer:
            return
        method, part = state.hold_request
        if self.command == method and part in self.path:
            state.held.set()
            state.let_go.wait(60)

    def answer(self, response: http.client.HTTPResponse) -> None:
        body = response.read()
        chosen = self.command == "GET" and self.path.endswith(self.server.state.name)
        if chosen and self.server.state.flips_last_bit:
            body = body[:-1] + bytes([body[-1] ^ 1])
        if chosen and self.server.state.replaces:
            body = body.replace(*self.server.state.replaces)
        self.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        length = response.getheader("Content-Length") if self.command == "HEAD" else str(len(body))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        if self.command != "HEAD":
            self.send_body(body, chosen=chosen)

    def send_body(self, body: bytes, *, chosen: bool) -> None:
        state = self.server.state
        for begin in range(0, len(body), _PIECE_BYTES):
            if chosen and state.cut_after is not None and begin >= state.cut_after and state.cuts_left > 0:
                state.cuts_left -= 1
                self.close_connection = True
                return
            if chosen and state.hold_after is not None and begin >= state.hold_after and not state.let_go.is_set():
                self.wfile.flush()
                state.held.set()
                state.let_go.wait(60)
            self.wfile.write(body[begin : begin + _PIECE_BYTES])

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = forward  # noqa: N815 (http.server's names)

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:  # the client was killed, which is what the test wants
            self.close_connection = True

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def proxied(url: str) -> Iterator[Proxy]:
    """A proxy to a registry, for the time of the block."""
    state = Proxy()
    with running_in_a_thread(_Server(urlsplit(url).netloc, state)) as state.url:
        try:
            yield state
        finally:
            state.let_go.set()
