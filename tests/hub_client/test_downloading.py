"""Small files, compared with what a remote calls them by."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import HfApi

from petapter_hub_client.downloading import RemoteFile, read_small
from petapter_hub_client.hub import Hub
from petapter_hub_client.remotes import Remote
from petapter_schemas.errors import DigestMismatchError
from tests.thread_server import running_in_a_thread

DATA = b'{"name": "tickets"}'
SHA256 = hashlib.sha256(DATA).hexdigest()
OF_GIT = hashlib.sha1(b"blob %d\0" % len(DATA) + DATA, usedforsecurity=False).hexdigest()
ALONE = hashlib.sha1(DATA, usedforsecurity=False).hexdigest()
OTHER = "0" * 40

Headers = dict[str, str]


@contextmanager
def _remote(headers: Headers, on_redirect: Headers | None) -> Iterator[Hub]:
    """A remote with one file, which redirects to it first where there are headers for that."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_redirect = on_redirect is not None and self.path != "/store"
            self.send_response(302 if is_redirect else 200)
            for name, value in ((on_redirect or {}) | {"Location": "/store"} if is_redirect else headers).items():
                self.send_header(name, value)
            body = b"" if is_redirect else DATA
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with running_in_a_thread(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield Hub(Remote("far", url), HfApi(endpoint=url, token=False), None)


def _read(hub: Hub) -> bytes:
    return read_small(hub, RemoteFile("team/tickets", "0" * 40, "petapter.json"), 100)


@pytest.mark.parametrize(
    ("headers", "on_redirect"),
    [
        ({"ETag": f'"{OF_GIT}"'}, None),
        ({"ETag": f'W/"{OF_GIT}"'}, None),
        ({"ETag": f'"{SHA256}"'}, None),
        ({"ETag": f'"{ALONE}"'}, None),
        ({"ETag": '"5d41402abc4b2a76b9719d911017c592"'}, None),
        ({}, None),
        ({"ETag": f'"{OTHER}"'}, {"X-Linked-ETag": f'"{SHA256}"'}),
    ],
    ids=["git", "weak", "sha256", "mirror", "a store's own", "none", "of the remote, not of its store"],
)
def test_file_that_is_what_the_remote_knows_is_taken(headers: Headers, on_redirect: Headers | None) -> None:
    with _remote(headers, on_redirect) as hub:
        assert _read(hub) == DATA


@pytest.mark.parametrize(
    ("headers", "on_redirect"),
    [
        ({"ETag": f'"{OTHER}"'}, None),
        ({"ETag": f'W/"{OTHER}"'}, None),
        ({"ETag": f'"{"0" * 64}"'}, None),
        ({"ETag": f'"{SHA256}"'}, {"X-Linked-ETag": f'"{OTHER}"'}),
    ],
    ids=["sha1", "weak", "sha256", "of the remote, not of its store"],
)
def test_file_that_is_not_what_the_remote_knows_is_refused(headers: Headers, on_redirect: Headers | None) -> None:
    with (
        _remote(headers, on_redirect) as hub,
        pytest.raises(DigestMismatchError, match="is damaged"),
    ):
        _read(hub)
