"""Label words mined again for every fold without its rows, so that what they bring has paid for the search."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from petapter.backbone import Backbone
from petapter.selection.grouped_folds import GroupedFolds
from petapter.selection.pattern_pool import PooledPattern
from petapter.selection.word_mining import MinedWords, TriedWord, WordMine
from petapter.task import Example
from petapter.task.encoding import Fields
from petapter.task.verbalizer import word_ids
from petapter_schemas.errors import InputError
from petapter_schemas.task import LabelSpec, TaskSpec

OnMined = Callable[[int, int, str], None]
"""Called with how many searches are done, how many there are, and a few words."""

_MOST_WORDS = 3
"""Tried for each label; a search of five for every fold takes longer than the members."""
_PENALTIES = (0.3, 3.0)
"""Of the convex heads that try them, as of those that rank patterns (petapter/tuning/frozen.py)."""


@dataclass(frozen=True)
class FoldWords:
    """Words that were mined.

    Attributes:
        by_fold: By the rows outside of each fold.
        of_all: By all rows.
        unfit: Words that were taken but are not one token in every pattern, and were left out again.
    """

    by_fold: tuple[MinedWords, ...]
    of_all: MinedWords
    unfit: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[tuple[LabelSpec, ...], ...]:
        """The labels with their words, own ones first: without each fold, and last by all rows."""
        return tuple(mined.task.labels for mined in (*self.by_fold, self.of_all))

    def folds_of(self, word: TriedWord) -> int:
        """In how many folds a word was taken too."""
        return sum(
            (word.label, word.word) in {(each.label, each.word) for each in mined.taken} for mined in self.by_fold
        )

    @property
    def notes(self) -> Iterator[str]:
        """What people should know."""
        yield self.of_all.verdict
        if self.unfit:
            yield f"not one token in every pattern, and so left out again: {', '.join(self.unfit)}"


def mine_in_folds(
    task: TaskSpec,
    patterns: Sequence[PooledPattern],
    rows: tuple[Sequence[Example], Sequence[Fields]],
    folds: GroupedFolds,
    backbone: Backbone,
    on_mined: OnMined | None = None,
) -> FoldWords:
    """Mine words for all rows, and for each fold by the other rows; the backbone reads rows once.

    Args:
        task: Its own patterns ask for the words.
        patterns: The pool, in every pattern of which a word must be one token.
        rows: Labelled rows, and texts without labels.
        folds: Of the rows.
        backbone: With a masked-LM head.
        on_mined: Called before each search.

    Raises:
        InputError: A pattern has several masks, or there are too few or too many rows.
    """
    for each in (*(pooled.pattern for pooled in patterns), *task.patterns):
        if each.masks != 1:
            raise InputError(
                f"label words are mined for patterns of one mask, and {each.template!r} has {each.masks}: leave such "
                "patterns out, or mine no words"
            )
    mine = WordMine.read(task, rows[0], backbone, rows[1])
    count = len(rows[0])
    parts = [[row for row in range(count) if folds.fold_of[row] != fold] for fold in range(folds.count)]
    found: list[MinedWords] = []
    unfit: dict[str, None] = {}
    for number, part in enumerate([*parts, range(count)]):
        if on_mined is not None:
            on_mined(number, len(parts) + 1, "searches for label words")
        mined = mine.mined(part, most=_MOST_WORDS, penalties=_PENALTIES)
        wrong = {each.word for each in mined.taken if not _fits(each.word, patterns, task, backbone)}
        unfit |= dict.fromkeys(sorted(wrong))
        found.append(_without(mined, wrong))
    return FoldWords(tuple(found[:-1]), found[-1], tuple(unfit))


def _fits(word: str, patterns: Sequence[PooledPattern], task: TaskSpec, backbone: Backbone) -> bool:
    """Whether a word is one token in every pattern."""
    if task.tokenization.words == "bare":
        return True
    return all(len(word_ids(word, each.pattern, backbone.tokenizer)) == 1 for each in patterns)


def _without(mined: MinedWords, wrong: set[str]) -> MinedWords:
    if not wrong:
        return mined
    labels = tuple(
        label.model_copy(update={"words": tuple(word for word in label.words if word not in wrong)})
        for label in mined.task.labels
    )
    return replace(mined, task=mined.task.model_copy(update={"labels": labels}))
