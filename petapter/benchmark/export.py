"""Writes the samples and the test rows of a benchmark as CSV, so that other programs run on the very same rows."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from petapter.benchmark.datasets import Dataset
from petapter.task import Example
from petapter.task.examples import LABEL_COLUMN
from petapter_schemas.durable import write_file_durably

INDEX_FILE = "samples.json"


def export_samples(datasets: Sequence[Dataset], directory: Path) -> list[Path]:
    """Write `<dataset>/n<k>/sample<i>.csv`, `<dataset>/test.csv` and an index with the digests of all of them.

    Test rows stand in the order in which results list whether each answer was right.
    """
    written: list[Path] = []
    index: dict[str, object] = {}
    for dataset in datasets:
        fields = dataset.task.fields
        test = directory / dataset.name / "test.csv"
        written.append(_write(test, fields, dataset.test))
        samples: list[dict[str, object]] = []
        for sample in dataset.samples:
            path = directory / dataset.name / f"n{sample.size}" / f"sample{sample.index}.csv"
            written.append(_write(path, fields, sample.rows))
            samples.append(
                {"n": sample.size, "sample": sample.index, "sample_digest": sample.digest,
                 "file": path.relative_to(directory).as_posix()}
            )  # fmt: skip
        index[dataset.name] = {
            "test": test.relative_to(directory).as_posix(),
            "test_digest": dataset.test_digest,
            "test_rows": len(dataset.test),
            "labels": list(dataset.task.label_names),
            "samples": samples,
        }
    write_file_durably(directory / INDEX_FILE, json.dumps(index, indent=2, ensure_ascii=False).encode())
    return [*written, directory / INDEX_FILE]


def _write(path: Path, fields: Sequence[str], rows: Sequence[Example]) -> Path:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*fields, LABEL_COLUMN])
    writer.writerows([*(row.fields[name] for name in fields), row.label] for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file_durably(path, text.getvalue().encode())
    return path
