"""One server process over one data directory and its database: lock, listen, say so, and run until a signal."""

import gc
import os
import signal
import socket
from pathlib import Path

import typer
import uvicorn
from fastapi import FastAPI

from petapter_registry_server.app import create_app
from petapter_registry_server.db.opening import hold_directory
from petapter_registry_server.errors import DataDirectoryError
from petapter_registry_server.failpoints import Reached, nothing
from petapter_registry_server.services.accounts import IssuedToken
from petapter_registry_server.settings import Settings

_GRACE_S = 10
_KEPT_OPEN_S = 75
"""How long an idle connection stays open: longer than clients (httpx 5 s) and balancers (nginx, AWS 60 s) keep theirs.

Where a server closes first, a request that is on its way at that moment is lost without an answer.
"""


def serve_directory(settings: Settings, port_file: Path | None, reached: Reached = nothing) -> None:
    """Serve until SIGINT or SIGTERM, and then return. Requests are queued from the moment `port_file` is written.

    Raises:
        DataDirectoryError: The directory is in use, damaged or too new, or the address cannot be listened on.
    """
    with hold_directory(settings), _listen(settings) as listener:
        app = create_app(settings, reached)
        server = _ending_politely(uvicorn.Server(server_config(app)))
        first_token = app.state.services.accounts.create_first_admin()
        port: int = listener.getsockname()[1]
        if port_file is not None:
            _write_port(port_file, port)
        typer.echo(_greeting(settings, port, app.state.database.name, first_token))
        gc.freeze()  # tables, routes and models stay: no collection need look at them
        gc.enable()
        server.run(sockets=[listener])


def _ending_politely(server: uvicorn.Server) -> uvicorn.Server:
    """Let the first SIGINT or SIGTERM end the server, from now on, and the process go on to its end with 0.

    uvicorn gives every signal back to whoever had it before, once its work is done: to the system, which would end the
    process by it, before the data directory is let go.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.handle_exit)
    return server


def server_config(app: FastAPI) -> uvicorn.Config:
    """How uvicorn serves the application, which itself says whose X-Forwarded headers it believes."""
    return uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEPT_OPEN_S,
        timeout_graceful_shutdown=_GRACE_S,
    )


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family)
    except OSError as error:
        where = f"{settings.host} port {settings.port}"
        raise DataDirectoryError(
            f"cannot listen on {where}: {error.strerror or error}; choose another --port"
        ) from error


def _write_port(port_file: Path, port: int) -> None:
    """A reader sees the whole number or no file."""
    scratch = port_file.with_name(f".{port_file.name}.{os.getpid()}")
    scratch.write_text(f"{port}\n")
    scratch.replace(port_file)


def _greeting(settings: Settings, port: int, database: str, first_token: IssuedToken | None) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{host}:{port}"
    over = "" if settings.database is None else f" with {database}"
    lines = [f"petapter-registry serves {settings.data}{over} at {url}"]
    if first_token is not None:
        lines += ["", "First start. The token of the user 'admin', shown this once:", "", f"    {first_token.secret}"]
    lines += [
        "",
        "To log in:",
        f"    petapter remote add lab {url} && petapter login lab",
        f"    HF_ENDPOINT={url} hf auth login",
        "",
    ]
    return "\n".join(lines)
