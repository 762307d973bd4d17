"""Writes a task.yaml and a train.csv for somebody to look at and go on from."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from petapter_schemas.durable import write_file_durably
from petapter_schemas.errors import InputError

Row = tuple[str, str]
"""Text and label."""


def check_new_files(folder: Path, names: Sequence[str]) -> None:
    """Make a folder, and refuse to write over anything in it.

    Raises:
        InputError: A file is there already, or the folder cannot be made.
    """
    for name in names:
        if (folder / name).exists():
            raise InputError(f"{folder / name} exists already: choose another folder or remove it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror}") from error


def write_task(path: Path, labels: Mapping[str, Sequence[str]], pattern: str, comment: Sequence[str]) -> None:
    """Write labels with their words, and a pattern, below some lines of comment."""
    document = {
        "labels": {name: words[0] if len(words) == 1 else list(words) for name, words in labels.items()},
        "patterns": [pattern],
    }
    head = "".join(f"# {line}\n" for line in comment)
    body = yaml.safe_dump(document, allow_unicode=True, sort_keys=False, width=10_000)
    write_file_durably(path, (head + body).encode("utf-8"))


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV with a header; texts stay what they are, also `NA` and `null`."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("text", "label"))
    writer.writerows(rows)
    write_file_durably(path, buffer.getvalue().encode("utf-8"))
