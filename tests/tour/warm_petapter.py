"""A `petapter` and a `python` that start warm: each call is a process of its own, forked from one that loaded torch.

Whoever calls them keeps directory, environment, standard streams, signals and exit code; only the seconds that Python
spends on importing torch, transformers and peft are saved.
"""

import atexit
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_START_S = 120
_IMPORTED = ("matplotlib", "peft", "petapter", "petapter.estimator", "petapter.runtime", "petapter_hub_client.cli",
             "petapter_hub_client.publishing", "rich.progress", "transformers.models.bert.modeling_bert")  # fmt: skip

_CALLER = """\
#!{python} -IS
import json, os, signal, socket, sys
ends = socket.socket(socket.AF_UNIX)
ends.connect({address!r})
asked = {{"program": os.path.basename(sys.argv[0]), "arguments": sys.argv[1:], "directory": os.getcwd(),
         "environment": dict(os.environ)}}
socket.send_fds(ends, [json.dumps(asked).encode()], [0, 1, 2])
ends.shutdown(socket.SHUT_WR)
answers = ends.makefile()
process = int(answers.readline())
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _frame: os.kill(process, number))
sys.exit(int(answers.readline() or 70))
"""


@contextmanager
def warm_programs(folder: Path, environment: Mapping[str, str]) -> Iterator[Path]:
    """A folder for PATH with the two programs, for the time of the block.

    Args:
        folder: New.
        environment: Of the process that imports everything; what libraries read then, no caller changes any more.
    """
    folder.mkdir(parents=True)
    address = str(folder / "asked")
    for name in ("petapter", "python"):
        program = folder / name
        program.write_text(_CALLER.format(python=sys.executable, address=address))
        program.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, "-P", __file__, address], env=dict(environment), stdin=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + _START_S
        while not Path(address).exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the warm process did not start")
            time.sleep(0.02)
        yield folder
    finally:
        process.terminate()
        process.wait()


def _serve(address: str) -> None:
    for name in _IMPORTED:
        __import__(name)
    gc.collect()
    gc.freeze()  # forked processes share the pages of what is loaded
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{address}.soon")
        listener.listen()
        Path(f"{address}.soon").rename(address)
        while True:
            asking, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _answer(asking)
            asking.close()


def _answer(asking: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    data, streams, _, _ = socket.recv_fds(asking, 1 << 20, 3)
    while more := asking.recv(1 << 20):
        data += more
    asked = json.loads(data)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    asking.sendall(f"{os.getpid()}\n".encode())
    os.chdir(asked["directory"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    asking.sendall(f"{_run(asked['program'], asked['arguments'])}\n".encode())
    asking.close()
    os._exit(0)


def _run(program: str, arguments: list[str]) -> int:
    """The exit code; a bug shows its traceback."""
    try:
        if program == "petapter":
            from petapter_hub_client.cli import main

            main(arguments)
        else:  # `python FILE …`
            sys.argv = arguments
            sys.path.insert(0, str(Path(arguments[0]).parent))
            runpy.run_path(arguments[0], run_name="__main__")
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:  # noqa: BLE001 (as the interpreter does)
        sys.excepthook(*sys.exc_info())
        code = 1
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code


if __name__ == "__main__":
    _serve(sys.argv[1])
