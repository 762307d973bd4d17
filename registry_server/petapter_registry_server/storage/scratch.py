"""Scratch directories on local disk, for the files of requests that are being received."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp


class Scratch:
    """The place below which every request gets a directory of its own."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def clear(self) -> None:
        """Remove what a killed server left; only the process that holds the data directory may."""
        shutil.rmtree(self._place, ignore_errors=True)
        self._place.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def directory(self) -> Iterator[Path]:
        """A new empty directory, removed with its content at the end."""
        self._place.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = Path(mkdtemp(dir=self._place))
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)
