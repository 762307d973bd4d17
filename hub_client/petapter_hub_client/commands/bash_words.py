"""Undoes what bash does to a reference before it asks for completions: it takes ':' for the end of a word.

Of `petapter pull lab:te` bash sends the words `lab`, `:` and `te`, and replaces the last one by what it is told. (The
bash-completion package has __ltrim_colon_completions for it, which need not be installed.)
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO

_ASKED = "_PETAPTER_COMPLETE"
_WORDS, _INDEX = "COMP_WORDS", "COMP_CWORD"


@contextmanager
def whole_references() -> Iterator[None]:
    """Inside, completion sees whole references; bash gets what it shall put in the place of the last word.

    Does nothing in a process that bash did not start to complete words.
    """
    words = os.environ.get(_WORDS, "").split(" ")
    if os.environ.get(_ASKED) != "complete_bash" or ":" not in words:
        yield
        return
    joined, index = _join(words, int(os.environ[_INDEX]))
    os.environ[_WORDS], os.environ[_INDEX] = " ".join(joined), str(index)
    prefix = joined[index][: joined[index].rfind(":") + 1]
    found = StringIO()
    try:
        with redirect_stdout(found):
            yield
    finally:
        sys.stdout.writelines(line.removeprefix(prefix) for line in found.getvalue().splitlines(keepends=True))


def _join(words: list[str], index: int) -> tuple[list[str], int]:
    """The words with `lab`, `:`, `te` as one, and where the word at `index` went."""
    joined: list[str] = []
    at = index
    for position, word in enumerate(words):
        if joined and (word == ":" or joined[-1].endswith(":")):
            joined[-1] += word
        else:
            joined.append(word)
        if position == index:
            at = len(joined) - 1
    return joined, min(at, len(joined) - 1)
