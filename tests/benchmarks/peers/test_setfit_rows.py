import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.peers.setfit.rows import (
    PeerError,
    Rows,
    Run,
    Wanted,
    append_line,
    finished_keys,
    plan_runs,
    read_rows,
)

SCRIPT = Path(__file__).parent / "setfit" / "run_setfit.py"
DIGEST = "ab" * 32


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """Two data sets with two sizes; the index knows one sample of "news"."""
    directory = tmp_path / "samples"
    for name, fields in [("news", "title,body"), ("mood", "text")]:
        for size in (2, 10):
            (directory / name / f"n{size}").mkdir(parents=True)
            cells = ",".join("x" for _ in fields.split(","))
            (directory / name / f"n{size}" / "sample0.csv").write_text(f"{fields},label\n{cells},a\n{cells},b\n")
        (directory / name / "test.csv").write_text(f"{fields},label\n{cells},a\n")
    samples = [{"n": 2, "sample": 0, "sample_digest": DIGEST}]
    (directory / "samples.json").write_text(json.dumps({"news": {"test_digest": "cd" * 32, "samples": samples}}))
    return directory


def test_all_data_sets_at_the_smaller_size_come_first(exported: Path) -> None:
    runs = plan_runs(exported, Wanted(seeds=(0, 1)))
    assert [(run.n, run.dataset, run.seed) for run in runs] == [
        (n, name, seed) for n in (2, 10) for name in ("mood", "news") for seed in (0, 1)
    ]


def test_digests_come_from_the_index(exported: Path) -> None:
    run, other = plan_runs(exported, Wanted(datasets=["news", "mood"], sizes=[2]))
    assert (run.sample_digest, run.test_digest) == (DIGEST, "cd" * 32)
    assert (other.sample_digest, other.test_digest) == (None, None)


def test_text_fields_are_joined_and_cells_kept_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('title,label,body\n"A ""b"", c",NA,"two\nlines"\n', encoding="utf-8")
    assert read_rows(path) == Rows(['A "b", c two\nlines'], ["NA"])


def test_finished_runs_are_known_again_unless_their_rows_changed(tmp_path: Path, exported: Path) -> None:
    run, *_ = plan_runs(exported, Wanted(datasets=["news"], sizes=[2]))
    out = tmp_path / "out.jsonl"
    append_line(out, _result(run))
    assert finished_keys(out) == {run.key("setfit", "minilm")}
    changed = Run(run.dataset, run.n, run.sample, run.seed, run.train, run.test, "ee" * 32)
    assert changed.key("setfit", "minilm") not in finished_keys(out)
    assert run.key("setfit", "other") not in finished_keys(out)


def test_a_torn_last_line_is_run_again_and_overwritten(tmp_path: Path, exported: Path) -> None:
    run, other = plan_runs(exported, Wanted(datasets=["news"]))
    out = tmp_path / "out.jsonl"
    append_line(out, _result(run))
    with out.open("ab") as stream:
        stream.write(b'{"dataset": "ne')
    assert finished_keys(out) == {run.key("setfit", "minilm")}
    append_line(out, _result(other))
    assert finished_keys(out) == {one.key("setfit", "minilm") for one in (run, other)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("label\na\n", "needs a column 'label' and a text column, it has label"),
        ("text\na\n", "needs a column 'label' and a text column, it has text"),
        ("", "needs a column 'label' and a text column, it has none"),
        ("text,label\n", "has no rows: export it again"),
        ("text,label\nx\n", "row 1 has not as many cells as the header"),
        ("text,label\nx,a\nx,a,b\n", "row 2 has not as many cells as the header"),
        ('text,label\n"x,a\n', "cannot be read: unexpected end of data"),
    ],
)
def test_unusable_rows_are_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(content)
    with pytest.raises(PeerError, match=message):
        read_rows(path)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Wanted(datasets=["sport"]), "sport has no test.csv: choose a data set that was exported there"),
        (Wanted(sizes=[100]), "mood/n100/sample0.csv is missing: export more samples or ask for fewer"),
        (Wanted(samples=[3]), "mood/n2/sample3.csv is missing: export more samples or ask for fewer"),
    ],
)
def test_runs_that_cannot_be_planned_are_one_line(exported: Path, wanted: Wanted, message: str) -> None:
    with pytest.raises(PeerError, match=message):
        plan_runs(exported, wanted)


def test_damaged_files_are_one_line(tmp_path: Path, exported: Path) -> None:
    (tmp_path / "out.jsonl").write_text("[]\n")
    with pytest.raises(PeerError, match=r"out.jsonl, line 1 is no result: remove the line and run again"):
        finished_keys(tmp_path / "out.jsonl")
    (exported / "samples.json").write_text("{")
    with pytest.raises(PeerError, match=r"samples.json is no JSON: export the samples again"):
        plan_runs(exported, Wanted())
    with pytest.raises(PeerError, match=r"has no <dataset>/test.csv: export the samples of a benchmark there"):
        plan_runs(tmp_path / "nowhere", Wanted())


def test_the_script_plans_without_its_environment(tmp_path: Path, exported: Path) -> None:
    encoder = tmp_path / "encoder"
    encoder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (encoder / name).touch()
    out = tmp_path / "out.jsonl"
    run, *_ = plan_runs(exported, Wanted(datasets=["news"], sizes=[2]))
    append_line(out, _result(run) | {"backbone": "encoder"})
    done = _script(str(exported), "--encoder", str(encoder), "--out", str(out), "--list")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "1 runs are finished, 3 to do",
        "[1/3] mood n=2 sample 0 seed 0",
        "[2/3] mood n=10 sample 0 seed 0",
        "[3/3] news n=10 sample 0 seed 0",
    ]


def test_the_script_says_in_one_line_what_is_wrong(tmp_path: Path, exported: Path) -> None:
    done = _script(str(exported), "--encoder", str(tmp_path), "--out", str(tmp_path / "out.jsonl"))
    assert done.returncode == 1
    assert done.stderr == f"error: {tmp_path} is no model directory: it needs config.json and *.safetensors\n"


def _result(run: Run) -> dict[str, object]:
    return {"method": "setfit", "backbone": "minilm", "dataset": run.dataset, "n": run.n, "sample": run.sample,
            "seed": run.seed, "sample_digest": run.sample_digest}  # fmt: skip


def _script(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True, check=False)
