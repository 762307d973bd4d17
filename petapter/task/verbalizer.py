"""Label words as token ids, tokenised where they will stand: in the pattern, with the space the tokenizer wants.

A task may ask for the reading of the PETapter paper's code instead: bare words, cut to the number of masks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice

from transformers import PreTrainedTokenizerBase

from petapter_schemas.task import Literally, PatternSpec, Slot, TaskSpec, split_template

_NEUTRAL_TEXT = "it"
"""Fills the text fields while a word is tokenised; only the characters beside the mask matter."""


@dataclass(frozen=True)
class Verbalizer:
    """Token ids of every word.

    Attributes:
        ids: By label (in label order), word and position: `ids[y][v][j]`.
    """

    ids: tuple[tuple[tuple[int, ...], ...], ...]

    @property
    def row_token_ids(self) -> tuple[int, ...]:
        """Distinct ids, ascending: the order of the head's rows, length T."""
        return tuple(sorted({token for label in self.ids for word in label for token in word}))

    @property
    def longest(self) -> int:
        """Tokens of the longest word."""
        return max(len(word) for label in self.ids for word in label)


def read_verbalizer(task: TaskSpec, tokenizer: PreTrainedTokenizerBase) -> Verbalizer:
    """Tokenise all words of a task: in the context of its first pattern, unless its `tokenization` says otherwise."""
    whole = _whole_words(task, tokenizer)
    if task.tokenization.long_words == "refuse":
        return whole
    masks = min(pattern.masks for pattern in task.patterns)
    return Verbalizer(tuple(tuple(word[:masks] for word in label) for label in whole.ids))


def cut_words(task: TaskSpec, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The words of which `read_verbalizer` leaves tokens out; none unless the task allows it."""
    whole, read = _whole_words(task, tokenizer), read_verbalizer(task, tokenizer)
    words = [word for label in task.labels for word in label.words]
    return [
        word
        for word, before, after in zip(words, chain(*whole.ids), chain(*read.ids), strict=True)
        if len(after) < len(before)
    ]


def _whole_words(task: TaskSpec, tokenizer: PreTrainedTokenizerBase) -> Verbalizer:
    words = [word for label in task.labels for word in label.words]
    if task.tokenization.words == "bare":
        read = iter([tuple(ids) for ids in tokenizer(words, add_special_tokens=False)["input_ids"]])
    else:
        read = iter(ids_of_words(words, task.patterns[0], tokenizer))
    return Verbalizer(tuple(tuple(islice(read, len(label.words))) for label in task.labels))


def word_ids(word: str, pattern: PatternSpec, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Token ids of a word at the first mask of a pattern."""
    return ids_of_words([word], pattern, tokenizer)[0]


def ids_of_words(
    words: Sequence[str], pattern: PatternSpec, tokenizer: PreTrainedTokenizerBase
) -> list[tuple[int, ...]]:
    """Token ids of each word at the first mask of a pattern, read in one call: a call for each takes longer by far."""
    before, after = _around_first_mask(pattern)
    encoded = tokenizer([before + word + after for word in words], return_offsets_mapping=True)
    return [
        tuple(
            token
            for token, (_, token_end), is_special in zip(ids, offsets, encoding.special_tokens_mask, strict=True)
            if len(before) < token_end <= len(before) + len(word) and not is_special
        )
        for word, ids, offsets, encoding in zip(
            words, encoded["input_ids"], encoded["offset_mapping"], encoded.encodings, strict=True
        )
    ]


def _around_first_mask(pattern: PatternSpec) -> tuple[str, str]:
    """What stands before the first mask, and after it and the masks that follow it directly."""
    pieces = split_template(pattern.template)
    first = next(i for i, piece in enumerate(pieces) if isinstance(piece, Slot) and piece.is_mask)
    after = first + 1
    while after < len(pieces) and _continues_mask(pieces[after : after + 2]):
        after += 1
    return _filled(pieces[:first]), _filled(pieces[after:])


def _continues_mask(pieces: tuple[Literally | Slot, ...]) -> bool:
    """Whether the next piece is another mask, or only the space before one."""
    match pieces:
        case (Slot() as slot, *_):
            return slot.is_mask
        case (Literally(text=text), Slot() as slot):
            return slot.is_mask and not text.strip()
        case _:
            return False


def _filled(pieces: tuple[Literally | Slot, ...]) -> str:
    return "".join(piece.text if isinstance(piece, Literally) else _NEUTRAL_TEXT for piece in pieces)
