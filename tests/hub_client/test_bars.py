"""What is said while a bar is drawn, on a terminal of its own."""

import os
import pty
import re
import subprocess
import sys

SAID = """
from petapter_hub_client.output import note, progress, warn
with progress("measuring") as on_step:
    on_step(1, 3, "first")
    warn("two texts were cut")
    on_step(2, 3, "second")
    note("a word aside")
    on_step(3, 3, "third")
warn("and one later")
"""
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_a_terminal(code: str, **environment: str) -> str:
    """What a program writes to standard error where that is a terminal."""
    ours, theirs = pty.openpty()
    env = os.environ | {"TERM": "xterm-256color", "COLUMNS": "80"} | environment
    ended = subprocess.Popen([sys.executable, "-c", code], stderr=theirs, stdout=subprocess.DEVNULL, env=env)
    os.close(theirs)
    written = bytearray()
    while True:
        try:
            chunk = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        written += chunk
    os.close(ours)
    assert ended.wait(30) == 0
    return written.decode()


def test_what_is_said_while_a_bar_is_drawn_has_a_line_of_its_own() -> None:
    written = ESCAPES.sub("", on_a_terminal(SAID))
    for line in ("warning: two texts were cut", "a word aside", "warning: and one later"):
        assert re.search(rf"(?:^|[\r\n]){line}\s*[\r\n]", written), written


def test_warning_above_a_bar_is_yellow_unless_nobody_wants_colours() -> None:
    assert "\x1b[33mwarning: two texts were cut" in on_a_terminal(SAID)
    assert "\x1b[33m" not in on_a_terminal(SAID, NO_COLOR="1")
