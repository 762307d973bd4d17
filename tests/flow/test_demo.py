"""`petapter demo` as a process of its own, and the data that it ships."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from petapter_hub_client.demo.draw_data import SHIPPED, Split, draw
from petapter_schemas.digests import sha256_file
from petapter_schemas.manifest import read_manifest

PETAPTER = Path(sys.executable).with_name("petapter")
MODULES = ("snips-intents", "banking-intents")
TIMEOUT_S = 1200
NO_BACKBONE = "the files of all-MiniLM-L6-v2 are nowhere to be had"


def start(directory: Path) -> subprocess.Popen[str]:
    """Start the demo in a process group of its own, which also holds everything that it starts."""
    return subprocess.Popen(
        [PETAPTER, "demo", directory],
        cwd=directory.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def is_group_alive(leader: int) -> bool:
    """Whether a process of the group runs on; one that has just ended may need a moment to go."""
    for _ in range(200):
        try:
            os.killpg(leader, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.05)
    return True


def rows(path: Path) -> list[tuple[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return [(row["text"], row["label"]) for row in csv.DictReader(stream)]


@pytest.mark.slow
def test_demo_walks_the_whole_path_and_leaves_a_directory_to_go_on_with(tmp_path: Path) -> None:
    directory = tmp_path / "demo"
    process = start(directory)
    shown, problems = process.communicate(timeout=TIMEOUT_S)
    if NO_BACKBONE in problems:
        pytest.skip(problems.strip().splitlines()[-1])
    assert process.returncode == 0, shown + problems
    assert not is_group_alive(process.pid)

    output = {part.splitlines()[0]: part for part in shown.split("\n$ ")}
    assert all(f"demo:team/{module}" in output["petapter search intents"] for module in MODULES)
    predictions = next(part for command, part in output.items() if command.startswith("petapter predict"))
    assert re.search(r"text +snips-intents +banking-intents", predictions)
    assert re.search(r"jazz.* PlayMusic [01]\.\d\d +\w+ [01]\.\d\d", predictions)

    for module, majority in zip(MODULES, (124 / 700, 40 / 320), strict=True):
        accuracy, *_ = read_manifest(directory / "modules" / module).evaluation
        assert accuracy.interval.low > majority + 0.5
        assert f"{accuracy.value:.3f} ({accuracy.interval.low:.3f} to {accuracy.interval.high:.3f})" in shown
        assert re.search(rf"majority baseline .*\b{majority:.3f}\b", shown)

    going_on = 'cd "$1" && . ./env.sh && petapter remote list --json && cat README.md'
    done = subprocess.run(["sh", "-c", going_on, "sh", directory], capture_output=True, text=True, check=True)
    assert '"name": "demo"' in done.stdout
    assert "petapter-registry serve --data registry --port" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("send", "number", "status"),
    [(os.killpg, signal.SIGINT, 130), (os.kill, signal.SIGTERM, 143)],
    ids=["Ctrl-C goes to the whole group", "SIGTERM goes to the demo alone"],
)
def test_interrupted_demo_leaves_no_process_behind(
    send: Callable[[int, int], None], number: int, status: int, tmp_path: Path
) -> None:
    process = start(tmp_path / "demo")
    assert process.stdout is not None
    next(line for line in process.stdout if line.startswith("$ petapter train"))
    send(process.pid, number)
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == status
    assert not is_group_alive(process.pid)


def test_demo_leaves_a_directory_with_files_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = subprocess.run([PETAPTER, "demo", tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "choose another directory" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_shipped_rows_have_the_digests_that_their_readme_names() -> None:
    named = dict(re.findall(r"\| `(\w+/\w+\.csv)` \| `([0-9a-f]{64})` \|", (SHIPPED / "README.md").read_text()))
    assert {name: sha256_file(SHIPPED / name) for name in named} == named
    assert set(named) == {f"{path.parent.name}/{path.name}" for path in SHIPPED.glob("*/*.csv")}


@pytest.mark.parametrize(("name", "per_label"), [("snips", 10), ("banking77", 8)])
def test_shipped_train_rows_are_a_draw_of_so_many_per_label(name: str, per_label: int) -> None:
    train, test = (rows(SHIPPED / name / f"{part}.csv") for part in ("train", "test"))
    labels = tuple(dict.fromkeys(label for _, label in train))
    assert len(train) == per_label * len(labels)
    assert draw(Split(sorted(train), test), labels, per_label=per_label) == Split(train, test)


def test_draw_takes_the_lowest_digests_and_nothing_from_the_test_rows() -> None:
    # sha256: b 3e23…, d 18ac…, a ca97…, c 2e7d… (of the bare letters)
    train = [("a", "x"), ("b", "x"), ("b", "x"), ("c", "x"), ("d", "y"), ("e", "z")]
    drawn = draw(Split(train, [("c", "x"), ("e", "z")]), ("y", "x"), per_label=1)
    assert drawn == Split([("d", "y"), ("b", "x")], [("c", "x")])
