"""A relay between a client and the registry that counts the bytes that the client sends."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass
class Count:
    """Where to ask, and the bytes that went up so far, headers included."""

    url: str
    sent: int = 0


@contextmanager
def relay(to: str) -> Iterator[Count]:
    """A relay to a server's address."""
    address = urlsplit(to)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        count = Count(f"http://127.0.0.1:{listener.getsockname()[1]}")
        threading.Thread(target=_accept, args=(listener, address.port, count), daemon=True).start()
        yield count


def _accept(listener: socket.socket, port: int, count: Count) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:  # closed
            return
        server = socket.create_connection(("127.0.0.1", port))
        for ends in ((client, server, count), (server, client, None)):
            threading.Thread(target=_copy, args=ends, daemon=True).start()


def _copy(source: socket.socket, target: socket.socket, count: Count | None) -> None:
    try:
        while data := source.recv(1 << 16):
            if count is not None:
                count.sent += len(data)
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        target.close()
