"""Attention of each text of a pack to itself alone, over texts of like length or over all texts in one call."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from petapter.runtime.arrays import Arrays
from petapter.runtime.thinning import Dropped
from petapter.runtime.ways import Varlen


@dataclass(frozen=True)
class Bucket:
    """Texts of like length that attend in one call.

    Attributes:
        tokens: Where their tokens stand in the pack, [B * S]; of a shorter text its first token fills up.
        shape: B, S.
        real: Which of them are meant, [B, S]; None if all are.
        kept: Where these stand in `tokens`.
        places: Which texts of the pack they are.
    """

    tokens: Tensor
    shape: tuple[int, int]
    real: Tensor | None
    kept: Tensor | None
    places: tuple[int, ...]


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
    return tuple(_bucket(ends[list(places)], sizes[list(places)], tuple(places), arrays) for places in buckets)


def _bucket(
    ends: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    sizes: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    places: tuple[int, ...],
    arrays: Arrays,
) -> Bucket:
    start = (ends - sizes)[:, None]  # [B, 1]
    longest = int(sizes.max())
    within = np.arange(longest)  # [S]
    real = within < sizes[:, None]  # [B, S]
    tokens = arrays.put(np.where(real, start + within, start).reshape(-1))
    shape = (len(sizes), longest)
    if int(sizes.min()) == longest:
        return Bucket(tokens, shape, None, None, places)
    return Bucket(tokens, shape, arrays.put(real, np.bool_), arrays.put(np.flatnonzero(real)), places)


def attend(  # noqa: PLR0913
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    asking: Texts,
    asked: Texts,
    scaling: float | None = None,
    sliding_window: int | None = None,
    dropped: Dropped | None = None,
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
        dropped: Dropout, which texts in buckets alone can have.

    Returns:
        [1, R, heads, D].
    """
    if isinstance(asking, Segments) and isinstance(asked, Segments):
        reach = -1 if sliding_window is None else sliding_window - 1
        by_token = [states[0].transpose(0, 1) for states in (query, key, value)]  # [R or T, heads, D]
        lengths = (asking.offsets, asked.offsets, asking.longest, asked.longest)
        said: Tensor = asked.varlen(*by_token, *lengths, scale=scaling, window_size=(reach, reach))
        return said.unsqueeze(0)
    drawn = None if dropped is None else dropped.draw(query.shape[1], query)
    some_of, all_of = _buckets(asking), _buckets(asked)
    taken = zip(_taken(query, some_of), _taken(key, all_of), _taken(value, all_of), strict=True)
    parts: list[tuple[Tensor, Tensor]] = []
    for some, all_, states in zip(some_of, all_of, taken, strict=True):
        seen = _seen(all_, sliding_window, query.device)
        if drawn is None:
            said = nn.functional.scaled_dot_product_attention(*states, attn_mask=seen, scale=scaling)
        else:
            said = _thinned(*states, seen, scaling, _side_by_side([drawn[place] for place in some.places]))
        flat = said.transpose(1, 2).flatten(0, 1)  # [B * S, heads, D]
        tokens = some.tokens
        if some.kept is not None:
            tokens, flat = tokens.index_select(0, some.kept), flat.index_select(0, some.kept)
        parts.append((tokens, flat))
    return _in_order(parts).unsqueeze(0)


def _in_order(parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Rows by their numbers, [R, ...]: every number occurs once."""
    if parts[0][1].requires_grad:  # the gradient of one permutation, instead of one of all rows for each part
        numbers = torch.cat([tokens for tokens, _ in parts])
        return torch.cat([flat for _, flat in parts]).index_select(0, torch.argsort(numbers))
    like = parts[0][1]
    result = like.new_empty(sum(len(tokens) for tokens, _ in parts), *like.shape[1:])
    for tokens, flat in parts:
        result.index_copy_(0, tokens, flat)
    return result


def _thinned(
    query: Tensor, key: Tensor, value: Tensor, seen: Tensor | None, scaling: float | None, keep: Tensor
) -> Tensor:
    """Attention with dropout that was drawn before, [B, heads, R, D]."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = query @ key.transpose(-1, -2) * scale  # [B, heads, R, S]
    if seen is not None:
        scores = scores.masked_fill(~seen, -torch.inf)
    said: Tensor = (scores.softmax(dim=-1) * keep) @ value
    return said


def _side_by_side(drawn: Sequence[Tensor]) -> Tensor:
    """Numbers of several texts [heads, R, S] as one [B, heads, R, S]; 0 fills up."""
    longest = [max(each.shape[axis] for each in drawn) for axis in range(3)]
    result = drawn[0].new_zeros(len(drawn), *longest)
    for row, each in zip(result, drawn, strict=True):
        row[:, : each.shape[1], : each.shape[2]] = each
    return result


def _buckets(texts: Texts) -> tuple[Bucket, ...]:
    if isinstance(texts, Segments):
        raise TypeError("queries in buckets look at keys in buckets")
    return texts


def _taken(states: Tensor, buckets: Sequence[Bucket]) -> list[Tensor]:
    """States [1, heads, T, D] of the texts of each bucket, [B, heads, S, D]."""
    tokens = states[0].transpose(0, 1)
    if states.requires_grad:  # the gradient of one choice of tokens, instead of one of all tokens for each bucket
        numbers = torch.cat([bucket.tokens for bucket in buckets])
        chosen = tokens.index_select(0, numbers).split([len(bucket.tokens) for bucket in buckets])
    else:
        chosen = tuple(tokens.index_select(0, bucket.tokens) for bucket in buckets)
    return [own.unflatten(0, bucket.shape).transpose(1, 2) for own, bucket in zip(chosen, buckets, strict=True)]


def _seen(bucket: Bucket, sliding_window: int | None, device: torch.device) -> Tensor | None:
    """Which tokens each may look at, bool [B or 1, 1, S or 1, S]; None for all."""
    real = None if bucket.real is None else bucket.real[:, None, None, :]
    longest = bucket.shape[1]
    if sliding_window is None or sliding_window >= longest:
        return real
    place = torch.arange(longest, device=device)
    near = ((place[:, None] - place[None, :]).abs() < sliding_window)[None, None]
    return near if real is None else near & real | torch.eye(longest, dtype=torch.bool, device=device)
