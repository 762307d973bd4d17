"""The results directory: one line of JSON for each run of a method on a sample, appended so that a kill loses one line.

`results.jsonl` holds what this program ran. Every other `*.jsonl` beside it holds results of other programs on the same
rows; the report takes them in. No line holds a text.
"""

import base64
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout
from pydantic import ConfigDict, Field, ValidationError

from petapter_schemas import strict_json
from petapter_schemas.digests import Sha256
from petapter_schemas.errors import InputError
from petapter_schemas.frozen import Frozen
from petapter_schemas.messages import first_problem

RESULTS_FILE = "results.jsonl"

_LOCK_FILE = ".results.lock"
_MAX_LINE_BYTES = 4 << 20

Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]


class Result(Frozen):
    """One run of one method on one sample.

    Attributes:
        dataset: Name of the data set.
        backbone: Name of the backbone; "" for programs that have their own.
        method: Name of the method in the report.
        n: Size of the sample.
        sample: Index of the sample.
        sample_digest: Names its rows.
        seed: Of the run; None where the method draws nothing.
        test_digest: Names the test rows.
        test_rows: How many.
        accuracy, macro_f1: Measured on the test rows.
        ece, brier, log_loss, aurc: Likewise; None where only labels were predicted.
        correct: For each test row in the order of its hash whether the answer was right: bits, padded, in base64.
        train_seconds: Search included.
        predict_seconds: For all test rows.
        module_bytes: What has to be kept beside the backbone.
        peak_memory_bytes: Of a process that ran nothing else; None where it was not measured.
        peak_gpu_bytes: Likewise, on the GPU.
        steps: Optimiser steps.
        details: What else the method says of its run.
        versions: Of Python and the libraries.
        hardware: What it ran on.
        threads: Of torch.
    """

    model_config = ConfigDict(extra="ignore")

    dataset: str
    backbone: str = ""
    method: str
    n: int = Field(ge=1)
    sample: int = Field(ge=0)
    sample_digest: Sha256
    seed: int | None = None
    test_digest: Sha256
    test_rows: int = Field(ge=1)
    accuracy: Share
    macro_f1: Share
    ece: Share | None = None
    brier: float | None = None
    log_loss: float | None = None
    aurc: float | None = None
    correct: str | None = None
    train_seconds: Seconds
    predict_seconds: Seconds
    module_bytes: int | None = Field(default=None, ge=0)
    peak_memory_bytes: int | None = Field(default=None, ge=0)
    peak_gpu_bytes: int | None = Field(default=None, ge=0)
    steps: int = Field(default=0, ge=0)
    details: dict[str, str | int | float | bool] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    hardware: str = ""
    threads: int | None = None


class Finished(Frozen):
    """A line of `results.jsonl`: a cell that ran."""

    key: Sha256
    status: Literal["finished"] = "finished"
    result: Result

    @property
    def words(self) -> str:
        """How it went, for people."""
        return f"accuracy {self.result.accuracy:.3f} after {self.result.train_seconds:.1f} s of training"


class Failed(Frozen):
    """A line of `results.jsonl`: a cell that was refused or ended badly; it is tried again by the next run."""

    key: Sha256
    status: Literal["failed"] = "failed"
    error: str

    @property
    def words(self) -> str:
        """How it went, for people."""
        return f"failed: {self.error}"


Line = Finished | Failed
"""How a cell ended."""


def parse_line(document: object) -> Line:
    """Read one line of `results.jsonl`.

    Raises:
        ValidationError: It breaks the schema.
    """
    is_failure = isinstance(document, dict) and document.get("status") == "failed"
    return Failed.model_validate(document) if is_failure else Finished.model_validate(document)


class Store:
    """Open results: what is there by key, and the one way to add to it."""

    def __init__(self, directory: Path, lines: dict[str, Line]) -> None:
        """Hold what was read; use `open_store`."""
        self._path = directory / RESULTS_FILE
        self._lines = lines

    @property
    def finished_keys(self) -> frozenset[str]:
        """Cells that need not run again."""
        return frozenset(key for key, line in self._lines.items() if isinstance(line, Finished))

    def add(self, line: Line) -> None:
        """Append a line and wait until it is on the disk."""
        data = strict_json.canonical(line.model_dump(mode="json")) + b"\n"
        with self._path.open("ab") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        _note_down(self._lines, line)


