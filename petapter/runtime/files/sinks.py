"""Writes answers piece by piece, each on the disk before the next: as a growing file, or as Parquet parts."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from petapter.runtime.files.layout import Answered, Layout
from petapter.runtime.files.parquet import join_tables, write_table
from petapter_schemas.durable import sync_directory
from petapter_schemas.errors import InputError

_PART = re.compile(r"[0-9]{8}\.parquet")
_JOINED = "joined.parquet"


class AnswersPart(Protocol):
    """Answers that are not all there yet."""

    def append(self, answered: Sequence[Answered]) -> int:
        """Add rows and wait until they are on the disk; returns what `written` of the checkpoint is now."""

    def publish(self, output: Path) -> None:
        """Give the whole its name, in place of what bears it; may be repeated after a crash, until `discard`."""

    def discard(self) -> None:
        """Remove what is left of it; nothing happens where nothing is left."""


class GrowingFile:
    """A file that only grows, cut back first to what a checkpoint knows of."""

    def __init__(self, path: Path, written: int) -> None:
        """Take a part file of `written` bytes; it is made, if there is none, by the first `append`."""
        self._path = path
        self._written = written

    def append(self, data: bytes) -> int:
        """Add bytes, wait until they are on the disk, and return how many there are.

        Raises:
            InputError: The disk refused, or the file is not what was written.
        """
        if self._written and (not self._path.is_file() or self._path.stat().st_size < self._written):
            raise InputError(f"{self._path} is not what was written: --restart throws it away and begins anew")
        with writing(self._path), self._path.open("r+b" if self._written else "wb") as stream:
            stream.truncate(self._written)
            stream.seek(self._written)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        self._written += len(data)
        return self._written

    def publish(self, output: Path) -> None:
        """Rename it to `output`; does nothing where that was done."""
        with writing(self._path):
            if self._path.exists() or not output.exists():
                os.truncate(self._path, self._written)
                self._path.replace(output)
            sync_directory(output.parent)

    def discard(self) -> None:
        """Remove it."""
        with writing(self._path):
            self._path.unlink(missing_ok=True)


class TextAnswers:
    """CSV or JSON Lines as a growing file."""

    def __init__(self, file: GrowingFile, header: bytes, line: Callable[[Answered], bytes], *, begun: bool) -> None:
        """Write rows by `line`, after the header unless the file has begun."""
        self._file = file
        self._begin = b"" if begun else header
        self._line = line

    def append(self, answered: Sequence[Answered]) -> int:
        """Add rows and wait until they are on the disk; returns the bytes of the file."""
        written = self._file.append(self._begin + b"".join(map(self._line, answered)))
        self._begin = b""
        return written

    def publish(self, output: Path) -> None:
        """Rename the part file."""
        self._file.publish(output)

    def discard(self) -> None:
        """Remove the part file."""
        self._file.discard()


class ParquetAnswers:
    """Numbered Parquet files in a directory, one for each piece, which become the row groups of one file."""

    def __init__(self, directory: Path, layout: Layout, written: int) -> None:
        """Take a part directory of `written` files; it is made, if there is none, by the first `append`."""
        self._directory = directory
        self._layout = layout
        self._written = written

    def append(self, answered: Sequence[Answered]) -> int:
        """Add rows as a file and wait until it is on the disk; returns how many files there are."""
        path = self._part(self._written + 1)
        with writing(self._directory):
            self._directory.mkdir(exist_ok=True)
            scratch = path.with_suffix(".tmp")
            write_table(scratch, self._layout.columns(), [self._layout.values(row) for row in answered])
            _move_durably(scratch, path)
        self._written += 1
        return self._written

    def publish(self, output: Path) -> None:
        """Join the files, in order, and rename the whole."""
        parts = [self._part(number) for number in range(1, self._written + 1)]
        joined = self._directory / _JOINED
        with writing(self._directory):
            join_tables(parts, joined)
            _move_durably(joined, output)

    def discard(self) -> None:
        """Remove the directory and the files that belong in it; with anything else in it, it stays."""
        if not self._directory.is_dir():
            return
        with writing(self._directory):
            for path in self._directory.iterdir():
                if _PART.fullmatch(path.with_suffix(".parquet").name) or path.name == _JOINED:
                    path.unlink()
            self._directory.rmdir()

    def _part(self, number: int) -> Path:
        return self._directory / f"{number:08d}.parquet"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Translate what a disk says while a part is written.

    Raises:
        InputError: The disk refused; what the checkpoint knows of is still there.
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}): put that right and run the same again, "
            "it goes on where it was"
        ) from error


def _move_durably(scratch: Path, path: Path) -> None:
    with scratch.open("r+b") as stream:
        os.fsync(stream.fileno())
    scratch.replace(path)
    sync_directory(path.parent)
