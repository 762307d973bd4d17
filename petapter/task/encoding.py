"""Texts in a pattern as token ids and mask positions; pattern and masks are never cut, lost tokens are counted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from petapter_schemas.errors import TaskError
from petapter_schemas.task import Literally, PatternSpec, Slot, split_template

Fields = Mapping[str, str]


@dataclass(frozen=True)
class EncodedText:
    """One text in one pattern.

    Attributes:
        input_ids: Token ids with special tokens.
        mask_positions: Where the masks stand in `input_ids`, in pattern order, length M.
        lost_tokens: How many tokens of the text did not fit.
    """

    input_ids: tuple[int, ...]
    mask_positions: tuple[int, ...]
    lost_tokens: int


@dataclass(frozen=True)
class Batch:
    """Encoded texts of one pattern, padded to the longest.

    Attributes:
        input_ids: int64 [B, S].
        attention_mask: int64 [B, S], 1 on real tokens.
        mask_positions: int64 [B, M].
    """

    input_ids: Tensor
    attention_mask: Tensor
    mask_positions: Tensor


@dataclass(frozen=True)
class _Written:
    """A filled-in pattern: its text, the character spans of the fields, and the character ends of the masks."""

    text: str
    spans: tuple[tuple[int, int], ...]
    mask_ends: tuple[int, ...]


@dataclass(frozen=True)
class Encoder:
    """Writes texts into one pattern with one tokenizer.

    Attributes:
        tokenizer: A fast tokenizer; its own truncation and padding are not used.
        pattern: The pattern.
        max_tokens: Longest sequence the backbone reads, special tokens included.
    """

    tokenizer: PreTrainedTokenizerBase
    pattern: PatternSpec
    max_tokens: int

    def encode(self, texts: Sequence[Fields]) -> list[EncodedText]:
        """Encode texts, each given by field.

        A special token spelled out in a text is taken apart first, so that a text cannot add a mask or a separator.

        Raises:
            TaskError: The pattern alone does not fit the backbone.
        """
        if not texts:
            return []
        written = [self._write(fields) for fields in texts]
        encoded = self.tokenizer(
            [item.text for item in written],
            return_offsets_mapping=True,
            return_attention_mask=False,
            truncation=False,
            padding=False,
            verbose=False,
        )
        return [
            self._cut(item, ids, offsets, encoding.special_tokens_mask)
            for ids, offsets, encoding, item in zip(
                encoded["input_ids"], encoded["offset_mapping"], encoded.encodings, written, strict=True
            )
        ]

    @cached_property
    def _pieces(self) -> tuple[Literally | Slot, ...]:
        return split_template(self.pattern.template)

    @cached_property
    def _fields(self) -> tuple[str, ...]:
        return self.pattern.fields

    @cached_property
    def _special_tokens(self) -> tuple[str, ...]:
        return tuple(self.tokenizer.all_special_tokens)  # the tokenizer makes this list anew at each call

    def _write(self, fields: Fields) -> _Written:
        """The pattern with its fields and masks filled in."""
        values = {name: defuse(fields[name], self._special_tokens) for name in self._fields}
        written = self._fill(values)
        if self._spells_special(written):  # "[{text}]" and the text "MASK" do so together; spaces part them
            written = self._fill({name: f" {value} " for name, value in values.items()})
        return written

    def _fill(self, values: Fields) -> _Written:
        text = ""
        spans: list[tuple[int, int]] = []
        masks: list[int] = []
        for piece in self._pieces:
            match piece:
                case Literally(text=literal):
                    text += literal
                case Slot(is_mask=True):
                    text += self.tokenizer.mask_token
                    masks.append(len(text))
                case Slot(field=field):
                    spans.append((len(text), len(text) + len(values[field])))
                    text += values[field]
        return _Written(text, tuple(spans), tuple(masks))

    def _spells_special(self, written: _Written) -> bool:
        """Whether a special token lies partly in a field."""
        return any(
            begin < stop and start < end
            for token in self._special_tokens
            for start, stop in _occurrences(token, written.text)
            for begin, end in written.spans
        )

    def _cut(
        self, written: _Written, ids: Sequence[int], offsets: Sequence[tuple[int, int]], special: Sequence[int]
    ) -> EncodedText:
        # by the end alone: byte-level tokenizers give a token of blanks an empty span, and special tokens end at 0
        field_of = [_field(end, written.spans) for _, end in offsets]
        lengths = [field_of.count(field) for field in range(len(written.spans))]
        room = self.max_tokens - (len(ids) - sum(lengths))
        if room < len(written.spans):
            raise TaskError(f"pattern {self.pattern.template!r} alone fills the {self.max_tokens} tokens: shorten it")
        dropped = self._dropped(field_of, _share(lengths, room), lengths)
        kept = [i for i in range(len(ids)) if i not in dropped]
        position_of = {
            offsets[i][1]: position
            for position, i in enumerate(kept)
            if ids[i] == self.tokenizer.mask_token_id and not special[i]
        }
        positions = tuple(position_of[end] for end in written.mask_ends)
        return EncodedText(tuple(ids[i] for i in kept), positions, len(dropped))

    def _dropped(self, field_of: Sequence[int | None], budget: Sequence[int], lengths: Sequence[int]) -> set[int]:
        """Token indices to leave out: of each field what exceeds its budget, from the end that is not kept."""
        dropped: set[int] = set()
        for field, (keep, length) in enumerate(zip(budget, lengths, strict=True)):
            if keep < length:
                tokens = [i for i, owner in enumerate(field_of) if owner == field]
                dropped.update(tokens[keep:] if self.pattern.keep == "head" else tokens[: length - keep])
        return dropped


def defuse(text: str, special_tokens: Sequence[str]) -> str:
    """The text with spelled-out special tokens taken apart: "[MASK]" becomes "[ MASK]", which is just characters."""
    for token in special_tokens:
        if token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def pad_batch(encoded: Sequence[EncodedText], pad_id: int) -> Batch:
    """Pad encoded texts of one pattern to their longest."""
    longest = max(len(item.input_ids) for item in encoded)
    input_ids = torch.full((len(encoded), longest), pad_id, dtype=torch.int64)
    attention_mask = torch.zeros((len(encoded), longest), dtype=torch.int64)
    for row, item in enumerate(encoded):
        input_ids[row, : len(item.input_ids)] = torch.tensor(item.input_ids)
        attention_mask[row, : len(item.input_ids)] = 1
    return Batch(input_ids, attention_mask, torch.tensor([item.mask_positions for item in encoded]))


def _occurrences(token: str, text: str) -> Iterator[tuple[int, int]]:
    start = text.find(token)
    while start >= 0:
        yield start, start + len(token)
        start = text.find(token, start + 1)


def _field(end: int, spans: Sequence[tuple[int, int]]) -> int | None:
    """The field whose characters a token ends in; a token of the pattern has none."""
    return next((i for i, (begin, stop) in enumerate(spans) if begin < end <= stop), None)


def _share(lengths: Sequence[int], room: int) -> list[int]:
    """Tokens each field may keep: the longest gives way first, equals share evenly."""
    shares = [0] * len(lengths)
    open_fields = sorted(range(len(lengths)), key=lambda i: lengths[i])
    for rank, field in enumerate(open_fields):
        shares[field] = min(lengths[field], room // (len(open_fields) - rank))
        room -= shares[field]
    return shares
