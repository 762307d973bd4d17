"""Which rows each step reads: every row once per epoch, shuffled, by like length or plainly."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal

import torch

RowOrder = Literal["bucketed", "shuffled"]
"""Rows of like length together, which wastes little padding; or as they come out of the shuffling."""

_BUCKET_BATCHES = 8
"""Rows are sorted by length within a shuffled stretch of this many batches: little padding, still a random order."""

_Epoch = Callable[[torch.Generator], list[list[int]]]


def batches(
    lengths: Sequence[int], batch_size: int, steps: int, seed: int, order: RowOrder = "bucketed"
) -> Iterator[list[int]]:
    """Yield row indices for `steps` steps.

    Args:
        lengths: Tokens of each row.
        batch_size: Rows per batch; the last of an epoch may be smaller.
        steps: Number of batches.
        seed: Of the shuffling.
        order: What stands together in a batch.
    """
    epoch: _Epoch = (
        partial(_bucketed, lengths, batch_size) if order == "bucketed" else partial(_shuffled, len(lengths), batch_size)
    )
    generator = torch.Generator().manual_seed(seed)
    step = 0
    while step < steps:
        for batch in epoch(generator):
            if step == steps:
                return
            yield batch
            step += 1


def _bucketed(lengths: Sequence[int], batch_size: int, generator: torch.Generator) -> list[list[int]]:
    order = torch.randperm(len(lengths), generator=generator).tolist()
    stretch = batch_size * _BUCKET_BATCHES
    cut: list[list[int]] = []
    for start in range(0, len(order), stretch):
        rows = sorted(order[start : start + stretch], key=lambda row: lengths[row])
        cut += _pieces(rows, batch_size)
    return [cut[i] for i in torch.randperm(len(cut), generator=generator).tolist()]


def _shuffled(rows: int, batch_size: int, generator: torch.Generator) -> list[list[int]]:
    return _pieces(torch.randperm(rows, generator=generator).tolist(), batch_size)


def _pieces(rows: list[int], size: int) -> list[list[int]]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]
