# ruff: noqa: PLC0415 (pathspec and re2 are imported when a repository has such rules: a start does without)
"""`.gitattributes`: which files travel apart from a commit however short they are, because they have `filter=lfs`."""

import re
import shlex
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from petapter_schemas.digests import sha256_bytes

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

ATTRIBUTES_FILE = ".gitattributes"
ATTRIBUTES_BYTES = 64 << 10
FIRST_ATTRIBUTES = b"*.safetensors binary\n*.png binary\n"
"""What a repository begins with: it says nothing of LFS, so that sizes alone decide."""
FIRST_ATTRIBUTES_SHA256 = sha256_bytes(FIRST_ATTRIBUTES)

GoesApart = Callable[[str], bool]


def by_size_alone(path: str) -> bool:
    """Without rules, no file travels apart for its name."""
    del path
    return False


def read_lfs_rules(text: str) -> GoesApart:
    """Whether the lines of a .gitattributes at the root give a path `filter=lfs`; the last that matches counts.

    As with git, a line that is no rule is passed over. Other than with git, a pattern that fits a folder counts for the
    files in it. Matching is linear in path and rules (re2), and rules beyond 64 KiB together steer nothing.
    """
    if len(text.encode("utf-8", "replace")) > ATTRIBUTES_BYTES:
        return by_size_alone
    rules = [rule for rule in _rules(text) if _compiled([rule]) is not None]
    spec = _compiled(rules) if rules else None
    return by_size_alone if spec is None else spec.match_file


def _rules(text: str) -> Iterator[str]:
    """The lines that say something of a filter, as lines of a .gitignore: what LFS does not filter is let off."""
    for line in text.splitlines():
        pattern, *attributes = _words(line) or [""]
        said = [a for a in attributes if a.lstrip("-!").partition("=")[0] == "filter"]
        if said and not pattern.startswith(("#", "!", "[attr]")):
            yield pattern if said[-1] == "filter=lfs" else f"!{pattern}"


def _words(line: str) -> list[str]:
    """Pattern and attributes; a pattern with spaces stands in double quotes."""
    if not line.lstrip().startswith('"'):
        return line.split()
    try:
        return shlex.split(line)
    except ValueError:
        return []


def _compiled(rules: list[str]) -> "GitIgnoreSpec | None":
    import re2
    from pathspec import GitIgnoreSpec

    try:
        return GitIgnoreSpec.from_lines(rules, backend="re2")
    except (ValueError, re.error, re2.error):
        return None
