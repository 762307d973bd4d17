"""A relay between a client and the registry that counts the bytes that the client sends, and can hold or cut them."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Count:
    """Where to ask, and the bytes that went up so far, headers included.

    Attributes:
        url: The relay's address.
        sent: Bytes that went up; may be set to 0.
        hold_at: After so many bytes nothing more goes up until `let_go` is set; None for never.
        cut_at: After so many bytes the connection breaks, once; None for never.
        held: Set once something waits.
        let_go: Ends the wait.
    """

    url: str
    sent: int = 0
    hold_at: int | None = None
    cut_at: int | None = None
    held: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)

    def more(self, size: int) -> None:
        """Count bytes that are about to go up, and wait or break where that is asked.

        Raises:
            ConnectionError: The connection shall break.
        """
        self.sent += size
        if self.hold_at is not None and self.sent >= self.hold_at and not self.let_go.is_set():
            self.held.set()
            self.let_go.wait(60)
        if self.cut_at is not None and self.sent >= self.cut_at:
            self.cut_at = None
            raise ConnectionError


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
        threading.Thread(target=_join, args=(client, port, count), daemon=True).start()


def _join(client: socket.socket, port: int, count: Count) -> None:
    """Copy both ways until both have ended."""
    with client, socket.create_connection(("127.0.0.1", port)) as server:
        upward = threading.Thread(target=_copy, args=(client, server, count), daemon=True)
        upward.start()
        _copy(server, client, None)
        upward.join()


def _copy(source: socket.socket, target: socket.socket, count: Count | None) -> None:
    try:
        while data := source.recv(1 << 16):
            if count is not None:
                count.more(len(data))
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
