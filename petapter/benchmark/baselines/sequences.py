"""Token sequences of any kind, padded in batches of like length."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from petapter.backbone import Backbone
from petapter.benchmark.baselines.rows import joined
from petapter.task.encoding import EncodedText, Fields, defuse, length_batches

_TOKENS_PER_BATCH = 4096
"""Padded tokens per forward pass without gradients."""


@dataclass(frozen=True)
class TokenRow:
    """One sequence.

    Attributes:
        ids: Token ids, at least one.
        masks: Where the masks of a pattern stand; empty without a pattern.
    """

    ids: tuple[int, ...]
    masks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Padded:
    """Sequences of one batch on the backbone's device.

    Attributes:
        input_ids: int64 [B, S].
        attention_mask: int64 [B, S], 1 on real tokens.
        masks: int64 [B, M].
    """

    input_ids: Tensor
    attention_mask: Tensor
    masks: Tensor


def plain_rows(
    backbone: Backbone, texts: Sequence[Fields], fields: Sequence[str], *, special_tokens: bool
) -> list[TokenRow]:
    """Texts without a pattern: fields in order, between them the tokenizer's separator; the end of a long one is cut.

    A special token that a text spells out is taken apart, as in patterns.

    Args:
        backbone: Whose tokenizer and length.
        texts: By field.
        fields: In their order.
        special_tokens: Whether the sequence begins and ends as the backbone is used to.
    """
    tokenizer = backbone.tokenizer
    between = f" {tokenizer.sep_token} " if tokenizer.sep_token else " "
    specials = list(tokenizer.all_special_tokens)
    safe = [{name: defuse(text[name], specials) for name in fields} for text in texts]
    if not safe:
        return []
    unknown = tokenizer.unk_token_id if isinstance(tokenizer.unk_token_id, int) else backbone.pad_id
    encoded = tokenizer(
        joined(safe, fields, between),
        add_special_tokens=special_tokens,
        truncation=True,
        max_length=backbone.max_tokens,
    )
    return [TokenRow(tuple(ids) or (unknown,)) for ids in encoded["input_ids"]]


def pattern_rows(encoded: Sequence[EncodedText]) -> list[TokenRow]:
    """Texts in a pattern."""
    return [TokenRow(tuple(item.input_ids), tuple(item.mask_positions)) for item in encoded]


def padded(rows: Sequence[TokenRow], backbone: Backbone) -> Padded:
    """Pad to the longest."""
    ids = [torch.tensor(row.ids) for row in rows]
    return Padded(
        input_ids=pad_sequence(ids, batch_first=True, padding_value=backbone.pad_id).to(backbone.device),
        attention_mask=pad_sequence([torch.ones_like(row) for row in ids], batch_first=True).to(backbone.device),
        masks=torch.tensor([row.masks for row in rows], dtype=torch.int64).to(backbone.device),
    )


@torch.inference_mode()
def computed(rows: Sequence[TokenRow], backbone: Backbone, forward: Callable[[Padded], Tensor]) -> Tensor:
    """What a forward pass [B, …] says of each row, in the order of the rows, as float32 on the CPU."""
    values: list[tuple[int, Tensor]] = []
    for bucket in length_batches([len(row.ids) for row in rows], _TOKENS_PER_BATCH):
        output = forward(padded([rows[i] for i in bucket], backbone)).float().cpu()
        values += zip(bucket, output, strict=True)
    return torch.stack([value for _, value in sorted(values, key=lambda item: item[0])])
