"""Texts in a pattern as token ids and mask positions; pattern and masks are never cut, lost tokens are counted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from petapter.task.apart import Located, locate_apart
from petapter.task.cutting import Piece, pieces, unread
from petapter_schemas.errors import TaskError
from petapter_schemas.task import OWN_TOKENIZATION, Literally, PatternSpec, Slot, TokenizationSpec, split_template

Fields = Mapping[str, str]


@dataclass(frozen=True)
class EncodedText:
    """One text in one pattern.

    Attributes:
        input_ids: Token ids with special tokens.
        mask_positions: Where the masks stand in `input_ids`, in pattern order, length M.
        lost_tokens: How many tokens of the text did not fit.
        text_positions: Where the tokens of the text fields stand, ascending; the rest is pattern and special tokens.
    """

    input_ids: tuple[int, ...]
    mask_positions: tuple[int, ...]
    lost_tokens: int
    text_positions: tuple[int, ...] = ()


@dataclass(frozen=True)
class Windows:
    """Texts of one pattern, each as one encoding or, where it is long and the pattern says so, as several.

    Attributes:
        encoded: All encodings, those of one text together and in the order of the text; `lost_tokens` of each are the
            tokens that stand in the text's other windows or in none.
        owner: By encoding, the index of its text; ascending.
        text_tokens: By text, how many tokens it has.
        lost_tokens: By text, how many of them stand in no encoding.
    """

    encoded: tuple[EncodedText, ...]
    owner: tuple[int, ...]
    text_tokens: tuple[int, ...]
    lost_tokens: tuple[int, ...]

    def by_text(self) -> list[list[EncodedText]]:
        """The encodings of each text."""
        texts: list[list[EncodedText]] = [[] for _ in self.text_tokens]
        for text, item in zip(self.owner, self.encoded, strict=True):
            texts[text].append(item)
        return texts


@dataclass(frozen=True)
class Batch:
    """Encoded texts of one pattern, padded to the longest.

    Attributes:
        input_ids: int64 [B, S].
        attention_mask: int64 [B, S], 1 on real tokens.
        mask_positions: int64 [B, M].
        text_mask: bool [B, S], true on the tokens of the text fields.
    """

    input_ids: Tensor
    attention_mask: Tensor
    mask_positions: Tensor
    text_mask: Tensor


@dataclass(frozen=True)
class _Written:
    """A filled-in pattern: its text, the character spans of the fields, and the character ends of the masks."""

    text: str
    spans: tuple[tuple[int, int], ...]
    mask_ends: tuple[int, ...]


@dataclass(frozen=True)
class _FieldTokens:
    """Where the tokens of a field stand in the whole, and which of them are read together."""

    tokens: tuple[int, ...]
    read: list[Piece]

    def dropped(self, window: int) -> set[int]:
        """Tokens that are not read in a window."""
        piece = self.read[min(window, len(self.read) - 1)]
        return set(self.tokens).difference(*(self.tokens[part.start : part.stop] for part in piece))


@dataclass(frozen=True)
class _Cut:
    """What became of one text: its encodings, its tokens, and how many of them are in none."""

    encoded: tuple[EncodedText, ...]
    text_tokens: int
    lost_tokens: int


@dataclass(frozen=True)
class Encoder:
    """Writes texts into one pattern with one tokenizer.

    Attributes:
        tokenizer: A fast tokenizer; its own truncation and padding are not used.
        pattern: The pattern.
        max_tokens: Longest sequence the backbone reads, special tokens included.
        tokenization: The task's; it says whether texts are read in the pattern or apart.
    """

    tokenizer: PreTrainedTokenizerBase
    pattern: PatternSpec
    max_tokens: int
    tokenization: TokenizationSpec = OWN_TOKENIZATION

    def encode(self, texts: Sequence[Fields]) -> list[EncodedText]:
        """Encode texts, each given by field, as one encoding per text.

        A special token spelled out in a text is taken apart first, so that a text cannot add a mask or a separator.

        Raises:
            TaskError: The pattern alone does not fit the backbone, or a text needs several windows.
        """
        windows = self.encode_windows(texts)
        if len(windows.encoded) > len(texts):
            raise TaskError(
                f"pattern {self.pattern.template!r} reads long texts in windows, but here a text is read in one piece: "
                "choose another way to keep, such as head+tail"
            )
        return list(windows.encoded)

    def encode_windows(self, texts: Sequence[Fields]) -> Windows:
        """Encode texts, each given by field; only a pattern that keeps windows makes several encodings of a text.

        Every encoding is a whole pattern. A text that fits has one, the same as under any other way to keep.

        Raises:
            TaskError: The pattern alone does not fit the backbone.
        """
        cuts = self._cuts(texts)
        return Windows(
            encoded=tuple(item for cut in cuts for item in cut.encoded),
            owner=tuple(text for text, cut in enumerate(cuts) for _ in cut.encoded),
            text_tokens=tuple(cut.text_tokens for cut in cuts),
            lost_tokens=tuple(cut.lost_tokens for cut in cuts),
        )

    def _cuts(self, texts: Sequence[Fields]) -> list[_Cut]:
        if not texts:
            return []
        if self.tokenization.texts == "apart":
            return [self._cut(item) for item in locate_apart(self.tokenizer, self.pattern, self._defused(texts))]
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
            self._cut(self._located(item, ids, offsets, encoding.special_tokens_mask))
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
    def _mask_id(self) -> int:
        return int(self.tokenizer.mask_token_id)  # the tokenizer looks this up anew at each call

    @cached_property
    def _special_tokens(self) -> tuple[str, ...]:
        return tuple(self.tokenizer.all_special_tokens)  # the tokenizer makes this list anew at each call

    def _write(self, fields: Fields) -> _Written:
        """The pattern with its fields and masks filled in."""
        (values,) = self._defused([fields])
        written = self._fill(values)
        if self._spells_special(written):  # "[{text}]" and the text "MASK" do so together; spaces part them
            written = self._fill({name: f" {value} " for name, value in values.items()})
        return written

    def _defused(self, texts: Sequence[Fields]) -> list[Fields]:
        return [{name: defuse(fields[name], self._special_tokens) for name in self._fields} for fields in texts]

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

    def _located(
        self, written: _Written, ids: Sequence[int], offsets: Sequence[tuple[int, int]], special: Sequence[int]
    ) -> Located:
        # by the end alone: byte-level tokenizers give a token of blanks an empty span, and special tokens end at 0
        field_of = [_field(end, written.spans) for _, end in offsets]
        tokens_of = [[i for i, owner in enumerate(field_of) if owner == field] for field in range(len(written.spans))]
        masks = {offsets[i][1]: i for i, token in enumerate(ids) if token == self._mask_id and not special[i]}
        return Located(ids, tokens_of, [masks[end] for end in written.mask_ends])

    def _cut(self, located: Located) -> _Cut:
        lengths = [len(tokens) for tokens in located.fields]
        room = self.max_tokens - (len(located.ids) - sum(lengths))
        if room < len(lengths):
            raise TaskError(f"pattern {self.pattern.template!r} alone fills the {self.max_tokens} tokens: shorten it")
        read = [
            pieces(length, share, self.pattern) for length, share in zip(lengths, _share(lengths, room), strict=True)
        ]
        fields = [_FieldTokens(tuple(tokens), item) for tokens, item in zip(located.fields, read, strict=True)]
        encoded = _encodings(located.ids, located.masks, fields)
        return _Cut(encoded, sum(lengths), sum(map(unread, lengths, read)))


def defuse(text: str, special_tokens: Sequence[str]) -> str:
    """The text with spelled-out special tokens taken apart: "[MASK]" becomes "[ MASK]", which is just characters."""
    for token in special_tokens:
        if token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def pad_batch(encoded: Sequence[EncodedText], pad_id: int, *, at_least: int = 0) -> Batch:
    """Pad encoded texts of one pattern to their longest, or to a length that is longer still."""
    longest = max(at_least, *(len(item.input_ids) for item in encoded))
    input_ids = torch.full((len(encoded), longest), pad_id, dtype=torch.int64)
    attention_mask = torch.zeros((len(encoded), longest), dtype=torch.int64)
    text_mask = torch.zeros((len(encoded), longest), dtype=torch.bool)
    for row, item in enumerate(encoded):
        text_mask[row, list(item.text_positions)] = True
        input_ids[row, : len(item.input_ids)] = torch.tensor(item.input_ids)
        attention_mask[row, : len(item.input_ids)] = 1
    return Batch(input_ids, attention_mask, torch.tensor([item.mask_positions for item in encoded]), text_mask)


def length_batches(lengths: Sequence[int], most_tokens: int) -> Iterator[list[int]]:
    """Rows by length, in batches of at most so many tokens when padded to their longest, but of at least one row."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[row] > most_tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _occurrences(token: str, text: str) -> Iterator[tuple[int, int]]:
    start = text.find(token)
    while start >= 0:
        yield start, start + len(token)
        start = text.find(token, start + 1)


