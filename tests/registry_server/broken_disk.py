"""A disk that refuses one kind of deed to this process, as a full, broken or read-only one does."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import pytest

Deed = Literal["open", "write", "link", "mkdir", "replace", "fsync"]


@contextmanager
def broken(data: Path, deed: Deed, number: int) -> Iterator[None]:
    """Refuse a deed below a data directory with an error number; files can still be read."""

    def refused(path: object) -> bool:
        return isinstance(path, str | os.PathLike) and Path(path).is_relative_to(data)

    with pytest.MonkeyPatch.context() as patched:
        if deed in {"open", "write"}:
            patched.setattr(io, "open", _opening(deed, number, refused, io.open))
        elif deed == "fsync":
            patched.setattr(os, "fsync", _failing(number))
        else:
            patched.setattr(os, deed, _unless_refused(number, refused, getattr(os, deed)))
        yield


def _failing(number: int) -> Callable[[int], None]:
    def fsync(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    return fsync


def _unless_refused(number: int, refused: Callable[[object], bool], original: Callable[..., Any]) -> Callable[..., Any]:
    def deed(path: object, *more: object, **options: object) -> Any:
        if refused(path):
            raise OSError(number, os.strerror(number))
        return original(path, *more, **options)

    return deed


def _opening(
    deed: Deed, number: int, refused: Callable[[object], bool], original: Callable[..., IO[Any]]
) -> Callable[..., Any]:
    def opened(path: Any, mode: str = "r", *more: Any, **options: Any) -> Any:
        if "w" not in mode or not refused(path):
            return original(path, mode, *more, **options)
        if deed == "open":
            raise OSError(number, os.strerror(number))
        return io.BufferedWriter(_Full(path, number))

    return opened


class _Full(io.FileIO):
    """A new file that takes no byte."""

    def __init__(self, path: Any, number: int) -> None:
        super().__init__(path, "w")
        self._number = number

    def write(self, _data: Any) -> int:
        raise OSError(self._number, os.strerror(self._number))
