"""Label words as token ids, tokenised where they will stand: in the pattern, with the space the tokenizer wants."""

from dataclasses import dataclass

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
    """Tokenise all words of a task in the context of its first pattern."""
    pattern = task.patterns[0]
    return Verbalizer(tuple(tuple(word_ids(word, pattern, tokenizer) for word in label.words) for label in task.labels))


def word_ids(word: str, pattern: PatternSpec, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Token ids of a word at the first mask of a pattern."""
    before, after = _around_first_mask(pattern)
    encoded = tokenizer(before + word + after, return_offsets_mapping=True)
    begin, end = len(before), len(before) + len(word)
    special = encoded.encodings[0].special_tokens_mask
    return tuple(
        token
        for token, (_, token_end), is_special in zip(
            encoded["input_ids"], encoded["offset_mapping"], special, strict=True
        )
        if begin < token_end <= end and not is_special
    )


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
