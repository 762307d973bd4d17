import json
from pathlib import Path
from typing import Any

import pytest

from petapter_schemas.digests import sha256_bytes
from petapter_schemas.errors import ManifestError
from petapter_schemas.module_files import verify_directory
from petapter_schemas.plot_data import PLOT_DATA_FILE, parse_plot_data
from tests.schemas.tiny_module import build_tiny_module, put_file

ROWS = {"name": "held-out", "sha256": sha256_bytes(b"set"), "split": "test", "n": 20}
DATA: dict[str, Any] = {
    "schema_version": 1,
    "losses": [{"step": 5, "loss": 0.7}, {"step": 10, "loss": 0.2}],
    "confusions": [{"evaluation_set": ROWS, "counts": [[8, 2], [3, 7]]}],
}
"""Of the tiny module: two labels, ten steps, 15 of 20 rows right."""


def _module(directory: Path, document: dict[str, Any]) -> Path:
    return put_file(build_tiny_module(directory), PLOT_DATA_FILE, json.dumps(document).encode())


def test_module_may_carry_the_numbers_of_its_plots(tmp_path: Path) -> None:
    verify_directory(_module(tmp_path / "m", DATA))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"schema_version": 2}, "version 2"),
        ({"more": 1}, "more"),
        ({"losses": [{"step": 5, "loss": 0.7}, {"step": 5, "loss": 0.2}]}, "ascend"),
        ({"losses": [{"step": 0, "loss": 0.7}]}, "step"),
        ({"confusions": [{"evaluation_set": ROWS, "counts": [[8, 2], [3]]}]}, "each pair"),
        ({"confusions": [{"evaluation_set": ROWS, "counts": [[8, 2], [3, 8]]}]}, "add up"),
        ({"confusions": [{"evaluation_set": ROWS, "counts": [[20]]}]}, "counts"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_other_files_are_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ManifestError, match=rf"plots\.json.*{problem}"):
        parse_plot_data(json.dumps({**DATA, **changes}).encode())


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"losses": [{"step": 11, "loss": 0.7}]}, "steps that"),
        (
            {"confusions": [{"evaluation_set": ROWS, "counts": [[8, 2, 0], [3, 7, 0], [0, 0, 0]]}]},
            "other labels",
        ),
        ({"confusions": [{"evaluation_set": ROWS, "counts": [[9, 1], [3, 7]]}]}, "contradicts the accuracy"),
        (
            {"confusions": [{"evaluation_set": {**ROWS, "name": "another"}, "counts": [[8, 2], [3, 7]]}]},
            "contradicts the accuracy on 'another'",
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_numbers_that_contradict_the_manifest_are_refused(
    tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ManifestError, match=problem):
        verify_directory(_module(tmp_path / "m", {**DATA, **changes}))
