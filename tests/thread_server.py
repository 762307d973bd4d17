"""Runs a small HTTP server of a test in a thread of its own, on a free port of loopback, until the block ends."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer


@contextmanager
def running_in_a_thread(server: ThreadingHTTPServer) -> Iterator[str]:
    """The address of a server that answers for the time of the block; one that waits for nothing is closed with it."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
