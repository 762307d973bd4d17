"""Undoes what bash does to a reference before it asks for completions: it takes ':' and '@' for ends of words.

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
_BREAKS = frozenset(":@")


@contextmanager
def whole_references() -> Iterator[None]:
    """Inside, completion sees whole references; bash gets what it shall put in the place of the last word.

    Does nothing in a process that bash did not start to complete words.
    """
    words = os.environ.get(_WORDS, "").split("\n")  # typer's script joins them so
    if os.environ.get(_ASKED) != "complete_bash" or _BREAKS.isdisjoint(words):
        yield
        return
    joined, index = _join(words, int(os.environ[_INDEX]))
    os.environ[_WORDS], os.environ[_INDEX] = "\n".join(joined), str(index)
    word = joined[index]
    prefix = word[: max(word.rfind(each) for each in _BREAKS) + 1]
    if word.endswith("@"):  # of ':' bash keeps what it has, an '@' at the end it replaces
        prefix = word[:-1]
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
        if joined and (word in _BREAKS or joined[-1][-1:] in _BREAKS):
            joined[-1] += word
        else:
            joined.append(word)
        if position == index:
            at = len(joined) - 1
    return joined, min(at, len(joined) - 1)
