"""Reads unlabelled texts as a stream of documents: a line each, or a cell of a table each."""

import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from petapter_schemas.digests import sha256_file
from petapter_schemas.errors import InputError
from petapter_schemas.tables import read_rows

_MAX_DOCUMENT_CHARACTERS = 1_000_000
"""A longer line is read as several documents, so that a file without line breaks does not fill the memory."""

_TABLES = (".csv", ".jsonl", ".ndjson")
_COMPRESSED = (".gz", ".xz")


@dataclass(frozen=True)
class TextFile:
    """A file of texts as the record of an adaptation names it: without its folder."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Texts:
    """Files with unlabelled texts.

    Attributes:
        files: UTF-8; `.csv` and `.jsonl` are tables, anything else has one document per line and may be compressed
            (`.gz`, `.xz`).
        column: Of the tables.
    """

    files: tuple[Path, ...]
    column: str = "text"

    def digests(self) -> tuple[TextFile, ...]:
        """Name, size and sha256 of every file, as it lies on the disk.

        Raises:
            InputError: There is no file, or one cannot be read.
        """
        if not self.files:
            raise InputError("there are no texts: name at least one file")
        return tuple(_digest(path) for path in self.files)

    def documents(self) -> Iterator[str]:
        """Yield all documents, file after file; blank ones are left out.

        Raises:
            InputError: A file cannot be read, is not UTF-8, is damaged or holds no text.
        """
        for path in self.files:
            found = False
            rows = self._cells(path) if _kind(path) in _TABLES else _lines(path)
            for text in rows:
                if stripped := text.strip():
                    found = True
                    yield stripped
            if not found:
                raise InputError(f"{path} holds no text: leave it out")

    def _cells(self, path: Path) -> Iterator[str]:
        if path.suffix.lower() in _COMPRESSED:
            raise InputError(f"{path} is a compressed table: unpack it, or write one document per line")
        for row in read_rows(path, (self.column,)):
            value = row.cells.get(self.column, "")
            if not isinstance(value, str):
                raise InputError(f"{row.place}: column {self.column!r} holds no text: quote it")
            yield value


def _digest(path: Path) -> TextFile:
    try:
        return TextFile(path.name, path.stat().st_size, sha256_file(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def _kind(path: Path) -> str:
    bare = path.with_suffix("") if path.suffix.lower() in _COMPRESSED else path
    return bare.suffix.lower()


def _lines(path: Path) -> Iterator[str]:
    number = 0
    try:
        with _open(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig") as stream:
            while line := stream.readline(_MAX_DOCUMENT_CHARACTERS):
                number += 1
                yield line
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (soon after line {number}): save it as UTF-8") from error
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is no whole compressed file ({error}): get it again") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def _open(path: Path) -> BinaryIO:
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return cast("BinaryIO", gzip.open(path, "rb"))
    return cast("BinaryIO", lzma.open(path, "rb")) if suffix == ".xz" else path.open("rb")
