"""A receiver of webhooks on this machine: it answers as it is told and remembers what it was sent."""

import base64
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.thread_server import running_in_a_thread


@dataclass(frozen=True)
class Message:
    """What came, with the names of headers in small letters."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event

    def is_signed_with(self, secret: str) -> bool:
        """As https://www.standardwebhooks.com asks receivers to check, within five minutes."""
        stamp = self.headers["webhook-timestamp"]
        content = self.headers["webhook-id"].encode() + b"." + stamp.encode() + b"." + self.body
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        expected = "v1," + base64.b64encode(hmac.new(key, content, sha256).digest()).decode()
        fresh = abs(int(stamp) - time.time()) < 300
        signatures = self.headers["webhook-signature"].split(" ")
        return fresh and any(hmac.compare_digest(expected, each) for each in signatures)


@dataclass
class Receiver:
    """Answers with `status` and `headers`, after `before_answer`."""

    url: str = ""
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    before_answer: Callable[[BaseHTTPRequestHandler], None] = lambda _: None
    messages: list[Message] = field(default_factory=list)
    came: threading.Event = field(default_factory=threading.Event)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [message.event for message in self.messages]

    @property
    def kinds(self) -> list[str]:
        return [event["type"] for event in self.events]


@contextmanager
def receiving(host: str = "127.0.0.1", port: int = 0) -> Iterator[Receiver]:
    """A running receiver."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.messages.append(Message(self.path, headers, body))
            receiver.came.set()
            receiver.before_answer(self)
            self.send_response(receiver.status)
            for name, value in {"Content-Length": "0", **receiver.headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((host, port), Handler)
    with running_in_a_thread(server):
        receiver.url = f"http://{host}:{server.server_port}/hook"
        yield receiver
