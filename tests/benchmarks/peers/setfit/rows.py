"""Reads the rows that `petapter benchmark` exports and knows which runs of a peer are to do; needs no library."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LABEL = "label"
INDEX_FILE = "samples.json"

Key = tuple[str, str, str, int, int, int, str | None]


class PeerError(Exception):
    """The input cannot be used; one line says why and what to do."""


@dataclass(frozen=True)
class Rows:
    """Labelled rows of a CSV file; several text fields are joined by a space, as the peers read one text.

    Attributes:
        texts: In the order of the file.
        labels: Their labels.
    """

    texts: list[str]
    labels: list[str]


@dataclass(frozen=True)
class Run:
    """One run of a peer on one sample.

    Attributes:
        dataset: Name of the folder.
        n: Size of the sample.
        sample: Its index.
        seed: Of the run.
        train: File of the sample.
        test: File of the test rows.
        sample_digest: Names the sample's rows, where the index says so.
        test_digest: Names the test rows likewise.
    """

    dataset: str
    n: int
    sample: int
    seed: int
    train: Path
    test: Path
    sample_digest: str | None = None
    test_digest: str | None = None

    def key(self, method: str, backbone: str) -> Key:
        """What makes a finished run the same as this one."""
        return (method, backbone, self.dataset, self.n, self.sample, self.seed, self.sample_digest)


@dataclass(frozen=True)
class Wanted:
    """Which runs to plan: in each list, nothing means everything that is there."""

    datasets: Sequence[str] = ()
    sizes: Sequence[int] = ()
    samples: Sequence[int] = ()
    seeds: Sequence[int] = (0,)


def plan_runs(directory: Path, wanted: Wanted) -> list[Run]:
    """All runs: every data set at the smallest size first, then at the next.

    Raises:
        PeerError: A folder or a file is missing.
    """
    names = list(wanted.datasets) or sorted(path.parent.name for path in directory.glob("*/test.csv"))
    if not names:
        raise PeerError(f"{directory} has no <dataset>/test.csv: export the samples of a benchmark there")
    index = _read_index(directory / INDEX_FILE)
    found = [(name, n, sample) for name in names for n, sample in _samples(directory, name, wanted)]
    return [
        _run(directory, index, (name, n, sample), seed)
        for n in sorted({n for _, n, _ in found})
        for name, size, sample in found
        if size == n
        for seed in wanted.seeds
    ]


def read_rows(path: Path) -> Rows:
    """Read a CSV file with a header, a column `label` and at least one text column.

    Raises:
        PeerError: The file or a column is missing, or a cell is.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream, strict=True)
            header = list(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PeerError(f"{path} cannot be read: {error}") from error
    fields = [name for name in header if name != LABEL]
    if not fields or LABEL not in header:
        raise PeerError(f"{path} needs a column {LABEL!r} and a text column, it has {', '.join(header) or 'none'}")
    if not rows:
        raise PeerError(f"{path} has no rows: export it again")
    for number, row in enumerate(rows, start=1):
        if any(not isinstance(row[name], str) for name in (*fields, LABEL)) or None in row:
            raise PeerError(f"{path}, row {number} has not as many cells as the header: export it again")
    return Rows([" ".join(row[name] for name in fields) for row in rows], [row[LABEL] for row in rows])


def finished_keys(out: Path) -> set[Key]:
    """Runs that a results file holds already; a last line that a kill left torn does not count.

    Raises:
        PeerError: Another line is damaged.
    """
    data = out.read_bytes() if out.is_file() else b""
    keys: set[Key] = set()
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), start=1):
        try:
            result = json.loads(line)
            keys.add(
                (result["method"], result["backbone"], result["dataset"], result["n"], result["sample"],
                 result["seed"], result.get("sample_digest"))
            )  # fmt: skip
        except (ValueError, KeyError, TypeError) as error:
            raise PeerError(f"{out}, line {number} is no result: remove the line and run again") from error
    return keys


def append_line(out: Path, result: dict[str, object]) -> None:
    """Append one result; a torn last line is cut off first."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("ab+") as stream:
        stream.seek(0)
        stream.truncate(stream.read().rfind(b"\n") + 1)
        stream.write(json.dumps(result, sort_keys=True).encode() + b"\n")


def _samples(directory: Path, name: str, wanted: Wanted) -> list[tuple[int, int]]:
    """Sizes and indices of a data set's samples that are wanted."""
    folder = directory / name
    if not (folder / "test.csv").is_file():
        raise PeerError(f"{folder} has no test.csv: choose a data set that was exported there")
    present = {
        (int(path.parent.name[1:]), int(path.stem[len("sample") :]))
        for path in folder.glob("n*/sample*.csv")
        if path.parent.name[1:].isdecimal() and path.stem[len("sample") :].isdecimal()
    }
    sizes = list(wanted.sizes) or sorted({n for n, _ in present})
    indices = list(wanted.samples) or sorted({sample for _, sample in present})
    asked = [(n, sample) for n in sizes for sample in indices]
    for n, sample in asked:
        if (n, sample) not in present and (wanted.sizes or wanted.samples):
            raise PeerError(f"{folder}/n{n}/sample{sample}.csv is missing: export more samples or ask for fewer")
    return [pair for pair in asked if pair in present]


def _run(directory: Path, index: dict[str, dict[str, object]], place: tuple[str, int, int], seed: int) -> Run:
    name, n, sample = place
    train, test = directory / name / f"n{n}" / f"sample{sample}.csv", directory / name / "test.csv"
    entry = index.get(name)
    if entry is None:
        return Run(name, n, sample, seed, train, test)
    samples = entry.get("samples")
    listed = [one for one in samples if isinstance(one, dict)] if isinstance(samples, list) else []
    digest = next(
        (one.get("sample_digest") for one in listed if (one.get("n"), one.get("sample")) == (n, sample)), None
    )
    return Run(name, n, sample, seed, train, test, digest, str(entry.get("test_digest")))


def _read_index(path: Path) -> dict[str, dict[str, object]]:
    if not path.is_file():
        return {}
    try:
        index = json.loads(path.read_bytes())
    except ValueError as error:
        raise PeerError(f"{path} is no JSON: export the samples again") from error
    if not isinstance(index, dict) or not all(isinstance(entry, dict) for entry in index.values()):
        raise PeerError(f"{path} is no index of samples: export them again")
    return index
