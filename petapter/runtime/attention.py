"""Attention of each text of a pack to itself alone, over texts of like length or over all texts in one call."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from petapter.runtime.arrays import Arrays
from petapter.runtime.ways import Varlen


@dataclass(frozen=True)
class Bucket:
    """Texts of like length that attend in one call.

    Attributes:
        tokens: Where their tokens stand in the pack, [B * S]; of a shorter text its first token fills up.
        shape: B, S.
        real: Which of them are meant, [B, S]; None if all are.
        kept: Where these stand in `tokens`.
    """

    tokens: Tensor
    shape: tuple[int, int]
    real: Tensor | None
    kept: Tensor | None


@dataclass(frozen=True)
class Segments:
    """All texts, as attention over texts of any length takes them.

    Attributes:
        offsets: Where each begins, and the last ends, int32 [N + 1].
        longest: Tokens of the longest.
        varlen: That attention.
    """

    offsets: Tensor
    longest: int
    varlen: Varlen


Texts = tuple[Bucket, ...] | Segments


def texts_of(lengths: Sequence[int], buckets: Sequence[Sequence[int]], arrays: Arrays, varlen: Varlen | None) -> Texts:
    """Texts that stand one after the other.

    Args:
        lengths: Tokens by place, one or more.
        buckets: Places that attention takes together where it takes texts by length.
        arrays: Where the numbers of tokens go.
        varlen: The other way, if the device has it.
    """
    ends = np.cumsum(lengths)
    if varlen is not None:
        return Segments(arrays.put(np.concatenate([[0], ends]), np.int32), max(lengths), varlen)
    sizes = np.asarray(lengths)
    return tuple(_bucket(ends[list(places)], sizes[list(places)], arrays) for places in buckets)


def _bucket(
    ends: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    sizes: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    arrays: Arrays,
) -> Bucket:
    start = (ends - sizes)[:, None]  # [B, 1]
    longest = int(sizes.max())
    within = np.arange(longest)  # [S]
    real = within < sizes[:, None]  # [B, S]
    tokens = arrays.put(np.where(real, start + within, start).reshape(-1))
    shape = (len(sizes), longest)
    if int(sizes.min()) == longest:
        return Bucket(tokens, shape, None, None)
    return Bucket(tokens, shape, arrays.put(real, np.bool_), arrays.put(np.flatnonzero(real)))


def attend(  # noqa: PLR0913
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    asking: Texts,
    asked: Texts,
    scaling: float | None = None,
    sliding_window: int | None = None,
) -> Tensor:
    """Attention within each text.

    Args:
        query: [1, heads, R, D].
        key: [1, heads, T, D].
        value: Likewise.
        asking: Which queries belong to which text.
        asked: Keys and values, the same texts in the same order, in buckets if `asking` is.
        scaling: Of the products; None for 1 / sqrt(D).
        sliding_window: One more than how far a token sees to either side, where queries are all tokens.

    Returns:
        [1, R, heads, D].
    """
    if isinstance(asking, Segments) and isinstance(asked, Segments):
        reach = -1 if sliding_window is None else sliding_window - 1
        by_token = [states[0].transpose(0, 1) for states in (query, key, value)]  # [R or T, heads, D]
        lengths = (asking.offsets, asked.offsets, asking.longest, asked.longest)
        said: Tensor = asked.varlen(*by_token, *lengths, scale=scaling, window_size=(reach, reach))
        return said.unsqueeze(0)
    result = torch.empty_like(query[0].transpose(0, 1), memory_format=torch.contiguous_format)  # [R, heads, D]
    for some, all_ in _pairs(asking, asked):
        said = nn.functional.scaled_dot_product_attention(
            _taken(query, some),
            _taken(key, all_),
            _taken(value, all_),
            attn_mask=_seen(all_, sliding_window, query.device),
            scale=scaling,
        )
        flat = said.transpose(1, 2).flatten(0, 1)  # [B * S, heads, D]
        if some.kept is None:
            result.index_copy_(0, some.tokens, flat)
        else:
            result.index_copy_(0, some.tokens.index_select(0, some.kept), flat.index_select(0, some.kept))
    return result.unsqueeze(0)


def _pairs(asking: Texts, asked: Texts) -> list[tuple[Bucket, Bucket]]:
    if isinstance(asking, Segments) or isinstance(asked, Segments):
        raise TypeError("queries in buckets look at keys in buckets")
    return list(zip(asking, asked, strict=True))


def _taken(states: Tensor, bucket: Bucket) -> Tensor:
    """States [1, heads, T, D] of the texts of a bucket, [B, heads, S, D]."""
    taken: Tensor = states[0].transpose(0, 1).index_select(0, bucket.tokens).unflatten(0, bucket.shape)
    return taken.transpose(1, 2)


def _seen(bucket: Bucket, sliding_window: int | None, device: torch.device) -> Tensor | None:
    """Which tokens each may look at, bool [B or 1, 1, S or 1, S]; None for all."""
    real = None if bucket.real is None else bucket.real[:, None, None, :]
    longest = bucket.shape[1]
    if sliding_window is None or sliding_window >= longest:
        return real
    place = torch.arange(longest, device=device)
    near = ((place[:, None] - place[None, :]).abs() < sliding_window)[None, None]
    return near if real is None else near & real | torch.eye(longest, dtype=torch.bool, device=device)
