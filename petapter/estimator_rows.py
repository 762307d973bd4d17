"""What scikit-learn's tools hand to a classifier of texts: rows in any form, labels and weights, read and checked."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from sklearn.utils import assert_all_finite, check_array, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from petapter_schemas.errors import EstimatorDataError


@runtime_checkable
class _Frame(Protocol):
    """What pandas, polars and their like have in common: named columns."""

    columns: Iterable[str]

    def __getitem__(self, name: str, /) -> Iterable[object]: ...


def read_texts(rows: object, fields: tuple[str, ...], name: str = "X") -> list[dict[str, str]]:
    """Texts by field, in whatever form they were given.

    Args:
        rows: A sequence of texts, of mappings or of texts in the order of the fields, or a data frame.
        fields: Text fields of the patterns.
        name: Of the argument, for messages.

    Raises:
        EstimatorDataError: A field is missing, or something is no text.
    """
    if isinstance(rows, _Frame):
        columns = list(rows.columns)
        if missing := [field for field in fields if field not in columns]:
            raise EstimatorDataError(f"{name} has no column {missing[0]!r}, which the pattern reads: add or rename one")
        rows = list(zip(*(rows[field] for field in fields), strict=True))
    if isinstance(rows, str) or not isinstance(rows, Iterable):
        raise EstimatorDataError(f"{name} must be a sequence of texts, not one {type(rows).__name__}: give a list")
    return [_read_text(row, f"row {number} of {name}", fields) for number, row in enumerate(rows)]


def _read_text(row: object, place: str, fields: tuple[str, ...]) -> dict[str, str]:
    named: Mapping[object, object]
    if isinstance(row, Mapping):
        named = row
    else:
        cells = list(row) if isinstance(row, Sequence | np.ndarray) and not isinstance(row, str) else [row]
        if len(cells) != len(fields):
            raise EstimatorDataError(
                f"{place} has {len(cells)} texts, the pattern reads {len(fields)}: {', '.join(fields)}"
            )
        named = dict(zip(fields, cells, strict=True))
    for name in fields:
        if not isinstance(named.get(name), str):
            found = f"a {type(named[name]).__name__}" if name in named else "missing"
            raise EstimatorDataError(f"{place}: {name!r} must be a text but is {found}: correct or drop it")
    return {name: str(named[name]) for name in fields}


def read_labels(y: object, rows: int) -> npt.NDArray[Any]:
    """Labels of all rows, [N].

    Raises:
        EstimatorDataError: They are no labels, or not as many as rows.
    """
    if y is None:
        raise EstimatorDataError(
            "this classifier requires y to be passed, but the target y is None: give a label per row"
        )
    try:
        labels: npt.NDArray[Any] = column_or_1d(y, warn=True)
        assert_all_finite(labels, input_name="y")
        check_classification_targets(labels)
        check_consistent_length([None] * rows, labels)
    except (ValueError, TypeError) as error:
        raise EstimatorDataError(f"y cannot be used: {' '.join(str(error).split())}") from error
    return labels


def read_weights(weights: object, rows: int) -> npt.NDArray[np.float64]:
    """Weights of all rows, [N]; 1 where there are none.

    Raises:
        EstimatorDataError: One is negative, or all are zero.
        ValueError: They are no numbers, or not as many as rows.
    """
    if weights is None:
        return np.ones(rows)
    values: npt.NDArray[np.float64] = check_array(
        weights, ensure_2d=False, dtype=np.float64, ensure_min_samples=0, input_name="sample_weight"
    )
    if values.shape != (rows,):
        raise EstimatorDataError(f"sample_weight has shape {values.shape}, expected ({rows},): give one for each row")
    if (values < 0).any() or not (values > 0).any():
        raise EstimatorDataError("weights must be 0 or more, and some must not be zero: correct sample_weight")
    return values
