import json
from pathlib import Path

import numpy as np
import pytest

from petapter.benchmark.results import (
    RESULTS_FILE,
    Failed,
    Finished,
    Result,
    open_store,
    pack_bits,
    read_foreign,
    read_results,
    unpack_bits,
)
from petapter_schemas.errors import InputError

FACTS = {
    "dataset": "d", "method": "m", "n": 4, "sample": 0, "sample_digest": "a" * 64, "seed": 1, "test_digest": "b" * 64,
    "test_rows": 10, "accuracy": 0.5, "macro_f1": 0.4, "train_seconds": 1.0, "predict_seconds": 0.1,
}  # fmt: skip


def finished(key: str, accuracy: float = 0.5) -> Finished:
    return Finished(key=key * 64, result=Result.model_validate(FACTS | {"accuracy": accuracy}))


def test_what_was_added_is_read_back(tmp_path: Path) -> None:
    with open_store(tmp_path / "out") as store:
        store.add(finished("1"))
        store.add(Failed(key="2" * 64, error="too few rows"))
    results, errors = read_results(tmp_path / "out")
    assert results == {"1" * 64: Result.model_validate(FACTS)}
    assert errors == {"2" * 64: "too few rows"}


def test_a_torn_last_line_is_dropped_and_written_anew(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.add(finished("1"))
        store.add(finished("2"))
    path = tmp_path / RESULTS_FILE
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    assert set(read_results(tmp_path)[0]) == {"1" * 64}
    with open_store(tmp_path) as store:
        assert store.finished_keys == {"1" * 64}
        store.add(finished("2"))
    assert path.read_bytes() == whole


def test_a_failed_cell_that_finished_later_is_no_failure(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.add(Failed(key="1" * 64, error="no"))
        assert store.finished_keys == frozenset()
        store.add(finished("1"))
    results, errors = read_results(tmp_path)
    assert (set(results), errors) == ({"1" * 64}, {})


def test_a_finished_cell_is_not_lost_to_a_later_failure(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.add(finished("1"))
        store.add(Failed(key="1" * 64, error="no"))
        assert store.finished_keys == {"1" * 64}


def test_two_runs_do_not_write_at_once(tmp_path: Path) -> None:
    with (
        open_store(tmp_path),
        pytest.raises(InputError, match="another benchmark writes to"),
        open_store(tmp_path),
    ):
        pass


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.add(finished("1"))
    path = tmp_path / RESULTS_FILE
    path.write_bytes(b'{"key": "x"}\n' + path.read_bytes())
    with pytest.raises(InputError, match=r"line 1: key: .* remove the line and run again"):
        read_results(tmp_path)


def test_results_of_other_programs_are_read_whatever_else_they_say(tmp_path: Path) -> None:
    lines = [json.dumps(FACTS | {"method": "other", "library": "x"}), json.dumps(FACTS | {"seed": None})]
    (tmp_path / "other.jsonl").write_text("\n".join(lines))
    with open_store(tmp_path) as store:
        store.add(finished("1"))
    assert [(item.method, item.seed) for item in read_foreign(tmp_path)] == [("other", 1), ("m", None)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (json.dumps(FACTS | {"accuracy": 50}), r"other.jsonl, line 1: accuracy: "),
        (json.dumps({key: FACTS[key] for key in FACTS if key != "sample_digest"}), "line 1: sample_digest: "),
        ('{"dataset": ', "line 1 is no JSON"),
    ],
)
def test_foreign_line_that_breaks_the_schema_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "other.jsonl").write_text(line)
    with pytest.raises(InputError, match=message):
        read_foreign(tmp_path)


def test_no_results_are_no_error(tmp_path: Path) -> None:
    assert read_results(tmp_path / "none") == ({}, {})


def test_bits_come_back() -> None:
    correct = np.random.default_rng(0).random(77) < 0.5
    assert (unpack_bits(pack_bits(correct), 77) == correct).all()


def test_bits_are_most_significant_first() -> None:
    assert pack_bits([True, False, False, False, False, False, False, True, True]) == "gYA="  # bytes 0x81 0x80
