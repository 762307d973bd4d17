"""Writes a small file, or a new directory, so that a crash leaves the old bytes or the new ones, never a part."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from petapter_schemas.errors import InputError


def write_file_durably(path: Path, data: bytes) -> None:
    """Write a file: scratch beside it, fsync, rename over `path`, fsync of the directory.

    A link at `path` is replaced, never followed. The directory must exist.

    Raises:
        OSError: The disk refused; `path` holds what it held before.
    """
    scratch = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with scratch.open("xb") as stream:  # x: O_EXCL, so that nobody's file or link is written through
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


@contextmanager
def new_directory(out: Path) -> Iterator[Path]:
    """A scratch directory beside one that is to appear; removed whatever happens.

    Raises:
        InputError: `out` exists and is not an empty directory, or its parent cannot be written to.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists already: choose another directory or remove it")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise InputError(f"{out.parent} cannot be written to: {error.strerror}") from error
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def appear(built: Path, out: Path) -> None:
    """Give a directory whose files are written durably its place; mkdtemp made it private, it becomes an ordinary one.

    Raises:
        OSError: The disk refused, or `out` is not empty by now.
    """
    built.chmod(0o755)
    built.replace(out)
    sync_directory(out.parent)


def sync_directory(directory: Path) -> None:
    """Make renames inside a directory survive a power cut; does nothing where directories cannot be opened."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
