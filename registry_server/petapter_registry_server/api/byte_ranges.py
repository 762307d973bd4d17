"""The Range header (RFC 9110, section 14) as far as downloads use it: one range of bytes."""

import re
from dataclasses import dataclass

from starlette.datastructures import Headers

from petapter_registry_server.errors import RangeNotSatisfiableError

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True)
class ByteRange:
    """Bytes from `begin` up to, and without, `end`."""

    begin: int
    end: int

    @property
    def length(self) -> int:
        """Number of bytes."""
        return self.end - self.begin


def requested_range(headers: Headers, *, size: int, etag: str) -> ByteRange | None:
    """The part of a file that a request asks for, or None for the whole.

    Several ranges, other units, and an If-Range that names another content mean the whole, as the RFC allows.

    Raises:
        RangeNotSatisfiableError: The range begins behind the end of the file.
    """
    match = _RANGE.fullmatch(headers.get("range", "").strip())
    if match is None or match.groups() == ("", "") or headers.get("if-range", etag) != etag:
        return None
    first, last = match.groups()
    if not first:
        begin, end = max(size - int(last), 0), size
    else:
        begin, end = int(first), min(int(last) + 1, size) if last else size
    if last and first and int(last) < int(first):
        return None
    if begin >= end:
        raise RangeNotSatisfiableError(size)
    return ByteRange(begin, end)
