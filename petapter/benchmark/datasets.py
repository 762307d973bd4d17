"""Reads a grid's data sets: the task, the samples, the test rows, and the digests that name them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from petapter.benchmark.grid import DatasetSpec, GridSpec, locate
from petapter.benchmark.samples import Drawing, Sample, draw_samples, draw_test_rows
from petapter.task import Example, read_examples, read_task, read_texts, rows_digest
from petapter.task.encoding import Fields
from petapter_schemas import strict_json
from petapter_schemas.errors import DataError, InputError, TaskError
from petapter_schemas.task import TaskSpec


@dataclass(frozen=True)
class Dataset:
    """Everything that methods are run on.

    Attributes:
        name: As in the grid.
        task: Labels and all patterns.
        samples: Training samples of all sizes.
        test: Test rows in the order of their hashes.
        test_digest: Names the test rows, whatever their order.
        unlabelled: Further texts.
        pool_rows: Rows that the samples were drawn from.
    """

    name: str
    task: TaskSpec
    samples: tuple[Sample, ...]
    test: tuple[Example, ...]
    test_digest: str
    unlabelled: tuple[Fields, ...]
    pool_rows: int

    @property
    def unlabelled_digest(self) -> str:
        """Names the unlabelled texts in their order."""
        return strict_json.canonical_sha256([dict(text) for text in self.unlabelled])


def load_datasets(grid: GridSpec, grid_file: Path, data: Path | None) -> tuple[Dataset, ...]:
    """Read all data sets of a grid.

    Args:
        grid: The grid.
        grid_file: Where it was read; paths are relative to it.
        data: What ${DATA} stands for.

    Raises:
        InputError: A file cannot be used, samples cannot be drawn, or test rows are among the others.
    """
    return tuple(_load(name, spec, grid, grid_file, data) for name, spec in grid.datasets.items())


def _load(name: str, spec: DatasetSpec, grid: GridSpec, grid_file: Path, data: Path | None) -> Dataset:
    task = spec.task if spec.task is not None else read_task(locate(spec.task_file or "", grid_file, data))
    if task.type != "single-label":
        raise TaskError(f"data set {name!r} is multi-label: benchmarks compare single-label tasks")
    pool = read_examples(locate(spec.train, grid_file, data), task)
    all_test = read_examples(locate(spec.test, grid_file, data), task)
    unlabelled: list[dict[str, str]] = []
    if spec.unlabelled is not None:
        unlabelled = read_texts(locate(spec.unlabelled, grid_file, data), task.fields)[: spec.unlabelled_rows]
    _refuse_test_texts(name, "training", (row.fields for row in pool), all_test)
    _refuse_test_texts(name, "unlabelled", unlabelled, all_test)
    test = draw_test_rows(all_test, spec.test_rows, grid.salt)
    try:
        samples = draw_samples(
            pool, task.label_names, Drawing(grid.n, grid.samples, overlap=spec.overlap, salt=grid.salt)
        )
    except DataError as error:
        raise DataError(f"data set {name!r}: {error}") from error
    return Dataset(name, task, tuple(samples), test, rows_digest(test), tuple(unlabelled), len(pool))


def _refuse_test_texts(name: str, which: str, texts: Iterable[Fields], test: Sequence[Example]) -> None:
    """Texts that a method may see must not be among those it is measured on."""
    known = {strict_json.canonical(dict(row.fields)) for row in test}
    if found := sum(strict_json.canonical(dict(text)) in known for text in texts):
        raise InputError(f"data set {name!r}: {found} {which} rows are also test rows: remove them from one of the two")
