"""What a process that measures a module is given, and what it says: two JSON documents, and the files beside them.

The registry's worker writes a directory and starts the core in it; neither imports the other.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from petapter_schemas.adapter_spec import Count
from petapter_schemas.digests import Sha256
from petapter_schemas.documents import parse_document
from petapter_schemas.frozen import Frozen
from petapter_schemas.manifest import EvaluationSet, EvaluationSpec, RequiredText, ShortText

TASK_FILE = "measure.json"
MODULE_FOLDER = "module"
ROWS_FILE = "rows.jsonl"
"""Labelled rows, one JSON object a line: the text fields of the task, and `label`."""

MAX_MEASUREMENT_BYTES = 1 << 20
MAX_CONFUSED_LABELS = 64
"""Of more labels no confusion is kept: it is signed with the figures, and grows with their square."""

BAD_INPUT_CODE = 3
"""Exit code of a measuring process that was given something it refuses; why is the last line of standard error."""
OUT_OF_MEMORY_CODE = 4


class MeasuringTask(Frozen):
    """What to measure: the module and the rows that lie beside this file, on a backbone that lies elsewhere.

    Attributes:
        module_sha256: Digest of the manifest; with another one nothing is measured.
        backbone: Directory of the backbone.
        evaluation_set: The rows; with another digest or number of them nothing is measured.
    """

    schema_version: Literal[1] = 1  # written always; `parse_measuring_task` refuses a file without it
    module_sha256: Sha256
    backbone: str
    evaluation_set: EvaluationSet


class Measurement(Frozen):
    """What was measured.

    Attributes:
        module_sha256: Digest of the manifest.
        figures: At least accuracy or a multi-label figure; each names the rows.
        labels: In the module's order.
        confusion: How many rows of each label were given each label; None of multi-label modules, and of more than
            `MAX_CONFUSED_LABELS` labels.
        hardware: What it ran on.
        libraries: Versions of the libraries that numbers depend on.
        seconds: What it took, with loading.
    """

    schema_version: Literal[1] = 1  # written always; `parse_measurement` refuses a document without it
    module_sha256: Sha256
    figures: Annotated[tuple[EvaluationSpec, ...], Field(min_length=1, max_length=100)]
    labels: tuple[RequiredText, ...]
    confusion: tuple[tuple[Count, ...], ...] | None = None
    hardware: ShortText
    libraries: dict[ShortText, ShortText]
    seconds: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _is_of_one_set(self) -> Self:
        if len({figure.evaluation_set for figure in self.figures}) > 1:
            raise ValueError("figures must all be of the same rows")
        counts = self.confusion
        if counts is not None and any(len(row) != len(self.labels) for row in (counts, *counts)):
            raise ValueError("confusion must have one number for each pair of labels")
        return self

    @property
    def evaluation_set(self) -> EvaluationSet:
        """The rows."""
        return self.figures[0].evaluation_set


def parse_measuring_task(data: bytes) -> MeasuringTask:
    """Read the file of a task. Raises: ManifestError."""
    return parse_document(MeasuringTask, data, source=TASK_FILE, what="measuring task")


def parse_measurement(data: bytes) -> Measurement:
    """Read what a measuring process said. Raises: ManifestError."""
    return parse_document(Measurement, data, source="the measurement", what="measurement")