@contextmanager
def open_store(directory: Path) -> Iterator[Store]:
    """Open a results directory for one run at a time; a last line that a kill left torn is dropped.

    Raises:
        InputError: Another run has it, or a line is damaged.
    """
    directory.mkdir(parents=True, exist_ok=True)
    lock = FileLock(directory / _LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(f"another benchmark writes to {directory}: wait for it or choose another --out") from error
    try:
        _drop_torn_line(directory / RESULTS_FILE)
        yield Store(directory, _read_lines(directory))
    finally:
        lock.release()


def read_results(directory: Path) -> tuple[dict[str, Result], dict[str, str]]:
    """Results by key, and the errors by key of cells that never finished.

    Raises:
        InputError: A line is damaged.
    """
    lines = _read_lines(directory)
    finished = {key: line.result for key, line in lines.items() if isinstance(line, Finished)}
    return finished, {key: line.error for key, line in lines.items() if isinstance(line, Failed)}


def _read_lines(directory: Path) -> dict[str, Line]:
    """The last line of each key; a finished cell stays finished. A torn last line is left out."""
    lines: dict[str, Line] = {}
    path = directory / RESULTS_FILE
    data = path.read_bytes() if path.is_file() else b""
    for where, document in _documents(path, data[: data.rfind(b"\n") + 1]):
        try:
            line = parse_line(document)
        except ValidationError as error:
            raise InputError(f"{where}: {first_problem(error)}: remove the line and run again") from error
        _note_down(lines, line)
    return lines


def _note_down(lines: dict[str, Line], line: Line) -> None:
    if isinstance(line, Finished) or not isinstance(lines.get(line.key), Finished):
        lines[line.key] = line


def read_foreign(directory: Path) -> list[Result]:
    """Results of other programs: every `*.jsonl` but our own, one `Result` on each line, further keys ignored.

    Raises:
        InputError: A line breaks the schema.
    """
    found: list[Result] = []
    for path in sorted(directory.glob("*.jsonl")):
        if path.name == RESULTS_FILE or not path.is_file():
            continue
        for where, document in _documents(path, path.read_bytes()):
            try:
                found.append(Result.model_validate(document))
            except ValidationError as error:
                raise InputError(f"{where}: {first_problem(error)}: correct or remove the line") from error
    return found


def pack_bits(correct: Sequence[bool] | npt.NDArray[np.bool_]) -> str:
    """Truth values as base64 of bits, most significant first, the last byte filled up with zeros."""
    return base64.b64encode(np.packbits(np.asarray(correct, dtype=np.bool_)).tobytes()).decode()


def unpack_bits(packed: str, count: int) -> npt.NDArray[np.bool_]:
    """The first `count` truth values of `pack_bits`."""
    data = np.frombuffer(base64.b64decode(packed), dtype=np.uint8)
    return np.unpackbits(data, count=count).astype(np.bool_)


def _documents(path: Path, data: bytes) -> Iterator[tuple[str, object]]:
    """Each line as JSON, with its place for messages."""
    for number, line in enumerate(data.splitlines(), start=1):
        where = f"{path}, line {number}"
        if len(line) > _MAX_LINE_BYTES:
            raise InputError(f"{where} has more than {_MAX_LINE_BYTES} bytes: remove the line")
        try:
            yield where, json.loads(line)
        except ValueError as error:
            raise InputError(f"{where} is no JSON ({error}): remove the line and run again") from error


def _drop_torn_line(path: Path) -> None:
    if not path.is_file():
        return
    whole = path.read_bytes().rfind(b"\n") + 1
    if whole < path.stat().st_size:
        with path.open("r+b") as stream:
            stream.truncate(whole)
            os.fsync(stream.fileno())
