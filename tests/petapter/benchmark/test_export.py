import json
from pathlib import Path

from petapter import Example, read_examples
from petapter.benchmark.datasets import Dataset
from petapter.benchmark.export import export_samples
from petapter.benchmark.samples import Drawing, draw_samples
from petapter.task import rows_digest
from petapter_schemas.task import TaskSpec

TASK = TaskSpec.model_validate({"labels": {"a": "x", "b": "y"}, "patterns": ["{text} {mask}"]})
ROWS = [Example({"text": f'text "{index}", with\na line, Ünïcode'}, label) for label in "ab" for index in range(8)]
NEW = [Example({"text": "new, one"}, "b"), Example({"text": "NA"}, "a")]


def test_exported_rows_are_the_samples(tmp_path: Path) -> None:
    samples = draw_samples(ROWS, ("a", "b"), Drawing([2, 4], 2))
    files = export_samples([Dataset("toy", TASK, tuple(samples), tuple(NEW), rows_digest(NEW), (), 16)], tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in files} == {
        "samples.json", "toy/test.csv", "toy/n2/sample0.csv", "toy/n2/sample1.csv", "toy/n4/sample0.csv",
        "toy/n4/sample1.csv",
    }  # fmt: skip
    for sample in samples:
        rows = read_examples(tmp_path / "toy" / f"n{sample.size}" / f"sample{sample.index}.csv", TASK)
        assert rows == list(sample.rows)
    assert read_examples(tmp_path / "toy" / "test.csv", TASK) == NEW


def test_index_names_the_rows_by_digest(tmp_path: Path) -> None:
    samples = draw_samples(ROWS, ("a", "b"), Drawing([2], 1))
    export_samples([Dataset("toy", TASK, tuple(samples), tuple(NEW), rows_digest(NEW), (), 16)], tmp_path)
    index = json.loads((tmp_path / "samples.json").read_text())["toy"]
    assert index["test_digest"] == rows_digest(NEW)
    assert index["labels"] == ["a", "b"]
    assert index["samples"] == [
        {"n": 2, "sample": 0, "sample_digest": rows_digest(samples[0].rows), "file": "toy/n2/sample0.csv"}
    ]
