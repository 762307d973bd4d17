"""Products of rows by the weights of the group they belong to."""

import torch
from torch import Tensor
from torch.nn.functional import grouped_mm, pad

_BYTES = 16
"""What grouped products want lines of numbers to be a multiple of."""


def grouped_product(read: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
    """Rows [N, F] by the weights [K, F, G] of their group, [N, G].

    Zeros fill up where F or G make no whole lines of 16 bytes, which changes nothing in the result.

    Args:
        read: Sorted by group.
        weights: By group.
        ends: By group, where its rows end, int32 [K]; no group is empty.
    """
    if len(weights) == 1:
        return read @ weights[0]
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


def ends_of(counts: Tensor) -> Tensor:
    """Where groups of so many rows end, int32."""
    return counts.cumsum(0).to(torch.int32)
