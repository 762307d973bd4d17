# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter serve`: modules over HTTP, all on one backbone."""

import logging
import os
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from petapter_hub_client.commands.options import (
    BackboneOption,
    DeviceOption,
    JsonOption,
    PrecisionOption,
    prepare_torch,
)
from petapter_hub_client.output import hush_huggingface, note, say, say_json, warn
from petapter_schemas.errors import PetapterError

if TYPE_CHECKING:
    from petapter_hub_client.serving.options import Tokens
    from petapter_hub_client.serving.service import Service

_NEEDED = ("fastapi", "uvicorn", "prometheus_client", "torch")
_LOOPBACK = ("127.", "::1", "localhost")


def serve(  # noqa: PLR0913 (a command's options)
    *,
    stack: Annotated[Path | None, typer.Option("--stack", metavar="STACK.yaml", help="Serve a locked stack.")] = None,
    module: Annotated[
        list[str] | None, typer.Option("--module", "-m", help="A directory or reference; may be repeated.")
    ] = None,
    backbone: BackboneOption = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Texts that run together at most.")] = 32,
    queue: Annotated[int, typer.Option("--queue", min=1, help="Texts that may wait; more are refused.")] = 1024,
    max_inputs: Annotated[int, typer.Option("--max-inputs", min=1, help="Texts of one request.")] = 256,
    max_body_bytes: Annotated[int, typer.Option("--max-body-bytes", min=1, help="Bytes of one request.")] = 1 << 20,
    module_bytes: Annotated[
        int | None,
        typer.Option("--module-bytes", min=0, help="Bytes of modules on the device; the others wait in host memory."),
    ] = None,
    cuda_graphs: Annotated[
        bool,
        typer.Option("--cuda-graphs", help="Record small passes on a GPU that can, and launch each as one graph."),
    ] = False,
    precision: PrecisionOption = "float32",
    device: DeviceOption = None,
    check: Annotated[bool, typer.Option("--check", help="Modules must reproduce their golden outputs.")] = False,
    admin_token_file: Annotated[
        Path | None,
        typer.Option("--admin-token-file", help="Holds the token for loading and unloading; or PETAPTER_SERVE_TOKEN."),
    ] = None,
    predict_token_file: Annotated[
        Path | None,
        typer.Option("--predict-token-file", help="Holds a token that answers need; or PETAPTER_SERVE_PREDICT_TOKEN."),
    ] = None,
    drain_seconds: Annotated[
        float, typer.Option("--drain-seconds", min=0, help="How long accepted requests may take after a signal.")
    ] = 30,
    as_json: JsonOption = False,
) -> None:
    """Answer texts over HTTP until SIGINT or SIGTERM; modules may come and go meanwhile."""
    _prepare()
    from petapter.runtime import BatchLimits
    from petapter_hub_client.serving.opening import Wanted, open_wanted
    from petapter_hub_client.serving.options import ServeOptions
    from petapter_hub_client.serving.process import listen
    from petapter_hub_client.serving.process import serve as run

    wanted = Wanted(tuple(module or ()), backbone, stack, precision, device)
    tokens = _tokens(admin_token_file, predict_token_file)
    options = ServeOptions(
        batches=BatchLimits(texts=batch, waiting=queue),
        inputs=max_inputs,
        body_bytes=max_body_bytes,
        module_bytes=module_bytes,
        cuda_graphs=cuda_graphs,
        check=check,
        drain_seconds=drain_seconds,
        tokens=tokens,
    )
    if tokens.predict is None and not host.startswith(_LOOPBACK):
        warn(f"whoever reaches {host} may ask: set a token with --predict-token-file")
    with listen(host, port) as listener:
        run(options, listener, lambda: open_wanted(wanted), lambda service: _say(service, listener, as_json=as_json))


def _prepare() -> None:
    for library in _NEEDED:
        if find_spec(library) is None:
            raise PetapterError(f"petapter serve needs {library}: pip install 'petapter[serve]'")
    prepare_torch("serve")
    hush_huggingface()
    logger = logging.getLogger("petapter_hub_client.serving")
    logger.setLevel(logging.INFO)
    logger.handlers = [_Lines()]
    logger.propagate = False


class _Lines(logging.Handler):
    """What the service logs, as lines with their time on standard error."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        note(self.format(record))


def _tokens(admin: Path | None, predict: Path | None) -> "Tokens":
    from petapter_hub_client.serving.options import (
        ADMIN_TOKEN_VARIABLE,
        PREDICT_TOKEN_VARIABLE,
        Tokens,
        read_token,
    )

    environment = dict(os.environ)
    return Tokens(
        admin=read_token(admin, ADMIN_TOKEN_VARIABLE, environment),
        predict=read_token(predict, PREDICT_TOKEN_VARIABLE, environment),
    )


def _say(service: "Service", listener: socket.socket, *, as_json: bool) -> None:
    """Tell where it answers."""
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    aliases = list(service.modules())
    if as_json:
        say_json({"url": url, "modules": aliases})
    else:
        say(f"petapter serves {', '.join(aliases) or 'no module yet'} at {url}")
