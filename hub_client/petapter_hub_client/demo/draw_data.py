"""Draws the demo's rows again from the published files: `python -m petapter_hub_client.demo.draw_data RAW OUT`.

RAW holds the files under the paths that their repositories give them (data/README.md names repositories and commits):

    data/snips/{train,test}/{seq.in,label}      banking_data/{train,test}.csv

Labels and their order come from the task.yaml beside the shipped rows.
"""

import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from petapter_hub_client.output import say
from petapter_schemas.digests import sha256_bytes, sha256_file
from petapter_schemas.errors import DataError

SHIPPED = Path(__file__).parent / "data"

Row = tuple[str, str]
"""A text and its label."""

_SOURCES = {
    "data/snips/train/seq.in": "04ad1e3f2121d83c6478f9a4b17d2dbdc21d06d6127f73cb7af835ed733f9855",
    "data/snips/train/label": "bfd7df6cf9dd76c5da5d8b61bc85f90386197bdd3d7510c1d324c051537b962f",
    "data/snips/test/seq.in": "c1e341173fcea2951a8ca371956a6f81c76de87b9583c62eb87edd6158fa3a7c",
    "data/snips/test/label": "37a26da3ad079bb41c42c85a3a8f827eb47efec4c5917ce5d08f4b2736e4f830",
    "banking_data/train.csv": "b06e26ac675513959a63135f11b94ea7786ed02da65db93a5650d8838cbc664b",
    "banking_data/test.csv": "d12d6e3bc4c3103966ae786dc435913c0c563dfa328f5a3646d0e62cfeeb474d",
}


@dataclass(frozen=True)
class Split:
    """The rows of a data set as published, white space collapsed."""

    train: Sequence[Row]
    test: Sequence[Row]


def read_snips(raw: Path) -> Split:
    """Read the SNIPS intents: one text and one label per line, in two files."""
    return Split(*(list(_lines(raw / "data/snips" / part)) for part in ("train", "test")))


def read_banking(raw: Path) -> Split:
    """Read Banking77: CSV with the columns text and category."""
    return Split(*(list(_table(raw / "banking_data" / f"{part}.csv")) for part in ("train", "test")))


def draw(split: Split, labels: Sequence[str], *, per_label: int) -> Split:
    """Keep `per_label` train rows of each label, in the order of the labels, and all their test rows.

    Train rows are taken in ascending order of the sha256 of their text; none whose text is also in test.
    """
    test_texts = {text for text, _ in split.test}
    distinct = {text: label for text, label in split.train if text not in test_texts}
    ordered = sorted(distinct, key=lambda text: sha256_bytes(text.encode()))
    train = [
        (text, label)
        for label in labels
        for text in [text for text in ordered if distinct[text] == label][:per_label]
    ]  # fmt: skip
    return Split(train, [row for row in split.test if row[1] in labels])


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV with the columns text and label."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([("text", "label"), *rows])


def main() -> None:
    """Check the published files, draw, write, and show the digests of what was written."""
    raw, out = (Path(argument) for argument in sys.argv[1:3])
    for name, sha256 in _SOURCES.items():
        if (found := sha256_file(raw / name)) != sha256:
            raise DataError(f"{raw / name} has sha256 {found}, not {sha256}: take the commit that data/README.md names")
    for name, split, per_label in (("snips", read_snips(raw), 10), ("banking77", read_banking(raw), 8)):
        drawn = draw(split, task_labels(name), per_label=per_label)
        for part, rows in (("train", drawn.train), ("test", drawn.test)):
            path = out / name / f"{part}.csv"
            write_rows(path, rows)
            say(f"{sha256_file(path)}  {name}/{part}.csv  {len(rows)} rows")


def task_labels(name: str) -> tuple[str, ...]:
    """The labels of a shipped task."""
    from petapter.task import read_task  # noqa: PLC0415 (imports torch)

    return read_task(SHIPPED / name / "task.yaml").label_names


def _lines(folder: Path) -> Iterator[Row]:
    texts, labels = (
        (folder / name).read_text(encoding="utf-8").rstrip("\n").split("\n") for name in ("seq.in", "label")
    )
    for text, label in zip(texts, labels, strict=True):
        yield " ".join(text.split()), label.strip()


def _table(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream, strict=True):
            yield " ".join(row["text"].split()), row["category"].strip()


if __name__ == "__main__":
    main()
