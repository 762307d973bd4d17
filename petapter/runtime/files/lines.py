"""Numbered lines of a file without holding more than one, and the way back when some were taken too many."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from petapter_schemas.errors import DataError

MAX_LINE_BYTES = 32 * 1024 * 1024

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Line:
    """One line.

    Attributes:
        number: From 1.
        data: Its bytes with the line feed; at most MAX_LINE_BYTES + 1 of them.
        is_cut: Whether it has more than MAX_LINE_BYTES.
    """

    number: int
    data: bytes
    is_cut: bool = False


class Lines:
    """Iterates over the lines of a stream; a line ends with a line feed, a byte order mark is left out.

    Raises:
        DataError: The file cannot be read any further.
    """

    def __init__(self, stream: BinaryIO, path: Path, size_bytes: int) -> None:
        """Read from a stream, which stays the caller's; the path is for messages."""
        self._stream = stream
        self._path = path
        self._size_bytes = size_bytes
        self._read_bytes = 0
        self._number = 0
        self._again: deque[Line] = deque()

    @property
    def share(self) -> float:
        """How much of the file was read so far, from 0 to 1."""
        return min(1.0, self._read_bytes / self._size_bytes) if self._size_bytes else 1.0

    def put_back(self, lines: Sequence[Line]) -> None:
        """Yield these lines again, in their order, before any other."""
        self._again.extendleft(reversed(lines))

    def __iter__(self) -> Iterator[Line]:
        return self

    def __next__(self) -> Line:
        if self._again:
            return self._again.popleft()
        data = self._read_line()
        if not data:
            raise StopIteration
        self._number += 1
        is_cut = len(data) > MAX_LINE_BYTES
        if is_cut:
            self._skip_rest(data)
        return Line(self._number, data.removeprefix(_BYTE_ORDER_MARK) if self._number == 1 else data, is_cut)

    def _read_line(self) -> bytes:
        try:
            data = self._stream.readline(MAX_LINE_BYTES + 1)
        except OSError as error:
            raise DataError(f"{self._path} cannot be read: {error.strerror}") from error
        self._read_bytes += len(data)
        return data

    def _skip_rest(self, data: bytes) -> None:
        while data and not data.endswith(b"\n"):
            data = self._read_line()
