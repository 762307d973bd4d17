"""Which rows each step reads: every row once per epoch, shuffled, but rows of like length together."""

from collections.abc import Iterator, Sequence

import torch

_BUCKET_BATCHES = 8
"""Rows are sorted by length within a shuffled stretch of this many batches: little padding, still a random order."""


def batches(lengths: Sequence[int], batch_size: int, steps: int, seed: int) -> Iterator[list[int]]:
    """Yield row indices for `steps` steps.

    Args:
        lengths: Tokens of each row.
        batch_size: Rows per batch; the last of an epoch may be smaller.
        steps: Number of batches.
        seed: Of the shuffling.
    """
    generator = torch.Generator().manual_seed(seed)
    step = 0
    while step < steps:
        for batch in _epoch(lengths, batch_size, generator):
            if step == steps:
                return
            yield batch
            step += 1


def _epoch(lengths: Sequence[int], batch_size: int, generator: torch.Generator) -> list[list[int]]:
    order = torch.randperm(len(lengths), generator=generator).tolist()
    stretch = batch_size * _BUCKET_BATCHES
    cut: list[list[int]] = []
    for start in range(0, len(order), stretch):
        rows = sorted(order[start : start + stretch], key=lambda row: lengths[row])
        cut += [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    return [cut[i] for i in torch.randperm(len(cut), generator=generator).tolist()]
