"""What one row of answers looks like in each format: the columns of a table, and the keys of a JSON line."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from petapter.runtime.answers import Prediction
from petapter.runtime.files.chunks import BrokenRow, TextRow
from petapter.runtime.files.parquet import ColumnType
from petapter_schemas.digests import Sha256
from petapter_schemas.errors import InputError
from petapter_schemas.label_cells import join_labels
from petapter_schemas.task import TaskSpec

_ROW = "row"
_TO_QUOTE = re.compile(r'[",\r\n]')


@dataclass(frozen=True)
class FileModule:
    """A loaded module as a run over a file knows it.

    Attributes:
        alias: Its name in the engine.
        task: Its labels and text fields.
        sha256: The digest of its manifest, which lists the digests of its other files.
    """

    alias: str
    task: TaskSpec
    sha256: Sha256


@dataclass(frozen=True)
class Answered:
    """A row and what each module said of it, by alias."""

    row: TextRow
    said: Mapping[str, Prediction]

    @property
    def is_cut(self) -> bool:
        """Whether some module could not be shown the whole text."""
        return any(prediction.lost_tokens for prediction in self.said.values())


@dataclass(frozen=True)
class Layout:
    """Modules and kept columns, in the order in which they are written."""

    modules: tuple[FileModule, ...]
    keep: tuple[str, ...]

    def columns(self) -> dict[str, ColumnType]:
        """The columns of a table: the row's number, kept columns, and those of each module.

        Those of a module are `alias.label`, `alias.probability` (of a multi-label module `alias.labels` alone),
        `alias.lost_tokens`, and `alias.probability.LABEL` of each label.

        Raises:
            InputError: Two columns have the same name.
        """
        columns: list[tuple[str, ColumnType]] = [(_ROW, "int64"), *((name, "text") for name in self.keep)]
        for module in self.modules:
            columns += _module_columns(module)
        names = [name for name, _ in columns]
        if len(set(names)) < len(names):
            repeated = next(name for name in names if names.count(name) > 1)
            raise InputError(f"the answers would have column {repeated!r} twice: keep fewer columns, or write .jsonl")
        return dict(columns)

    def values(self, answered: Answered) -> list[object]:
        """One row of the table; probabilities as they are, None where there is nothing to say."""
        values: list[object] = [answered.row.number, *map(_as_text, answered.row.kept)]
        for module in self.modules:
            said = answered.said[module.alias]
            values += [list(said.labels)] if _is_multi(module) else [said.label, _label_probability(said)]
            values += [said.lost_tokens or None, *said.probabilities.values()]
        return values

    def csv_header(self) -> bytes:
        """The first line of a CSV file."""
        return _csv_line(map(_quoted, self.columns()))

    def csv_line(self, answered: Answered) -> bytes:
        """A row as a line of CSV."""
        return _csv_line(map(_csv_cell, self.values(answered)))

    def json_line(self, answered: Answered) -> bytes:
        """A row as a line of JSON: `row`, `columns` if any are kept, and `answers` by alias."""
        kept = dict(zip(self.keep, map(_as_json, answered.row.kept), strict=True))
        answers = {module.alias: _json_answer(module, answered.said[module.alias]) for module in self.modules}
        return _json_line({_ROW: answered.row.number} | ({"columns": kept} if kept else {}) | {"answers": answers})


def broken_line(broken: BrokenRow) -> bytes:
    """A broken row as a line of JSON: `row`, `line` where the file has lines, and `reason`; no text."""
    line = {} if broken.line is None else {"line": broken.line}
    return _json_line({_ROW: broken.number} | line | {"reason": broken.reason})


def _is_multi(module: FileModule) -> bool:
    return module.task.type == "multi-label"


def _module_columns(module: FileModule) -> list[tuple[str, ColumnType]]:
    alias = module.alias
    labels: list[tuple[str, ColumnType]] = (
        [(f"{alias}.labels", "texts")]
        if _is_multi(module)
        else [(f"{alias}.label", "text"), (f"{alias}.probability", "float32")]
    )
    probabilities: list[tuple[str, ColumnType]] = [
        (f"{alias}.probability.{label}", "float32") for label in module.task.label_names
    ]
    return [*labels, (f"{alias}.lost_tokens", "int32"), *probabilities]


def _label_probability(said: Prediction) -> float | None:
    return None if said.label is None else said.probabilities[said.label]


def _json_answer(module: FileModule, said: Prediction) -> dict[str, object]:
    answer: dict[str, object] = {"labels": said.labels}
    if not _is_multi(module):
        probability = _label_probability(said)
        answer = {"label": said.label, "probability": None if probability is None else _rounded(probability)}
    answer["probabilities"] = {label: _rounded(value) for label, value in said.probabilities.items()}
    return answer | ({"lost_tokens": said.lost_tokens} if said.lost_tokens else {})


def _rounded(probability: float) -> float:
    """To seven significant digits: float32 knows no more."""
    return float(f"{probability:.7g}")


def _json_line(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _csv_line(cells: Iterable[str]) -> bytes:
    return ",".join(cells).encode() + b"\n"


def _quoted(cell: str) -> str:
    r"""A cell in quotes if it needs them; csv.writer of Python 3.11 leaves a lone `\r` bare, which breaks the row."""
    return '"{}"'.format(cell.replace('"', '""')) if _TO_QUOTE.search(cell) else cell


def _csv_cell(value: object) -> str:
    match value:
        case None:
            return ""
        case float():
            return repr(_rounded(value))
        case int():
            return str(value)
        case list():
            return _quoted(join_labels(value))
        case _:
            return _quoted(str(value))


def _as_text(value: object) -> str | None:
    """A kept cell of any file in a table: texts as they are, numbers and the like as JSON writes them."""
    plain = _as_json(value)
    return plain if plain is None or isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _as_json(value: object) -> object:
    """A kept cell of any file as JSON; a date and the like as text, a number that is none as null."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {str(name): _as_json(item) for name, item in value.items()}
        case list():
            return [_as_json(item) for item in value]
        case None | str() | int():
            return value
        case _:
            return str(value)
