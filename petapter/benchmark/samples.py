"""Draws the training samples and the test rows of a benchmark, by hashes alone, so that anybody draws the same.

The protocol is the one of the PETapter paper (Rieger, Ruckdeschel, Wiedemann 2024, arXiv 2412.04975): sizes are
totals, classes are as equal as they can be, a larger sample contains the smaller ones, and samples are disjoint. The
paper draws at random; here the sha256 of a row decides its place.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from petapter.task import Example, rows_digest
from petapter.task.examples import LABEL_COLUMN
from petapter_schemas import strict_json
from petapter_schemas.errors import DataError

SALT = "petapter benchmark 1"
"""Part of every hash: another salt, or another version of this protocol, draws other rows."""


@dataclass(frozen=True)
class Sample:
    """Labelled rows to learn from.

    Attributes:
        size: Number of rows, n.
        index: Which of the samples of this size, from 0.
        rows: The rows, the ones shared with smaller sizes first within each class.
        digest: Names the rows, whatever their order.
        shared: How many of them also occur in an earlier sample of the same size.
    """

    size: int
    index: int
    rows: tuple[Example, ...]
    digest: str
    shared: int


@dataclass(frozen=True)
class Drawing:
    """How samples are drawn.

    Attributes:
        sizes: Totals, n.
        samples: Samples of each size.
        overlap: Whether samples may share rows where a class has too few for all of them.
        salt: Part of every hash.
    """

    sizes: Sequence[int]
    samples: int
    overlap: bool = False
    salt: str = SALT


def draw_samples(examples: Sequence[Example], label_names: Sequence[str], drawing: Drawing) -> list[Sample]:
    """Draw all samples of all sizes, smaller sizes first.

    Rows of a class stand in the order of their hashes, repeated rows once. Each sample has a block of its own of the
    largest size; a smaller size takes the first rows of the block. With n rows for L classes, n mod L classes get one
    row more: the first ones in the order of the labels' hashes, turned by one place from sample to sample.

    Raises:
        DataError: A size has fewer rows than classes, or a class has too few rows.
    """
    pools = _pools(examples, label_names, drawing.salt)
    largest = max(drawing.sizes)
    for size in drawing.sizes:
        if size < len(label_names):
            raise DataError(f"n={size} is less than the {len(label_names)} labels: a sample needs a row of each")
    blocks = _blocks(pools, [_quotas(label_names, largest, s, drawing.salt) for s in range(drawing.samples)], drawing)
    drawn: list[Sample] = []
    for size in sorted(set(drawing.sizes)):
        seen: set[bytes] = set()
        for index, block in enumerate(blocks):
            quotas = _quotas(label_names, size, index, drawing.salt)
            rows = tuple(row for name in label_names for row in block[name][: quotas[name]])
            keys = {_canonical(row) for row in rows}
            drawn.append(Sample(size, index, rows, rows_digest(rows), len(keys & seen)))
            seen |= keys
    return drawn


def draw_test_rows(examples: Sequence[Example], count: int | None, salt: str = SALT) -> tuple[Example, ...]:
    """The first `count` rows (None: all) in the order of their hashes; the same for every method and size."""
    ordered = sorted(enumerate(examples), key=lambda item: (_place(item[1], salt), item[0]))
    return tuple(row for _, row in ordered[:count])


def _canonical(row: Example) -> bytes:
    return strict_json.canonical({**row.fields, LABEL_COLUMN: row.label})


def _place(row: Example, salt: str) -> str:
    return strict_json.canonical_sha256([salt, {**row.fields, LABEL_COLUMN: row.label}])


def _pools(examples: Sequence[Example], label_names: Sequence[str], salt: str) -> dict[str, list[Example]]:
    distinct = {_canonical(row): row for row in examples}
    ordered = sorted(distinct.values(), key=lambda row: _place(row, salt))
    return {name: [row for row in ordered if row.label == name] for name in label_names}


def _quotas(label_names: Sequence[str], size: int, index: int, salt: str) -> Counter[str]:
    """Rows of each class in a sample; never more in a smaller size than in a larger one."""
    order = sorted(label_names, key=lambda name: strict_json.canonical_sha256([salt, name]))
    turned = [order[(place + index) % len(order)] for place in range(len(order))]
    return Counter(turned[place % len(turned)] for place in range(size))


def _blocks(
    pools: Mapping[str, Sequence[Example]], quotas: Sequence[Counter[str]], drawing: Drawing
) -> list[dict[str, list[Example]]]:
    """The rows of each class that each sample may use, in order."""
    blocks: list[dict[str, list[Example]]] = [{} for _ in quotas]
    for name, pool in pools.items():
        needed = sum(quota[name] for quota in quotas)
        most = max(quota[name] for quota in quotas)
        if len(pool) < most or (len(pool) < needed and not drawing.overlap):
            remedy = "" if len(pool) < most else ", or 'overlap: true' to let samples share rows"
            raise DataError(
                f"label {name!r} has {len(pool)} different rows, {drawing.samples} samples of {max(drawing.sizes)} "
                f"need {needed}: choose fewer samples or a smaller n{remedy}"
            )
        start = 0
        for block, quota in zip(blocks, quotas, strict=True):
            block[name] = [pool[(start + place) % len(pool)] for place in range(quota[name])]
            start += quota[name]
    return blocks
