"""A client so small that it measures the server and not itself: prepared requests over kept connections."""

import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

TIMEOUT_S = 60


def prepared(method: str, path: str, token: str | None = None) -> bytes:
    """A request without a body, as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", "host: registry.test"]
    lines += [f"authorization: Bearer {token}"] if token else []
    return "\r\n".join([*lines, "", ""]).encode()


class Connection:
    """One kept connection; `ask` sends a prepared request and reads its whole answer."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._socket = socket.create_connection((address.hostname or "", address.port or 80), TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes) -> int:
        """The status of the answer. Raises: OSError when there is none."""
        self._socket.sendall(request)
        head, body = self._head()
        status = int(head.split(b" ", 2)[1])
        left = 0 if request.startswith(b"HEAD") else _length(head) - len(body)
        while left > 0:
            left -= len(self._received())
        return status

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _head(self) -> tuple[bytes, bytes]:
        read = b""
        while b"\r\n\r\n" not in read:
            read += self._received()
        head, _, body = read.partition(b"\r\n\r\n")
        return head, body

    def _received(self) -> bytes:
        if not (read := self._socket.recv(1 << 16)):
            raise ConnectionError("the server hung up")
        return read


@dataclass
class Outcome:
    """Milliseconds of every answer, and what went wrong."""

    ms: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def per_second(self) -> float:
        """Answers in a second, over all clients."""
        return len(self.ms) / self.seconds


def ask_for(url: str, requests: Sequence[bytes], *, clients: int, seconds: float) -> Outcome:
    """Let clients, a connection each, ask in turn for so many seconds; all answers must be 200."""
    outcome, ready, began = Outcome(), threading.Barrier(clients + 1), [0.0]

    def work(number: int) -> None:
        connection = Connection(url)
        ready.wait()
        end, at = began[0] + seconds, number
        while (start := time.perf_counter()) < end:
            status = connection.ask(requests[at % len(requests)])
            outcome.ms.append((time.perf_counter() - start) * 1000)
            if status != 200:
                outcome.errors.append(f"{status}")
            at += clients
        connection.close()

    threads = [threading.Thread(target=_noting(work, outcome), args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    began[0] = time.perf_counter()
    ready.wait()
    for thread in threads:
        thread.join()
    outcome.seconds = time.perf_counter() - began[0]
    return outcome


def _noting(work, outcome):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    def run(number: int) -> None:
        try:
            work(number)
        except OSError as error:
            outcome.errors.append(repr(error))

    return run


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    raise ValueError("an answer without a length")
