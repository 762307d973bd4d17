"""Further label words, mined from the frozen masked language model; those are taken that pay on rows left out.

A candidate (petapter/selection/word_candidates.py) is taken only where the left-out loss of the convex head
(petapter/training/convex.py), paired by row, falls by more than one standard error on the rows that had no part in
finding it. Of words that change nothing about one in six passes that bar, so the number tried is told with those taken,
and what they bring together is less than the sum of their gains.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

import torch
from torch import Tensor

from petapter.adapters import AdapterSlots
from petapter.backbone import Backbone
from petapter.head import PetHead
from petapter.mlm_head import MlmHead, read_mlm_head
from petapter.scoring import TOKENS_PER_BATCH
from petapter.selection.text_drawing import evenly_spread
from petapter.selection.word_candidates import (
    CandidateWord,
    Vocabulary,
    candidate_words,
    occurring_words,
)
from petapter.task import Example, Windows, encode_rows, lint_task, pad_batch, read_verbalizer
from petapter.task.encoding import Fields, length_batches
from petapter.training.convex import PENALTIES, fit_convex_head, row_losses
from petapter.training.evidence import (
    NULL_TEXTS,
    TextReading,
    evidence_of,
    label_head,
    log_prior,
    read_frozen,
    row_weights,
    targets_of,
)
from petapter_schemas.errors import BackboneError, InputError, TaskError
from petapter_schemas.task import TaskSpec

Occurring = Counter[str] | None

OnWord = Callable[[int, int], None]
"""Called after each word that was tried with how many are done and how many there are."""

MOST_WORDS = 5
"""Tried for each label."""

_LEAST_ROWS, _MOST_ROWS = 8, 2000
"""Half of fewer have no standard error worth the name; of more rows the convex head costs too much."""
_MOST_UNLABELLED = 1000
"""Texts that are read for the prior; all count where words are looked for in them."""
_PASS_BY_CHANCE = 0.16
"""Share of words without effect that gain more than one standard error: the upper tail of a normal distribution."""


@dataclass(frozen=True)
class TriedWord:
    """A candidate and what it brought.

    Attributes:
        label: Whose word it would be.
        word: As it would stand in the task.
        ratio: Of its likelihoods between the classes, nats.
        nearness: Cosine of its decoder row to the mean of the label's own.
        gain: By how much the left-out loss of its judges fell, nats; what was taken before stays in.
        error: Standard error of `gain`, from the differences of single rows.
        judges: Rows that had no part in finding it.
    """

    label: str
    word: str
    ratio: float
    nearness: float
    gain: float
    error: float
    judges: int

    @property
    def is_taken(self) -> bool:
        """Whether it fell by more than one standard error."""
        return self.gain > self.error


@dataclass(frozen=True)
class MinedWords:
    """What mining has come to.

    Attributes:
        task: With the words that were taken behind the label's own; the very task that was given if there are none.
        tried: All candidates, in the order in which they were tried.
        loss_before: Mean left-out loss without them, nats.
        loss_after: With those that were taken; rows that found them count too, so it is much too good.
        rows: Labelled rows that decided.
    """

    task: TaskSpec
    tried: tuple[TriedWord, ...]
    loss_before: float
    loss_after: float
    rows: int

    @property
    def taken(self) -> tuple[TriedWord, ...]:
        """The words that were taken."""
        return tuple(each for each in self.tried if each.is_taken)

    @property
    def verdict(self) -> str:
        """One line for people."""
        if not self.tried:
            return (
                "no word was tried: none is near to a label's own and likelier in its rows, or no label has four rows"
            )
        named = ", ".join(f"{each.word} ({each.label})" for each in self.taken) or "none"
        return (
            f"of {len(self.tried)} words tried on {self.rows} rows {len(self.taken)} were taken: {named}; of so many "
            f"words without effect {_PASS_BY_CHANCE * len(self.tried):.1f} would be taken by chance"
        )


def mine_words(
    task: TaskSpec,
    examples: Sequence[Example],
    backbone: Backbone,
    *,
    unlabelled: Sequence[Fields] = (),
    most: int = MOST_WORDS,
    on_word: OnWord | None = None,
) -> MinedWords:
    """Look for further words of every label that has rows, and take those that pay.

    The backbone reads rows twice and unlabelled texts once; a word that is tried costs a fit of the convex head.

    Args:
        task: Its own words stay.
        examples: Labelled rows, 8 to 2000.
        backbone: With a masked-LM head.
        unlabelled: Texts of the same kind: words must occur in two of them, and they make the words' prior surer. For
            the prior at most 1000 are read, evenly spread.
        most: Words that are tried for each label.
        on_word: Called after each.

    Raises:
        InputError: There are too few or too many rows.
        TaskError: The task or the rows cannot work.
        BackboneError: The backbone has no masked-LM head, an engine has it, or it was loaded for answers alone.
    """
    return WordMine.read(task, examples, backbone, unlabelled).mined(range(len(examples)), most=most, on_word=on_word)


class WordMine:
    """Rows as the frozen backbone reads them, so that words can be mined again for any part of them."""

    def __init__(
        self, task: TaskSpec, examples: Sequence[Example], said: "_Said", vocabulary: Vocabulary, occurring: Occurring
    ) -> None:
        """Take what was read.

        Args:
            task: Labels with their own words.
            examples: The rows.
            said: What the backbone says of them.
            vocabulary: Its words.
            occurring: In how many unlabelled texts each word occurs; None where there are no such texts.
        """
        self._task, self._examples, self._said = task, examples, said
        self._vocabulary, self._occurring = vocabulary, occurring

    @classmethod
    def read(
        cls, task: TaskSpec, examples: Sequence[Example], backbone: Backbone, unlabelled: Sequence[Fields]
    ) -> "WordMine":
        """Read rows and unlabelled texts; see `mine_words`."""
        backbone.check_trains()
        if not backbone.has_mlm_head:
            raise BackboneError(
                f"{backbone.repo!r} comes without a masked-LM head, so that it names no words: take another"
            )
        if not _LEAST_ROWS <= len(examples) <= _MOST_ROWS:
            raise InputError(f"words are tried on {_LEAST_ROWS} to {_MOST_ROWS} labelled rows, not {len(examples)}")
        slots = AdapterSlots(backbone.model)
        try:
            said = _read_all(task, examples, backbone, evenly_spread(unlabelled, _MOST_UNLABELLED))
        finally:
            slots.close()
        occurring = occurring_words(unlabelled) if unlabelled else None
        return cls(task, examples, said, Vocabulary.of(backbone.tokenizer), occurring)

    def mined(
        self,
        rows: Sequence[int],
        *,
        most: int = MOST_WORDS,
        penalties: Sequence[float] = PENALTIES,
        on_word: OnWord | None = None,
    ) -> MinedWords:
        """Look for words by some rows alone; of the others neither labels nor texts count.

        Args:
            rows: Their numbers.
            most: Words that are tried for each label.
            penalties: Of the convex head that tries them.
            on_word: Called after each.
        """
        examples = [self._examples[row] for row in rows]
        said = self._said.part(self._task, self._examples, rows)
        found = candidate_words(
            self._task,
            said.first[:, : len(examples)],
            targets_of(self._task, examples),
            said.mlm,
            self._vocabulary,
            occurring=self._occurring,
            most=most,
        )
        turns = [word for words in zip_longest(*found) for word in words if word is not None]
        return _tried(self._task, examples, said, turns, penalties, on_word)


@dataclass(frozen=True)
class _Said:
    """N rows, and behind them U texts for the prior, as the frozen backbone reads them.

    Attributes:
        reading: Of the rows alone.
        words: Label-word scores by pattern, the prior still in them, [P, N + U, L].
        first: What the decoder reads at the first mask, [P, N + U, E].
        counts: How much each text counts for the prior, [N + U].
        masks: Of each pattern, [P].
        words_of: By label, how many words it has.
        mlm: The decoder.
    """

    reading: TextReading
    words: Tensor
    first: Tensor
    counts: Tensor
    masks: Tensor
    words_of: tuple[int, ...]
    mlm: MlmHead

    def with_word(self, found: CandidateWord) -> "_Said":
        """The same with one more word of a label, whose score is the mean over its words."""
        row, bias = self.mlm.decoder_weight[found.token].cpu(), self.mlm.decoder_bias[found.token].cpu()
        own = self.masks.unsqueeze(1) * (self.first @ row + bias)  # [P, N + U]
        count = self.words_of[found.label]
        words = self.words.clone()
        words[:, :, found.label] = (count * words[:, :, found.label] + own) / (count + 1)
        words_of = tuple(number + (label == found.label) for label, number in enumerate(self.words_of))
        return replace(self, words=words, words_of=words_of)

    def part(self, task: TaskSpec, every: Sequence[Example], rows: Sequence[int]) -> "_Said":
        """The same of some rows, which count as if there were no others, and of all texts for the prior."""
        examples = [every[row] for row in rows]
        at = [*rows, *range(len(every), self.words.shape[1])]
        weights = row_weights(task, examples, targets_of(task, examples))
        return replace(
            self,
            reading=TextReading(
                self.reading.words[:, list(rows)], tuple(block[list(rows)] for block in self.reading.blocks)
            ),
            words=self.words[:, at],
            first=self.first[:, at],
            counts=torch.cat([weights, self.counts[len(every) :]]),
        )

    def losses(self, task: TaskSpec, examples: Sequence[Example], penalties: Sequence[float]) -> Tensor:
        """Weighted loss of each row by a convex head that did not see it, nats, [N]."""
        prior = log_prior(task, self.words, self.counts)
        reading = replace(self.reading, words=self.words[:, : len(examples)])
        evidence = evidence_of(task, examples, reading, prior)
        return row_losses(fit_convex_head(evidence, penalties).out_of_fold, evidence) * evidence.weights.double()


def _read_all(task: TaskSpec, examples: Sequence[Example], backbone: Backbone, unlabelled: Sequence[Fields]) -> _Said:
    encoded = encode_rows(task, backbone.tokenizer, backbone.max_tokens, examples)
    for finding in lint_task(task, backbone.tokenizer, backbone.max_tokens, examples, encoded=encoded):
        if finding.severity == "error":
            raise TaskError(finding.message)
    head = label_head(backbone, read_verbalizer(task, backbone.tokenizer), task)
    null = [dict.fromkeys(task.fields, text) for text in NULL_TEXTS]
    further = [Example(dict(text)) for text in (*unlabelled, *null)]
    parts = zip(encoded, encode_rows(task, backbone.tokenizer, backbone.max_tokens, further), strict=True)
    said = [_at_masks(backbone, head, windows) for both in parts for windows in both]  # rows, texts, rows, texts, …
    words, first = (
        [torch.cat(pair) for pair in zip(each[::2], each[1::2], strict=True)] for each in zip(*said, strict=True)
    )
    return _Said(
        reading=read_frozen(backbone, head, encoded),
        words=torch.stack(words),
        first=torch.stack(first),
        counts=torch.cat([row_weights(task, examples, targets_of(task, examples)), torch.ones(len(further))]),
        masks=torch.tensor([float(pattern.masks) for pattern in task.patterns]),
        words_of=tuple(len(label.words) for label in task.labels),
        mlm=read_mlm_head(backbone.model),
    )


@torch.no_grad()
def _at_masks(backbone: Backbone, head: PetHead, windows: Windows) -> tuple[Tensor, Tensor]:
    """Label-word scores [N, L], and what the decoder reads at the first mask [N, E], averaged over a text's windows."""
    rows = len(windows.text_tokens)
    words, first = torch.zeros(rows, head.labels), torch.zeros(rows, head.shape.feature_size)
    for chosen in length_batches([len(item.input_ids) for item in windows.encoded], TOKENS_PER_BATCH):
        reading = backbone.read(pad_batch([windows.encoded[i] for i in chosen], backbone.pad_id))
        features = head.features(reading.at_masks)  # [B, M, E]
        owner = torch.tensor([windows.owner[i] for i in chosen])
        words.index_add_(0, owner, head.word_scores(features).cpu())
        first.index_add_(0, owner, features[:, 0].cpu())
    count = torch.bincount(torch.tensor(windows.owner), minlength=rows).unsqueeze(1)
    return words / count, first / count


