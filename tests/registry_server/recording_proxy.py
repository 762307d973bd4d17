"""A proxy that passes requests on to another server and remembers them: what a client sent, and what it did not."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

from tests.thread_server import running_in_a_thread

_OF_ONE_HOP = {"connection", "transfer-encoding", "content-length", "date", "server"}


@dataclass(frozen=True)
class Seen:
    """A request as it arrived; names of headers are in small letters."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def is_presigned(self) -> bool:
        return "X-Amz-Signature=" in self.path


@dataclass
class Proxy:
    """A running proxy."""

    url: str
    seen: list[Seen] = field(default_factory=list)

    def presigned(self) -> list[Seen]:
        """Requests to addresses that carry their own permission, since the last time."""
        found = [request for request in self.seen if request.is_presigned]
        self.seen.clear()
        return found


@contextmanager
def recording_proxy(upstream: str, may_pass: Callable[[Seen], bool] = lambda _: True) -> Iterator[Proxy]:
    """A proxy before the server at `upstream`, on a free port of this machine; what may not pass is answered by 403."""
    client = httpx.Client(base_url=upstream, timeout=60)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            seen = Seen(self.command, self.path, headers, body)
            proxy.seen.append(seen)
            if not may_pass(seen):
                self.send_response(403)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            answer = client.request(self.command, self.path, headers=headers, content=body)
            self.send_response_only(answer.status_code)
            for name, value in answer.headers.multi_items():
                if name.lower() not in _OF_ONE_HOP:
                    self.send_header(name, value)
            length = answer.headers.get("content-length", "0") if self.command == "HEAD" else len(answer.content)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else answer.content)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on  # noqa: N815 (names that http.server looks for)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with client, running_in_a_thread(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        proxy = Proxy(url)
        yield proxy
