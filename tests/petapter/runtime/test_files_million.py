"""A file of a million rows with one broken in the middle: every other row is asked once and answered in its place."""

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest

from petapter import Prediction
from petapter.runtime.files import FileModule, FileReport, FileRun
from petapter.runtime.files.chunks import Chunk
from petapter.runtime.files.running import answer_file
from tests.petapter.conftest import SENTIMENT

HALF = 500_000
SAID = Prediction("mood", "pos", {"pos": 0.75, "neg": 0.25}, 0, ("pos",))


@pytest.mark.slow
def test_broken_row_in_the_middle_of_a_million_costs_no_other_row(tmp_path: Path) -> None:
    source = tmp_path / "texts.csv"
    with source.open("wb") as stream:
        stream.write(b"text\n" + b"good\n" * HALF + b'"never closed\n' + b"good\n" * (HALF - 1))
    run = FileRun(source, tmp_path / "answers.csv", (FileModule("mood", SENTIMENT, "a" * 64),))
    asked: list[int] = []

    def ask(chunk: Chunk) -> Sequence[Mapping[str, Prediction]]:
        asked.append(len(chunk.rows))
        return [{"mood": SAID}] * len(chunk.rows)

    report = answer_file(lambda _state: nullcontext(ask), run, "float32")
    assert report == FileReport(run.output, 2 * HALF, 1, 0, run.errors)
    assert sum(asked) == 2 * HALF - 1
    assert max(asked) <= 4096
    broken = json.loads(run.errors.read_text())
    assert (broken["row"], broken["line"]) == (HALF + 1, HALF + 2)  # the header is the first line
    header, *lines = run.output.read_bytes().splitlines()
    assert header.startswith(b"row,mood.label,")
    rest = b",pos,0.75,,0.75,0.25"
    assert lines == [b"%d" % row + rest for row in range(1, 2 * HALF + 1) if row != HALF + 1]
