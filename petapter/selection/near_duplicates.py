"""Which texts are nearly the same: those that share four fifths of their runs of three words, whatever their case."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

_ALIKE = 0.8
_RUN = 3
_WORD = re.compile(r"\w+")


def near_duplicate_groups(texts: Sequence[str]) -> Iterator[list[int]]:
    """Yield the texts that belong together, directly or by way of others; a text without its like is alone.

    Groups come in the order of their first texts, texts in their order.
    """
    runs = [_runs(text) for text in texts]
    leader = list(range(len(texts)))

    def find(text: int) -> int:
        while leader[text] != text:
            leader[text] = leader[leader[text]]
            text = leader[text]
        return text

    by_run: dict[tuple[str, ...], list[int]] = {}
    for text, own in enumerate(runs):
        common = Counter(other for run in own for other in by_run.get(run, ()))
        for other, shared in common.items():
            if shared >= _ALIKE * (len(own) + len(runs[other]) - shared):
                leader[find(text)] = find(other)
        for run in own:
            by_run.setdefault(run, []).append(text)
    together: dict[int, list[int]] = {}
    for text in range(len(texts)):
        together.setdefault(find(text), []).append(text)
    yield from together.values()


def _runs(text: str) -> frozenset[tuple[str, ...]]:
    """Runs of words; a text of fewer words is one run."""
    words = _WORD.findall(text.casefold()) or [text]
    if len(words) <= _RUN:
        return frozenset({tuple(words)})
    return frozenset(tuple(words[at : at + _RUN]) for at in range(len(words) - _RUN + 1))
