# ruff: noqa: PLC0415 (pathspec and re2 are imported when somebody sends a .gitignore: a start does without)
"""`.gitignore` on upload: which of the files that a client announces are to stay at home."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from petapter_registry_server.errors import InvalidRequestError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

IGNORE_BYTES = 64 << 10
IGNORE_FILE = ".gitignore"

Ignored = Callable[[str], bool]


def nothing_is_ignored(path: str) -> bool:
    """Without rules, every file is sent."""
    del path
    return False


def read_ignore_rules(text: str) -> Ignored:
    """Whether a path is ignored by the lines of a .gitignore at the root, as git reads them.

    Matching is linear in path and rules (re2), whatever somebody writes there.

    Raises:
        InvalidRequestError: It is longer than 64 KiB, or has a line that cannot be read.
    """
    import re2

    if len(text.encode("utf-8", "replace")) > IGNORE_BYTES:
        raise InvalidRequestError(f"{IGNORE_FILE} is longer than {IGNORE_BYTES >> 10} KiB: use fewer or shorter rules")
    rules = text.splitlines()
    try:
        spec = _compile(rules)
    except (ValueError, re.error, re2.error) as error:
        raise InvalidRequestError(_complaint(rules)) from error
    return spec.match_file


def _compile(rules: list[str]) -> "GitIgnoreSpec":
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(rules, backend="re2")


def _complaint(rules: list[str]) -> str:
    import re2

    for number, rule in enumerate(rules, start=1):
        try:
            _compile([rule])
        except (ValueError, re.error, re2.error):
            return f"line {number} of {IGNORE_FILE} is no rule: {rule[:80]!r}"
    return f"{IGNORE_FILE} has more rules than can be matched together: use fewer or shorter ones"
