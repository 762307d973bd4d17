"""Cuts a stream of documents into pieces of equal length, on the disk, and counts what the texts are made of.

Documents follow one another with a separator between them, across the borders of pieces, as "full sentences" in RoBERTa
(Liu et al. 2019, arXiv 1907.11692): no token is lost and little is padded.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from petapter.task.encoding import defuse
from petapter_schemas.errors import BackboneError, InputError

FILLER = -1
"""Stands behind the tokens of a piece that is shorter than the others."""

_MOST_PIECES = 1_000_000
"""On the disk, 384 bytes each of 96 tokens; of more, so many are drawn at random."""

_MOST_HELD_OUT = 1024
_HELD_OUT_EVERY = 50
"""Each so many-th document is held out, from the first on; whole, so that no piece has its other half seen."""

_BATCH_CHARACTERS = 1_000_000
_BATCH_DOCUMENTS = 512

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextFacts:
    """What the texts are made of, to this tokenizer.

    Attributes:
        documents: How many there are.
        words: Their stretches without white space.
        tokens: Word pieces, special tokens not counted.
        unknown: Tokens that stand for characters the tokenizer does not know.
    """

    documents: int
    words: int
    tokens: int
    unknown: int

    @property
    def tokens_per_word(self) -> float:
        """How finely words are cut; about 1.2 to 1.4 for English prose with an English vocabulary."""
        return self.tokens / self.words


@dataclass(frozen=True)
class Pieces:
    """All that training and measuring read.

    Attributes:
        training: Token ids, [N, S], int32, FILLER behind the end; on the disk.
        held_out: Likewise, [M, S], in memory.
        token_counts: How often each token occurs in the documents for training, [V].
        facts: About all documents.
    """

    training: NDArray[np.int32]
    held_out: NDArray[np.int32]
    token_counts: NDArray[np.int64]
    facts: TextFacts


def gather_pieces(
    documents: Iterable[str], tokenizer: PreTrainedTokenizerBase, size: int, scratch: Path, seed: int
) -> Pieces:
    """Read all documents once and keep their pieces.

    Args:
        documents: The texts.
        tokenizer: Of the backbone.
        size: Tokens of a piece, special tokens included.
        scratch: An existing directory; a file of the pieces stays in it.
        seed: Decides which pieces are kept where there are too many.

    Raises:
        InputError: There are fewer than two documents, or they have no known tokens.
        BackboneError: A piece would hold nothing but special tokens.
    """
    frame = _Frame.of(tokenizer, size)
    specials = frozenset(tokenizer.all_special_ids)
    counts = np.zeros(len(tokenizer), np.int64)
    tally = _Tally()
    file = scratch / "pieces.int32"
    with file.open("x+b") as stream:
        training = _Kept(stream, size, _MOST_PIECES, seed)
        held_out = _Kept(None, size, _MOST_HELD_OUT, seed)
        packers = _Packer(frame, specials, held_out), _Packer(frame, specials, training)
        for index, (words, ids) in enumerate(_tokenised(documents, tokenizer)):
            tally.add(words, ids, tokenizer.unk_token_id)
            is_training = index % _HELD_OUT_EVERY != 0
            packers[is_training].add(ids)
            if is_training:
                np.add.at(counts, ids, 1)
        for packer in packers:
            packer.end()
    if not training.rows or not held_out.rows:
        raise InputError("there is too little text: give at least two documents, one per line, with words in them")
    if training.seen > training.rows:
        logger.warning("of %d pieces of text, %d drawn at random are used", training.seen, training.rows)
    stored = np.memmap(file, np.int32, mode="r", shape=(training.rows, size))
    return Pieces(stored, held_out.memory(), counts, tally.facts())


@dataclass(frozen=True)
class _Frame:
    """What stands around the text of a piece and between documents."""

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    separator: tuple[int, ...]
    size: int

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, size: int) -> "_Frame":
        """Ask the tokenizer what it puts around its own mask token."""
        around: list[int] = tokenizer(str(tokenizer.mask_token))["input_ids"]
        middle = around.index(int(tokenizer.mask_token_id))
        ending = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
        separator = (ending,) if isinstance(ending, int) else ()
        frame = cls(tuple(around[:middle]), tuple(around[middle + 1 :]), separator, size)
        if frame.room < 1:
            raise BackboneError(f"pieces of {size} tokens leave no room for text: choose longer ones")
        return frame

    @property
    def room(self) -> int:
        """Tokens of text in a piece."""
        return self.size - len(self.prefix) - len(self.suffix)


class _Tally:
    """Counts documents, words and tokens."""

    def __init__(self) -> None:
        self._documents = self._words = self._tokens = self._unknown = 0

    def add(self, words: int, ids: NDArray[np.int32], unknown: object) -> None:
        self._documents += 1
        self._words += words
        self._tokens += len(ids)
        self._unknown += int((ids == unknown).sum()) if isinstance(unknown, int) else 0

    def facts(self) -> TextFacts:
        return TextFacts(self._documents, self._words, self._tokens, self._unknown)


class _Kept:
    """Rows of equal length, on the disk or in memory; of too many, a uniform sample (Vitter 1985, algorithm R)."""

    def __init__(self, stream: BufferedRandom | None, size: int, most: int, seed: int) -> None:
        self.seen = 0
        self.rows = 0
        self._stream = stream
        self._size = size
        self._most = most
        self._rng = np.random.default_rng(seed)
        self._memory: list[NDArray[np.int32]] = []

    def add(self, row: NDArray[np.int32]) -> None:
        self.seen += 1
        place = self.rows if self.rows < self._most else int(self._rng.integers(self.seen))
        if place >= self._most:
            return
        is_new = place == self.rows
        self.rows += is_new
        if self._stream is not None:
            self._stream.seek(place * row.nbytes)
            self._stream.write(row.tobytes())
        elif is_new:
            self._memory.append(row)
        else:
            self._memory[place] = row

    def memory(self) -> NDArray[np.int32]:
        return np.stack(self._memory)


class _Packer:
    """Joins documents and cuts them into rows; a row without a single known token is left out."""

    def __init__(self, frame: _Frame, specials: frozenset[int], kept: _Kept) -> None:
        self._frame = frame
        self._specials = np.array(sorted(specials), np.int32)
        self._kept = kept
        self._waiting = np.empty(0, np.int32)

    def add(self, ids: NDArray[np.int32]) -> None:
        between = self._frame.separator if len(self._waiting) else ()
        waiting = np.concatenate([self._waiting, np.array(between, np.int32), ids])
        whole = len(waiting) // self._frame.room * self._frame.room
        for start in range(0, whole, self._frame.room):
            self._keep(waiting[start : start + self._frame.room])
        self._waiting = waiting[whole:]

    def end(self) -> None:
        if len(self._waiting):
            self._keep(self._waiting)

    def _keep(self, ids: NDArray[np.int32]) -> None:
        if np.isin(ids, self._specials).all():
            return
        row = np.full(self._frame.size, FILLER, np.int32)
        whole = np.concatenate([np.array(self._frame.prefix), ids, np.array(self._frame.suffix)])
        row[: len(whole)] = whole
        self._kept.add(row)


def _tokenised(documents: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> Iterator[tuple[int, NDArray[np.int32]]]:
    """Words and token ids of each document."""
    specials = tuple(tokenizer.all_special_tokens)
    for texts in _batched(documents):
        bare = [defuse(text, specials) for text in texts]
        encoded = tokenizer(bare, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
        for text, ids in zip(texts, encoded, strict=True):
            yield len(text.split()), np.array(ids, np.int32)


def _batched(documents: Iterable[str]) -> Iterator[Sequence[str]]:
    batch: list[str] = []
    characters = 0
    for text in documents:
        batch.append(text)
        characters += len(text)
        if characters >= _BATCH_CHARACTERS or len(batch) == _BATCH_DOCUMENTS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
