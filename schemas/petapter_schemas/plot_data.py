"""plots.json: the numbers behind the plots of a model card that the manifest does not hold."""

from functools import lru_cache
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from petapter_schemas.adapter_spec import Count
from petapter_schemas.documents import parse_document
from petapter_schemas.errors import ManifestError
from petapter_schemas.frozen import Frozen
from petapter_schemas.manifest import MANIFEST_FILE, EvaluationSet, Manifest

PLOT_DATA_FILE = "plots.json"

MAX_LOSSES = 256
MAX_CONFUSED_LABELS = 200
"""Writers leave a confusion matrix of more labels out: the file would grow with their square."""

_TOLERANCE = 1e-6


class LossPoint(Frozen):
    """The training loss around a step: the mean over the steps since the point before."""

    step: Annotated[int, Field(ge=1)]
    loss: float


class Confusion(Frozen):
    """How many rows of each label, in label order, were given each label, whether or not the module would abstain."""

    evaluation_set: EvaluationSet
    counts: Annotated[tuple[tuple[Count, ...], ...], Field(min_length=2, max_length=MAX_CONFUSED_LABELS)]

    @model_validator(mode="after")
    def _counts_every_row(self) -> Self:
        if any(len(row) != len(self.counts) for row in self.counts):
            raise ValueError("counts must have one number for each pair of labels")
        if sum(map(sum, self.counts)) != self.evaluation_set.n:
            raise ValueError("counts must add up to the rows of the evaluation set")
        return self

    @property
    def right(self) -> int:
        """How many rows were given their own label."""
        return sum(row[label] for label, row in enumerate(self.counts))


class PlotData(Frozen):
    """The whole file; what was not recorded is left out."""

    schema_version: Literal[1] = 1  # written always; `parse_plot_data` refuses a file without it
    losses: Annotated[tuple[LossPoint, ...], Field(max_length=MAX_LOSSES)] = ()
    confusions: Annotated[tuple[Confusion, ...], Field(max_length=16)] = ()

    @model_validator(mode="after")
    def _steps_ascend(self) -> Self:
        steps = [point.step for point in self.losses]
        if steps != sorted(set(steps)):
            raise ValueError("the steps of losses must ascend")
        return self


def check_plot_data(manifest: Manifest, data: PlotData) -> None:
    """Compare what plots would show with what the manifest says.

    Raises:
        ManifestError: They contradict each other.
    """
    if data.losses and data.losses[-1].step > manifest.training.steps:
        raise ManifestError(f"{PLOT_DATA_FILE} has losses of steps that {MANIFEST_FILE} does not count")
    accuracies = {item.evaluation_set: item.value for item in manifest.evaluation if item.metric == "accuracy"}
    for confusion in data.confusions:
        rows = confusion.evaluation_set
        if manifest.task.type != "single-label" or len(confusion.counts) != len(manifest.task.labels):
            raise ManifestError(f"{PLOT_DATA_FILE} counts other labels than {MANIFEST_FILE} has")
        if abs(accuracies.get(rows, -1.0) - confusion.right / rows.n) > _TOLERANCE:
            raise ManifestError(f"{PLOT_DATA_FILE} contradicts the accuracy on {rows.name!r} in {MANIFEST_FILE}")


@lru_cache(maxsize=8)  # as parse_manifest
def parse_plot_data(data: bytes) -> PlotData:
    """Read plots.json; of the same bytes it is the same value.

    Raises:
        ManifestError: The bytes break the format.
    """
    return parse_document(PlotData, data, source=PLOT_DATA_FILE, what="plot data")
