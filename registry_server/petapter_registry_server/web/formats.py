"""How pages write numbers, sizes and dates."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

_KIB = 1024


def size(size_bytes: int) -> str:
    """Bytes for people."""
    value = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < _KIB or unit == "GiB":
            return f"{value:,.0f} {unit}" if unit == "B" or value >= 100 else f"{value:,.1f} {unit}"  # noqa: PLR2004
        value /= _KIB
    raise AssertionError


def figure(value: float) -> str:
    """A measured figure with the digits that one can believe."""
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:,.0f}"  # noqa: PLR2004


def change(value: float) -> str:
    """A difference with its sign."""
    return f"{value:+.3f}"


def day(date: str) -> str:
    """The day of a date as the API writes it."""
    return date[:10]


def minute(date: str) -> str:
    """A date to the minute, in UTC."""
    return f"{date[:10]} {date[11:16]}"


def number(value: int) -> str:
    """With separators between thousands."""
    return f"{value:,}"


def segment(text: str) -> str:
    """A text as one segment of a path."""
    return quote(text, safe="")


FILTERS: dict[str, Callable[..., Any]] = {
    "size": size,
    "figure": figure,
    "change": change,
    "day": day,
    "minute": minute,
    "number": number,
    "segment": segment,
}