def _tried(
    task: TaskSpec,
    examples: Sequence[Example],
    said: _Said,
    turns: Sequence[CandidateWord],
    penalties: Sequence[float],
    on_word: OnWord | None,
) -> MinedWords:
    """Try one word after the other, each on top of those that were taken."""
    before = now = said.losses(task, examples, penalties)
    tried: list[TriedWord] = []
    for done, found in enumerate(turns, start=1):
        with_it = said.with_word(found)
        losses = with_it.losses(task, examples, penalties)
        gains = (now - losses)[found.judges]
        one = TriedWord(
            task.labels[found.label].name,
            found.word,
            found.ratio,
            found.nearness,
            float(gains.mean()),
            float(gains.std() / len(gains) ** 0.5),
            len(gains),
        )
        tried.append(one)
        if one.is_taken:
            said, now = with_it, losses
        if on_word is not None:
            on_word(done, len(turns))
    return MinedWords(_with_words(task, tried), tuple(tried), float(before.mean()), float(now.mean()), len(examples))


def _with_words(task: TaskSpec, tried: Sequence[TriedWord]) -> TaskSpec:
    taken = [each for each in tried if each.is_taken]
    if not taken:
        return task
    labels = tuple(
        label.model_copy(update={"words": (*label.words, *_words_for(label.name, taken))}) for label in task.labels
    )
    return task.model_copy(update={"labels": labels})


def _words_for(label: str, taken: Sequence[TriedWord]) -> Iterator[str]:
    return (each.word for each in taken if each.label == label)
