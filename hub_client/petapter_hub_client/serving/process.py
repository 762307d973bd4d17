"""One serving process: it listens, starts, answers until a signal, drains, and ends."""

import asyncio
import gc
import socket
import sys
from collections.abc import Callable
from importlib.metadata import version
from types import FrameType

import uvicorn

from petapter_hub_client.serving.app import create_app
from petapter_hub_client.serving.metrics import Metrics
from petapter_hub_client.serving.options import ServeOptions
from petapter_hub_client.serving.service import Opened, Service
from petapter_schemas.errors import ClosedError, InputError, PetapterError

_SWITCH_S = 0.0005
"""How soon a thread that runs Python lets another have its turn. With Python's 5 ms every send and receive may wait as
long for the engine: at 64 clients on one core, 178 texts/s instead of 211, and a p99 of 0.67 s instead of 0.56."""
_LAST_BYTES_S = 5
"""How long callers may take to read the last answers."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections; port 0 takes a free one.

    Raises:
        InputError: The address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot listen on {host} port {port}: {reason}; choose another --port") from error


def serve(
    options: ServeOptions, listener: socket.socket, open_all: Callable[[], Opened], on_ready: Callable[[Service], None]
) -> None:
    """Serve until SIGINT or SIGTERM; then what was accepted is answered. A second signal drops what waits.

    Args:
        options: Limits and tokens.
        listener: Where requests come from; /healthz answers at once, the rest after the start.
        open_all: Brings backbone and modules; runs on a thread.
        on_ready: Called when everything answers.

    Raises:
        PetapterError: Something cannot be opened, or texts were dropped at the end.
    """
    sys.setswitchinterval(_SWITCH_S)
    process = _Process(options, on_ready)
    with asyncio.Runner(loop_factory=process.server.config.get_loop_factory()) as runner:
        runner.run(process.run(listener, open_all))


class _Server(uvicorn.Server):
    """uvicorn, but a signal drains first, and the process does not die of it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.on_signal: Callable[[], object] = lambda: None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 (uvicorn's signature)
        self.on_signal()


class _Process:
    """The life of one service."""

    def __init__(self, options: ServeOptions, on_ready: Callable[[Service], None]) -> None:
        metrics = Metrics()
        self.service = Service(options, metrics)
        self._on_ready = on_ready
        self._stop, self._stop_now = asyncio.Event(), asyncio.Event()
        self.server = _Server(
            uvicorn.Config(
                create_app(self.service, metrics, version("petapter")),
                log_level="critical",  # bugs are logged where they are caught, without messages
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_LAST_BYTES_S,
            )
        )

    async def run(self, listener: socket.socket, open_all: Callable[[], Opened]) -> None:
        """Start, serve, drain, end."""
        loop = asyncio.get_running_loop()
        self.server.on_signal = lambda: loop.call_soon_threadsafe(self._signalled)
        serving = asyncio.create_task(self.server.serve(sockets=[listener]))
        try:
            await asyncio.to_thread(self.service.start, open_all)
            gc.collect()
            gc.freeze()  # torch's million objects: every few seconds a batch waited 0.3 s while they were walked over
            self._on_ready(self.service)
            await self._stop.wait()
        except ClosedError:  # a signal came before the start was over
            pass
        finally:
            dropped = await self._drain()
            self.server.should_exit = True
            await serving
        if dropped:
            raise PetapterError(f"{dropped} texts that waited were dropped: give --drain-seconds more, or less to do")

    def _signalled(self) -> None:
        (self._stop_now if self._stop.is_set() else self._stop).set()
        self.service.refuse()

    async def _drain(self) -> int:
        """Wait until what was accepted is answered; how many texts were given up."""
        self.service.refuse()
        closing = asyncio.create_task(asyncio.to_thread(self.service.close))
        hurry = asyncio.create_task(self._stop_now.wait())
        seconds = self.service.options.drain_seconds
        await asyncio.wait({closing, hurry}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        dropped = 0 if closing.done() else self.service.abandon()
        await closing  # the batch that runs
        hurry.cancel()
        return dropped
