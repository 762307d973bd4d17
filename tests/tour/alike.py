"""Says whether a command's output is what a README prints; alone knows what may differ from one run to the next."""

import re

RULES = (
    (re.compile(r"\b20\d\d-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z?)?"), "<time>"),
    (re.compile(r"\b20\d{6}T\d{6,}\b"), "<time>"),
    (re.compile(r"\b[0-9a-f]{12,64}\b"), "<hex>"),
    (re.compile(r"\bpetapter-[a-z]+-\w+"), "<scratch>"),
    (re.compile(r"\b\d+(\.\d+)? (rows|texts|MB|kB|B)/s\b"), "<rate>"),
    (re.compile(r"\b\d+(\.\d+)? (GB|MB|kB|B)\b"), "<size>"),
    (re.compile(r"\b\d+(\.\d+)? (s|ms|seconds|minutes)\b"), "<duration>"),
    (re.compile(r"  +|─+"), " "),  # widths of columns follow what stands in them
)
"""What is not compared: times, digests and commits, names of scratch folders, rates, sizes, durations, widths."""

NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e-?\d+)?(?![\w.]|\.\d)")
TOLERANCE = 0.1
"""Figures may differ by so much, or by this share of them: another processor rounds otherwise, and so learns otherwise.

With it 29 of 35 may be 31 of 35, but two modules cannot be three, and 0.83 cannot be 0.5.
"""


def alike(printed: str, found: str) -> bool:
    """Whether two outputs say the same."""
    first, second = _lines(printed), _lines(found)
    return len(first) == len(second) and all(map(_line_alike, first, second))


def _lines(text: str) -> list[str]:
    return [_plain(line) for line in text.strip("\n").splitlines()]


def _plain(line: str) -> str:
    for pattern, name in RULES:
        line = pattern.sub(name, line)
    return line.strip()


def _line_alike(first: str, second: str) -> bool:
    if NUMBER.sub("#", first) != NUMBER.sub("#", second):
        return False
    return all(map(_near, NUMBER.findall(first), NUMBER.findall(second)))


def _near(first: str, second: str) -> bool:
    one, other = float(first), float(second)
    return abs(one - other) <= (TOLERANCE if "." in first + second else 0) + TOLERANCE * max(abs(one), abs(other))
