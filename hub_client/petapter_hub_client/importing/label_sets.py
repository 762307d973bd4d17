"""Reads what SetFit and transformers leave behind, labelled rows or the labels of a model, as a task and rows to go on.

Rows are CSV, JSON Lines or a JSON list with `text`, `label` and, as in the SetFit data sets on the Hub, `label_text`. A
model is a directory with `config_setfit.json` (`labels`) or `config.json` (`id2label`).
"""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from petapter_hub_client.importing.task_files import Row, check_new_files, write_rows, write_task
from petapter_schemas import strict_json
from petapter_schemas.errors import InputError, ManifestError

_TASK_FILE, _ROWS_FILE = "task.yaml", "train.csv"
_PATTERN = "{text} It is about {mask}."
_COMMENT = (
    "A start: choose words that say what each label means, and a pattern in which they read well.",
    "A word of several tokens needs as many {mask}; 'petapter train' says so.",
)
_SUFFIXES = (".csv", ".jsonl", ".ndjson", ".json")
_MOST_BYTES = 256 * 1024 * 1024
_LEAST_LABELS = 2


@dataclass(frozen=True)
class ImportedLabels:
    """What a labelled set or a model became.

    Attributes:
        task: The task file, to be looked at.
        rows: The rows; a header alone where there were none.
        labels: Their names in order.
        count: How many rows.
    """

    task: Path
    rows: Path
    labels: tuple[str, ...]
    count: int


def import_label_set(source: Path, out: Path) -> ImportedLabels:
    """Write a task file and rows into a folder, in which nothing is written over.

    Args:
        source: A file of rows, or a model's directory.
        out: The folder.

    Raises:
        InputError: The source cannot be read, or has fewer than two labels.
    """
    labels, rows = ((_model_labels(source)), []) if source.is_dir() else _read_rows(source)
    if len(labels) < _LEAST_LABELS:
        raise InputError(f"{source} has {len(labels)} labels: a task needs two or more")
    check_new_files(out, (_TASK_FILE, _ROWS_FILE))
    write_task(
        out / _TASK_FILE, {label: [_word(label)] for label in labels}, _PATTERN, (f"from {source.name}", *_COMMENT)
    )
    write_rows(out / _ROWS_FILE, rows)
    return ImportedLabels(out / _TASK_FILE, out / _ROWS_FILE, tuple(labels), len(rows))


def _word(label: str) -> str:
    """A label as people would write it in a sentence."""
    return " ".join(label.replace("_", " ").replace("-", " ").split()).lower() or label


def _model_labels(directory: Path) -> list[str]:
    """By SetFit's own configuration, else by that of transformers."""
    own = _json(directory / "config_setfit.json")
    if isinstance(own, dict) and isinstance(own.get("labels"), list):
        return _distinct([str(label) for label in own["labels"]], directory)
    config = _json(directory / "config.json")
    named = config.get("id2label") if isinstance(config, dict) else None
    if not isinstance(named, dict) or not all(key.isdecimal() for key in named):
        raise InputError(
            f"{directory} names no labels: neither config_setfit.json has 'labels' nor config.json 'id2label'"
        )
    return _distinct([str(named[key]) for key in sorted(named, key=int)], directory)


def _json(path: Path) -> object:
    try:
        return strict_json.loads(path.read_bytes(), source=str(path))
    except FileNotFoundError:
        return None
    except (OSError, ManifestError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _distinct(labels: Sequence[str], source: Path) -> list[str]:
    if len(set(labels)) < len(labels):
        raise InputError(f"{source} names a label twice: {', '.join(labels)}")
    return list(labels)


def _read_rows(path: Path) -> tuple[list[str], list[Row]]:
    """Labels in the order of their numbers where they have any, else as they come; and the rows."""
    if path.suffix not in _SUFFIXES:
        raise InputError(f"{path} is neither a model's directory nor a file of rows ({', '.join(_SUFFIXES)})")
    rows: list[Row] = []
    numbers: dict[str, str] = {}
    for number, record in enumerate(_records(path), start=1):
        text, label = record.get("text"), record.get("label")
        if not isinstance(text, str) or not text.strip() or label is None or not str(label).strip():
            raise InputError(f"{path}: row {number} has no text or no label")
        shown = record.get("label_text")
        name = shown if isinstance(shown, str) and shown.strip() else str(label)
        if numbers.setdefault(name, str(label)) != str(label):
            raise InputError(f"{path}: row {number} gives {name!r} the number {label}, another row {numbers[name]}")
        rows.append((text, name))
    names = list(numbers)
    if all(value.isdecimal() for value in numbers.values()):
        names.sort(key=lambda name: int(numbers[name]))
    return names, rows


def _records(path: Path) -> Iterable[Mapping[str, object]]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"{path} is too large for labelled rows: up to {_MOST_BYTES:,} bytes are read")
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".csv":
            return list(csv.DictReader(text.splitlines(keepends=True), strict=True))
        found = json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines() if line]
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, csv.Error, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
        raise InputError(f"{path} is no list of rows with 'text' and 'label'")
    return found
