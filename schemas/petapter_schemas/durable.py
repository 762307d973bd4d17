"""Writes a small file so that a crash leaves the old bytes or the new ones, never a part."""

import os
import secrets
from pathlib import Path


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


def sync_directory(directory: Path) -> None:
    """Make renames inside a directory survive a power cut; does nothing where directories cannot be opened."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
