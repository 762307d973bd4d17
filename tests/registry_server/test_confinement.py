"""A confined program reaches no network and is ended by its limits; each test runs a real one."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from petapter_registry_server.errors import ConfinementError
from petapter_registry_server.worker import confinement
from petapter_registry_server.worker.confinement import Confinement, Ended, Isolation, Limits

GIB = 1 << 30


def run(program: str, directory: Path, *, seconds: float = 30, memory: int = GIB, beat_s: float = 0.2) -> Ended:
    kept = Confinement(Limits(seconds, memory), beat_s=beat_s)
    return kept.run([sys.executable, "-I", "-c", program], directory)


def test_output_and_exit_code_are_the_program_s(tmp_path: Path) -> None:
    ended = run("import sys; print('said'); sys.stderr.write('one\\ntwo\\n'); sys.exit(7)", tmp_path)
    assert (ended.cause, ended.code, ended.output, ended.last_line) == ("ended", 7, b"said\n", "two")


CONNECT = """
import socket
with socket.socket({family}, {kind}) as one:
    one.settimeout(3)
    one.connect(({host!r}, {port}))
    one.send(b"x")
"""


@pytest.mark.parametrize(("family", "host"), [("socket.AF_INET", "127.0.0.1"), ("socket.AF_INET6", "::1")])
@pytest.mark.parametrize("kind", ["socket.SOCK_STREAM", "socket.SOCK_DGRAM"])
def test_program_reaches_no_server_on_this_machine(tmp_path: Path, family: str, host: str, kind: str) -> None:
    made = socket.socket(getattr(socket, family.partition(".")[2]), getattr(socket, kind.partition(".")[2]))
    with made as listener:
        listener.bind((host, 0))
        if kind == "socket.SOCK_STREAM":
            listener.listen()
        program = CONNECT.format(family=family, kind=kind, host=host, port=listener.getsockname()[1])
        assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0  # without confinement
        ended = run(program, tmp_path)
    assert ended.code == 1
    assert "unreachable" in ended.last_line or "Cannot assign" in ended.last_line


def test_program_finds_no_name(tmp_path: Path) -> None:
    ended = run("import socket; socket.getaddrinfo('huggingface.co', 443)", tmp_path)
    assert (ended.code, "gaierror" in ended.last_line) == (1, True)


def test_program_sees_no_other_process_and_no_secret_of_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    program = (
        "import os; print(os.environ.get('AWS_SECRET_ACCESS_KEY'), [p for p in os.listdir('/proc') if p.isdigit()])"
    )
    assert run(program, tmp_path).output == b"None ['1']\n"


def test_program_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    began = time.monotonic()
    ended = run("import subprocess as s; s.run(['sleep', '60'])", tmp_path, seconds=0.5)
    assert (ended.cause, time.monotonic() - began < 20) == ("timeout", True)


def test_program_that_computes_too_long_is_ended(tmp_path: Path) -> None:
    """The clock would end it first, so nobody looks at the clock here."""
    command = Confinement(Limits(0.4, GIB))._before()
    assert "--cpu=1" in command
    busy = [*command, sys.executable, "-I", "-c", "while True: pass"]
    done = subprocess.run(busy, check=False, cwd=tmp_path, timeout=60, capture_output=True)
    ended = Ended("ended", done.returncode, done.stdout, done.stderr.decode())
    assert ended.was_killed


def test_program_that_eats_memory_fails_alone(tmp_path: Path) -> None:
    ended = run("kept = bytearray(2 << 30)", tmp_path, memory=GIB)
    assert (ended.code, ended.last_line) == (1, "MemoryError")


def test_program_writes_no_file_that_fills_a_disk(tmp_path: Path) -> None:
    program = "one = open('written', 'wb', buffering=0)\nwhile True: one.write(b'x' * 1024)"
    ended = run(program, tmp_path)
    assert ended.code == 1
    assert "File too large" in ended.last_line
    assert (tmp_path / "written").stat().st_size == 4096


def test_program_finds_a_directory_for_temporary_files(tmp_path: Path) -> None:
    """Libraries ask for one when they are imported."""
    assert run("import tempfile; print(tempfile.gettempdir())", tmp_path).output.decode().strip() == str(tmp_path)


def test_program_that_writes_without_end_is_ended(tmp_path: Path) -> None:
    ended = run("while True: print('x' * 10_000)", tmp_path)
    assert (ended.cause, len(ended.output) <= confinement.MAX_OUTPUT_BYTES + (1 << 16)) == ("talkative", True)


def test_program_that_nobody_wants_is_ended(tmp_path: Path) -> None:
    asked: list[float] = []

    def is_wanted() -> bool:
        asked.append(time.monotonic())
        return len(asked) < 3

    kept = Confinement(Limits(30, GIB), beat_s=0.05)
    ended = kept.run(["sleep", "60"], tmp_path, is_wanted)
    assert (ended.cause, len(asked)) == ("unwanted", 3)


def test_what_the_question_raises_ends_the_program(tmp_path: Path) -> None:
    def is_wanted() -> bool:
        raise LookupError

    with pytest.raises(LookupError):
        Confinement(Limits(30, GIB), beat_s=0.05).run(["sleep", "61.25"], tmp_path, is_wanted)
    assert not _runs("61.25")


KILLED = """
import sys
from collections.abc import Callable
from pathlib import Path
from petapter_registry_server.worker.confinement import Confinement, Limits
print("begins", flush=True)
Confinement(Limits(60, 1 << 30)).run(["sleep", "62.5"], Path(sys.argv[1]))
"""


def test_program_dies_with_a_killed_worker(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE) as worker:
        _until(lambda: _runs("62.5"))
        worker.kill()
    _until(lambda: not _runs("62.5"))


@pytest.mark.parametrize("isolation", ["namespaces", "none"])
def test_check_passes_where_programs_can_be_confined(tmp_path: Path, isolation: Isolation) -> None:
    Confinement(Limits(30, GIB), isolation).check(tmp_path)


def test_check_refuses_a_machine_that_lets_nobody_make_namespaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`false` stands where `unshare` fails, as under the seccomp profile of a container."""
    monkeypatch.setattr(confinement, "_APART", ("false",))
    with pytest.raises(
        ConfinementError, match=r"no process can be kept from the network here .*worker_isolation"
    ) as said:
        Confinement(Limits(30, GIB)).check(tmp_path)
    assert "\n" not in str(said.value)


def test_check_refuses_confinement_that_does_not_confine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement, "_APART", ("env",))
    with pytest.raises(ConfinementError, match="reaches this one: no job is taken"):
        Confinement(Limits(30, GIB)).check(tmp_path)


def test_missing_program_is_said_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfinementError, match="the program 'setpriv' is missing: install util-linux"):
        Confinement(Limits(30, GIB)).check(tmp_path)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_ordinary_user_can_confine_too(tmp_path: Path) -> None:
    """Debian's own Python, as the one of these tests may lie where others cannot read it."""
    command = ["/usr/bin/python3", "-I", "-c", CONNECT.format(
        family="socket.AF_INET", kind="socket.SOCK_STREAM", host="127.0.0.1", port=9
    )]  # fmt: skip
    become = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    confined = [*become, *Confinement(Limits(30, GIB))._before(), *command]
    done = subprocess.run(confined, check=False, capture_output=True, text=True, cwd="/", timeout=60)
    assert "Network is unreachable" in done.stderr


def _runs(word: str) -> bool:
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if process.joinpath("cmdline").read_bytes().split(b"\0")[:2] == [b"sleep", word.encode()]:
                    return True
            except OSError:
                continue
    return False


def _until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)
