"""Reads the YAML configurations of the PETapter paper's code: patterns and words become tasks, the rest a command.

Rieger, Ruckdeschel, Wiedemann 2024, arXiv 2412.04975. `dataset` has `pattern` (name -> text with <TEXT> and <mask>) and
`verbalizer` (label -> words that fill the masks); `adapter` has `model`, `arch`, and the numbers of the training, which
preset `paper` has too: one that differs from the paper's is said, since that preset would not follow it.
"""

import csv
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from petapter_hub_client.importing.task_files import Row, check_new_files, write_rows, write_task
from petapter_schemas.errors import InputError, InvalidNameError
from petapter_schemas.names import check_name

_ARCHITECTURES = {"lora": "lora", "ia3": "ia3", "pfeiffer": "bottleneck"}
_PAPER = {
    "c_rate": 16.0, "r": 8.0, "alpha": 16.0, "learning_rate": 5e-5, "max_epochs": 30.0,
    "per_device_train_batch_size": 2.0,
}  # fmt: skip
"""What preset `paper` trains with."""
_OF_KIND = {"c_rate": "pfeiffer", "r": "lora", "alpha": "lora"}
_ROWS_FILE = "train.csv"
_MOST_CHARACTERS = 1 << 20
_COLUMNS = 2


@dataclass(frozen=True)
class ImportedConfig:
    """What a configuration became.

    Attributes:
        tasks: Task files by the name of their pattern.
        rows: The converted rows; None where none were given.
        commands: One `petapter train` line for each model, kind of adapter and pattern.
        runs: How often the paper repeats each, as `--run 1` and so on.
        notes: What was not carried over, one line each.
    """

    tasks: Mapping[str, Path]
    rows: Path | None
    commands: tuple[str, ...]
    runs: int
    notes: tuple[str, ...]


def import_paper_config(path: Path, out: Path, *, rows: Path | None = None) -> ImportedConfig:
    """Write a task file for each pattern of a configuration, and say how to train with it.

    Args:
        path: The YAML file.
        out: A folder for the files; nothing in it is written over.
        rows: The paper's train.csv, two columns without a header, to be written with one.

    Raises:
        InputError: The file is no such configuration, or names what petapter does not have.
    """
    document = _read(path)
    dataset, adapter = _part(document, "dataset", path), _part(document, "adapter", path)
    patterns, labels = _texts(dataset, "pattern", path), _texts(dataset, "verbalizer", path)
    read = _read_rows(rows) if rows is not None else []
    names = {pattern: f"task-{_file_name(pattern, path)}.yaml" for pattern in patterns}
    templates = {pattern: _template(text, pattern, path) for pattern, text in patterns.items()}
    made = ImportedConfig(
        tasks={pattern: out / name for pattern, name in names.items()},
        rows=None if rows is None else out / _ROWS_FILE,
        commands=tuple(_commands(adapter, names, out, path)),
        runs=_whole_number(adapter.get("number_of_runs", "1"), "number_of_runs", path),
        notes=tuple(_notes(adapter, patterns)),
    )
    check_new_files(out, [*names.values(), *([_ROWS_FILE] if rows is not None else [])])
    comment = [f"from {path.name}, whose authors read words without the space before them, as --preset paper does"]
    for pattern, template in templates.items():
        write_task(made.tasks[pattern], {label: [word] for label, word in labels.items()}, template, comment)
    if made.rows is not None:
        write_rows(made.rows, read)
    return made


class _AsThePaperReads(yaml.SafeLoader):
    """Every scalar is the text it is; of a repeated key the last counts, as in the paper's own example."""


_AsThePaperReads.yaml_implicit_resolvers = {}


def _read(path: Path) -> Mapping[str, object]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if len(text) > _MOST_CHARACTERS:
            raise InputError(f"{path} is too long for a configuration")
        document = yaml.load(text, Loader=_AsThePaperReads)  # noqa: S506 (a SafeLoader)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is no readable YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise InputError(f"{path} is no configuration of the paper's code: it needs 'dataset' and 'adapter'")
    return document


