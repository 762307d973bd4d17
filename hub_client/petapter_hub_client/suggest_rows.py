# ruff: noqa: PLC0415 (the core is imported when rows are read)
"""The labelled rows that `suggest` measures modules on, as they were read and as each module wants them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from petapter_hub_client.suggestions import did_you_mean
from petapter_schemas.errors import DataError, InputError
from petapter_schemas.manifest import Manifest
from petapter_schemas.names import label_key

if TYPE_CHECKING:
    from petapter.task import Example
    from petapter_schemas.tables import Row

_LABEL = "label"
_LABELS = "labels"


@dataclass(frozen=True)
class LabelledRows:
    """Rows of one file.

    Attributes:
        cells: As they were read.
        gold: By row its labels as modules call them, sorted; one of each unless the rows are of several.
        labels: All of them, each once.
        of_several: Whether a row may have several labels or none: the column is called `labels`, or a cell of `label`
            is a list or joins names by `|`.
    """

    cells: "Sequence[Row]"
    gold: tuple[tuple[str, ...], ...]
    labels: tuple[str, ...]
    of_several: bool

    @classmethod
    def read(cls, path: Path, names: Mapping[str, str]) -> Self:
        """Read a file.

        Args:
            path: CSV or JSON Lines.
            names: By label of the rows, what modules call it.

        Raises:
            DataError: There are no rows, or nothing to tell apart.
            InputError: `names` names a label that no row has, or two for the same.
        """
        cells, own, of_several = _read(path)
        every = tuple(dict.fromkeys(label for labels in own for label in labels))
        for name in names:
            if name not in every:
                raise InputError(f"--map {name!r}: no row has this label{did_you_mean(name, every)}")
        labels = tuple(dict.fromkeys(names.get(label, label) for label in every))
        if len({label_key(label) for label in labels}) < len(every):
            raise InputError("two labels of the rows mean the same one of a module: map each to another one")
        gold = tuple(tuple(sorted(names.get(label, label) for label in labels_of_row)) for labels_of_row in own)
        if len(set(gold)) < 2:  # noqa: PLR2004 (what there is to tell apart)
            shown = " and ".join(map(repr, own[0])) or "none"
            raise DataError(f"{path}: all rows have the label {shown}: give rows of two labels at least")
        return cls(cells, gold, labels, of_several)

    @property
    def keys(self) -> set[str]:
        """The labels as they are compared."""
        return {label_key(label) for label in self.labels}

    def frequent_right(self) -> tuple[bool, ...]:
        """By row whether giving all rows what most of them have would be right."""
        ((frequent, _),) = Counter(self.gold).most_common(1)
        return tuple(labels == frequent for labels in self.gold)

    def fits_exactly(self, manifest: Manifest) -> bool:
        """Whether a module has these labels and no further one."""
        return {label_key(name) for name in manifest.task.label_names} == self.keys

    def examples_for(self, manifest: Manifest) -> "list[Example]":
        """The rows in the fields and labels of a module.

        Raises:
            DataError: It has other fields.
            InputError: It lacks a label, or gives several at a time where rows have one, or the other way round.
        """
        from petapter.task import Example

        task = manifest.task
        if (task.type == "multi-label") != self.of_several:
            raise InputError("it gives one label at a time" if self.of_several else "it gives several labels at a time")
        known = {label_key(name): name for name in task.label_names}
        if missing := [label for label in self.labels if label_key(label) not in known]:
            raise InputError(f"it has no label {missing[0]!r}")
        if lacking := [name for name in task.fields if name not in self.cells[0].cells]:
            raise DataError(f"it reads a column {lacking[0]!r}, which the rows do not have")
        examples = []
        for row, gold in zip(self.cells, self.gold, strict=True):
            fields = {name: row.text(name) for name in task.fields}
            labels = tuple(known[label_key(name)] for name in gold)
            examples.append(Example(fields, labels=labels) if self.of_several else Example(fields, labels[0]))
        return examples


def _read(path: Path) -> "tuple[list[Row], list[tuple[str, ...]], bool]":
    """Rows, their labels as they are written, and whether they are of several."""
    from petapter_schemas.tables import read_rows

    cells = list(read_rows(path, (), (_LABEL, _LABELS)))
    if _LABELS in cells[0].cells:
        return cells, [_names(row, _LABELS) for row in cells], True
    if _LABEL not in cells[0].cells:
        raise DataError(f"{path} has no column 'label' or 'labels': rename or add it")
    of_several = any(_is_of_several(row.cells.get(_LABEL)) for row in cells)
    return cells, [_names(row, _LABEL) if of_several else (row.text(_LABEL),) for row in cells], of_several


def _is_of_several(cell: object) -> bool:
    return isinstance(cell, list) or (isinstance(cell, str) and "|" in cell)


def _names(row: "Row", column: str) -> tuple[str, ...]:
    from petapter_schemas.label_cells import split_labels

    cell = row.cells.get(column)
    if isinstance(cell, list) and all(isinstance(name, str) for name in cell):
        return tuple(dict.fromkeys(cell))
    try:
        return tuple(dict.fromkeys(split_labels(row.text(column)))) if cell else ()
    except ValueError as error:
        raise DataError(f"{row.place}: column {column!r}: {error}") from error
