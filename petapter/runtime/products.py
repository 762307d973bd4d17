"""Products of rows by the weights of the group they belong to, by one of two ways that give the same."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grouped_mm, pad

from petapter.runtime.arrays import Arrays, ends_of

_BYTES = 16
"""What grouped products want lines of numbers to be a multiple of."""
MOST_GROUPS = 1023
"""That `grouped_mm` takes on a CUDA device."""


@dataclass(frozen=True)
class Blocks:
    """Rows in blocks of one height, each of one group; a block's first row fills it up.

    Attributes:
        taken: By place in a block, which row stands there, [B * C].
        group_of: By block, [B].
        shape: B, C.
        back: By row, where it stands in the blocks, [N].
    """

    taken: Tensor
    group_of: Tensor
    shape: tuple[int, int]
    back: Tensor


@dataclass(frozen=True)
class Groups:
    """Rows that are sorted by group; no group is empty.

    Attributes:
        ends: By group, where its rows end, int32 [K].
        row_of: By row, its group, [N].
        blocks: Where `grouped_mm` is no way; None else.
    """

    ends: Tensor
    row_of: Tensor
    blocks: Blocks | None


def groups_of(counts: Sequence[int], arrays: Arrays, *, grouped: bool) -> Groups:
    """Groups of so many rows.

    Args:
        counts: By group, one or more.
        arrays: Where the numbers of rows go.
        grouped: Whether the device has `grouped_mm` for as many as it takes.
    """
    needs_blocks = len(counts) > 1 and not (grouped and len(counts) <= MOST_GROUPS)
    row_of = np.repeat(np.arange(len(counts)), counts)
    blocks = _blocks(counts, arrays) if needs_blocks else None
    return Groups(arrays.put(ends_of(counts), np.int32), arrays.put(row_of), blocks)


def _blocks(counts: Sequence[int], arrays: Arrays) -> Blocks:
    """Blocks of the mean height: at most two for each group on average, so that at most two thirds of rows fill up."""
    sizes = np.asarray(counts)
    height = -(-int(sizes.sum()) // len(sizes))
    blocks = -(-sizes // height)  # by group
    group_of = np.repeat(np.arange(len(sizes)), blocks)
    number = np.arange(len(group_of)) - np.repeat(np.cumsum(blocks) - blocks, blocks)  # of a block in its group
    first = (np.cumsum(sizes) - sizes)[group_of] + number * height
    left = sizes[group_of] - number * height  # rows from there on
    within = np.arange(height)
    is_row = within < left[:, None]  # [B, C]
    taken = np.where(is_row, first[:, None] + within, first[:, None])
    shape = (len(group_of), height)
    return Blocks(arrays.put(taken.reshape(-1)), arrays.put(group_of), shape, arrays.put(np.flatnonzero(is_row)))


def grouped_product(read: Tensor, weights: Tensor, groups: Groups) -> Tensor:
    """Rows [N, F] by the weights [K, F, G] of their group, [N, G]."""
    if is_alone(weights):
        return read @ weights[0]
    if groups.blocks is not None:
        return _by_blocks(read, weights, groups.blocks)
    return _by_groups(read, weights, groups.ends)


def is_alone(weights: Tensor) -> bool:
    """Whether weights [K, ...] are of one group that has a way of its own.

    While they train they have none: it rounds differently, and a module would then depend on whether there are others.
    """
    return len(weights) == 1 and not weights.requires_grad


def _by_blocks(read: Tensor, weights: Tensor, blocks: Blocks) -> Tensor:
    """One batched product of any precision, with which nothing waits for the device."""
    rows = read.index_select(0, blocks.taken).unflatten(0, blocks.shape)  # [B, C, F]
    product: Tensor = torch.bmm(rows, weights.index_select(0, blocks.group_of))
    return product.flatten(0, 1).index_select(0, blocks.back)


def _by_groups(read: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
    """By `grouped_mm`. Zeros fill up where F or G make no whole lines of 16 bytes, which changes nothing."""
    line = _BYTES // read.element_size()
    wide, out = weights.shape[1:]
    more_out, more_wide = -out % line, -wide % line
    if more_out or more_wide:  # to pad by nothing would copy all the same
        weights, read = pad(weights, (0, more_out, 0, more_wide)), pad(read, (0, more_wide))
    product: Tensor = grouped_mm(_in_lines(read, line), _in_lines(weights, line), offs=ends)
    return product[:, :out] if more_out else product


def _in_lines(values: Tensor, line: int) -> Tensor:
    """The same numbers, moved if their lines do not begin where lines may begin."""
    fine = 1 in values.stride()[-2:] and all(stride % line == 0 for stride in values.stride() if stride != 1)
    return values if fine and values.storage_offset() % line == 0 else values.contiguous()
