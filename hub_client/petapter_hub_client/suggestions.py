"""Finds the known name that a misspelt one probably means."""

from collections.abc import Iterable
from difflib import get_close_matches

_ALIKE = 0.6


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that begins with `word`, else the most like it, without regard to case; None when none is."""
    names: dict[str, str] = {}
    for name in known:
        names.setdefault(name.casefold(), name)
        if word and name.casefold().startswith(word.casefold()):
            return name
    found = get_close_matches(word.casefold(), names, n=1, cutoff=_ALIKE)
    return names[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'NAME'?` to end a message with, or nothing."""
    name = nearest(word, known)
    return "" if name is None else f"; did you mean {name!r}?"