def _field(end: int, spans: Sequence[tuple[int, int]]) -> int | None:
    """The field whose characters a token ends in; a token of the pattern has none."""
    return next((i for i, (begin, stop) in enumerate(spans) if begin < end <= stop), None)


def _encodings(ids: Sequence[int], masks: Sequence[int], fields: Sequence[_FieldTokens]) -> tuple[EncodedText, ...]:
    """One encoding per window of the longest field; a field of fewer windows stays at its last."""
    encoded = []
    for window in range(max(len(field.read) for field in fields)):
        dropped = {i for field in fields for i in field.dropped(window)}
        kept = [i for i in range(len(ids)) if i not in dropped] if dropped else range(len(ids))
        position_of = {i: position for position, i in enumerate(kept)}
        positions = tuple(position_of[i] for i in masks)
        texts = tuple(sorted(position_of[i] for field in fields for i in field.tokens if i not in dropped))
        encoded.append(EncodedText(tuple(ids[i] for i in kept), positions, len(dropped), texts))
    return tuple(encoded)


def _share(lengths: Sequence[int], room: int) -> list[int]:
    """Tokens each field may keep: the longest gives way first, equals share evenly."""
    shares = [0] * len(lengths)
    open_fields = sorted(range(len(lengths)), key=lambda i: lengths[i])
    for rank, field in enumerate(open_fields):
        shares[field] = min(lengths[field], room // (len(open_fields) - rank))
        room -= shares[field]
    return shares
