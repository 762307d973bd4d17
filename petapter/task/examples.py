"""Labelled and unlabelled rows from CSV and JSON Lines files, kept as the text they are: "NA" and "null" stay words."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from petapter_schemas.errors import DataError
from petapter_schemas.fingerprints import rows_sha256
from petapter_schemas.label_cells import join_labels, split_labels
from petapter_schemas.tables import Row, read_rows, some
from petapter_schemas.task import TaskSpec

LABEL_COLUMN = "label"
LABELS_COLUMN = "labels"
WEIGHT_COLUMN = "weight"


@dataclass(frozen=True)
class Example:
    """One labelled row.

    Attributes:
        fields: Its texts by field.
        label: The name of its label; empty in rows of a multi-label task.
        weight: How much it counts in training, above 0.
        labels: In rows of a multi-label task the names of its labels, in label order and possibly none; else empty.
    """

    fields: dict[str, str]
    label: str = ""
    weight: float = 1.0
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.label and self.labels:
            raise DataError("a row has one label or, in a multi-label task, several: give 'label' or 'labels'")

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of all its labels, whichever way they were given."""
        return (self.label,) if self.label else self.labels


def read_examples(path: Path, task: TaskSpec) -> list[Example]:
    """Read labelled rows: a CSV file with a header, or JSON Lines (`.jsonl`, `.ndjson`).

    Columns are the task's text fields, `label` and, where there is one, `weight`. In rows of a multi-label task `label`
    or `labels` holds names joined by `|`, in JSON Lines a list of names; an empty one means none of the labels.

    Raises:
        DataError: The file, a column or a cell is missing or empty, a label is not one of the task's, or a weight is no
            number above 0.
    """
    columns = (*task.fields, LABEL_COLUMN) if task.type == "single-label" else task.fields
    extra = tuple(name for name in (LABEL_COLUMN, LABELS_COLUMN, WEIGHT_COLUMN) if name not in columns)
    return [_example(row, task) for row in read_rows(path, columns, extra)]


def read_texts(path: Path, fields: Sequence[str]) -> list[dict[str, str]]:
    """Read unlabelled rows: a CSV file with a header or JSON Lines; further columns are ignored.

    Raises:
        DataError: The file, a column or a cell is missing or empty.
    """
    return [{name: row.text(name) for name in fields} for row in read_rows(path, fields)]


def rows_digest(examples: Sequence[Example]) -> str:
    """The digest that names a set of labelled rows, whatever their order (schemas/README.md, "rows_sha256")."""
    rows = ({**example.fields, LABEL_COLUMN: example.label or join_labels(example.labels)} for example in examples)
    return rows_sha256(rows, [example.weight for example in examples])


def _example(row: Row, task: TaskSpec) -> Example:
    fields = {name: row.text(name) for name in task.fields}
    has_weight = WEIGHT_COLUMN in row.cells and WEIGHT_COLUMN not in task.fields
    weight = row.positive_number(WEIGHT_COLUMN) if has_weight else 1.0
    if task.type == "single-label":
        return Example(fields, _known(row, (row.text(LABEL_COLUMN),), task)[0], weight)
    return Example(fields, weight=weight, labels=_known(row, _names(row, task), task))


def _names(row: Row, task: TaskSpec) -> tuple[str, ...]:
    """The names in the label cell of a multi-label row."""
    columns = [name for name in (LABEL_COLUMN, LABELS_COLUMN) if name in row.cells and name not in task.fields]
    if not columns:
        raise DataError(f"{row.place}: there is no column 'label' or 'labels': add one, empty for none of the labels")
    if len(columns) > 1:
        raise DataError(f"{row.place}: there are both columns 'label' and 'labels': drop one")
    match row.cells[columns[0]]:
        case str() as cell:
            try:
                return split_labels(cell)
            except ValueError as error:
                raise DataError(f"{row.place}: column {columns[0]!r}: {error}") from error
        case list() as names if all(isinstance(name, str) for name in names):
            return tuple(names)
        case _:
            raise DataError(f"{row.place}: column {columns[0]!r} must hold names of labels: leave it empty for none")


def _known(row: Row, names: tuple[str, ...], task: TaskSpec) -> tuple[str, ...]:
    """The names in label order."""
    known = task.label_names
    if unknown := [name for name in names if name not in known]:
        raise DataError(
            f"{row.place}: label {unknown[0]!r} is not in the task (labels: {some(known)}): "
            "correct the row or add the label"
        )
    if len(set(names)) < len(names):
        raise DataError(f"{row.place}: a label is named twice: name it once")
    return tuple(name for name in known if name in names)