def _part(document: Mapping[str, object], name: str, path: Path) -> Mapping[str, object]:
    part = document.get(name)
    if not isinstance(part, dict):
        raise InputError(f"{path} has no {name!r}: it is no configuration of the paper's code")
    return part


def _texts(part: Mapping[str, object], name: str, path: Path) -> dict[str, str]:
    """A mapping of texts."""
    texts = part.get(name)
    if not isinstance(texts, dict) or not texts or not all(isinstance(text, str) for text in texts.values()):
        raise InputError(f"{path} has no usable dataset.{name}: it is a mapping of names to texts")
    return {str(key): text for key, text in texts.items()}


def _names(value: object, name: str, path: Path) -> list[str]:
    """A text, a list of texts, or the values of a mapping: the paper's code takes each."""
    values = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else [value]
    if not values or not all(isinstance(each, str) and each for each in values):
        raise InputError(f"{path} has no usable adapter.{name}")
    return [str(each) for each in values]


def _template(text: str, pattern: str, path: Path) -> str:
    if text.count("<TEXT>") != 1 or "<mask>" not in text:
        raise InputError(f"{path}: pattern {pattern!r} needs <TEXT> once, and <mask>: {text!r}")
    literal = text.replace("{", "{{").replace("}", "}}")
    return literal.replace("<TEXT>", "{text}").replace("<mask>", "{mask}")


def _file_name(pattern: str, path: Path) -> str:
    try:
        return check_name(pattern, what="pattern name")
    except InvalidNameError as error:
        raise InputError(f"{path}: {error}") from error


def _commands(adapter: Mapping[str, object], names: Mapping[str, str], out: Path, path: Path) -> list[str]:
    lines = []
    for backbone in _names(adapter.get("model"), "model", path):
        for architecture in _names(adapter.get("arch"), "arch", path):
            if (kind := _ARCHITECTURES.get(architecture)) is None:
                known = ", ".join(_ARCHITECTURES)
                raise InputError(f"{path}: adapter.arch {architecture!r} is none of preset paper's: {known}")
            for pattern, task in names.items():
                module = f"{backbone.rpartition('/')[2]}-{architecture}-{pattern}"
                words = ["petapter", "train", str(out / _ROWS_FILE), "--task", str(out / task), "--backbone", backbone,
                         "--preset", "paper", "--adapter", kind, "--run", "1", "--out", module]  # fmt: skip
                lines.append(shlex.join(words))
    return lines


def _notes(adapter: Mapping[str, object], patterns: Mapping[str, str]) -> list[str]:
    architectures = _names(adapter.get("arch"), "arch", Path())
    notes = []
    for key, usual in _PAPER.items():
        value = adapter.get(key)
        if value is None or _OF_KIND.get(key, architectures[0]) not in architectures or _is_number(value, usual):
            continue
        notes.append(f"{key} is {value}: preset paper trains with {usual:g}, as the paper did")
    for name, text in patterns.items():
        if "</s>" in text:
            notes.append(f"pattern {name!r} has </s>, which parts texts for RoBERTa and XLM-R alone")
    return notes


def _is_number(value: object, expected: float) -> bool:
    try:
        return isinstance(value, str) and float(value) == expected
    except ValueError:
        return False


def _whole_number(value: object, name: str, path: Path) -> int:
    if not isinstance(value, str) or not value.isdecimal() or int(value) < 1:
        raise InputError(f"{path}: adapter.{name} is {value!r} and no number of runs")
    return int(value)


def _read_rows(path: Path) -> list[Row]:
    """Two columns without a header."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = [row for row in csv.reader(stream, strict=True) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    for number, row in enumerate(rows, start=1):
        if len(row) != _COLUMNS or not row[0].strip() or not row[1].strip():
            raise InputError(f"{path}: row {number} is not a text and a label: {len(row)} columns")
    return [(text, label) for text, label in rows]
