"""The patterns of a pool as the frozen backbone reads rows in them, and convex heads on any part of the rows.

Nothing trains here, so a whole pool can be searched again for every fold without that fold's rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from petapter.backbone import Backbone
from petapter.selection.pattern_pool import PooledPattern
from petapter.task import Example, encode_rows, read_verbalizer
from petapter.task.encoding import Fields
from petapter.training.convex import ConvexHead, Evidence, convex_logits, fit_convex_head, part_of
from petapter.training.evidence import (
    TextReading,
    evidence_of,
    label_head,
    read_frozen,
    row_weights,
    words_prior,
)
from petapter.training.trainer import checked_rows
from petapter_schemas.task import TaskSpec

OnPattern = Callable[[int, int, str], None]
"""Called with how many patterns have been read, how many there are, and the name of the next."""

_PENALTIES = (0.3, 3.0)
"""Fewer than a shipped head is given, since here they only rank patterns; two fifths of the time."""


@dataclass(frozen=True)
class Ranking:
    """Patterns of a pool by the rows of a part.

    Attributes:
        losses: By pattern, mean left-out loss of its convex head, nats.
        accuracies: By pattern, likewise.
        chosen: The best, in order, that read the label words alike and so can share one module.
        together: Those first of them whose features, averaged, lose least.
        left_out: What their convex head says of rows that it did not see, log-probabilities [R, L].
    """

    losses: tuple[float, ...]
    accuracies: tuple[float, ...]
    chosen: tuple[int, ...]
    together: tuple[int, ...]
    left_out: Tensor


@dataclass(frozen=True)
class Read:
    """All rows and texts in one pattern.

    Attributes:
        evidence: Of the labelled rows and then of the texts without labels, whose targets are 0.
        prior: What the label words score of no text in particular, [1, L]; the evidence comes without it.
    """

    evidence: Evidence
    prior: Tensor


@dataclass(frozen=True)
class FrozenHead:
    """A convex head on the mean of what is read in some patterns.

    Attributes:
        convex: It.
        prior: What the label words score of no text in particular, by pattern, [P, L].
    """

    convex: ConvexHead
    prior: Tensor


class FrozenPool:
    """A pool's patterns, each read once for all rows and texts."""

    def __init__(
        self, task: TaskSpec, examples: Sequence[Example], read: Sequence[Read], words: Sequence[object]
    ) -> None:
        """Take what was read.

        Args:
            task: Labels.
            examples: Labelled rows.
            read: By pattern.
            words: By pattern, what tells patterns apart that read the label words as other tokens.
        """
        self._task, self._examples = task, examples
        self._read = list(read)
        self._words = list(words)
        self._heads: dict[tuple[tuple[int, ...], tuple[int, ...]], FrozenHead] = {}

    @classmethod
    def read(
        cls,
        patterns: Sequence[PooledPattern],
        task: TaskSpec,
        rows: tuple[Sequence[Example], Sequence[Fields]],
        backbone: Backbone,
        on_pattern: OnPattern | None = None,
    ) -> "FrozenPool":
        """Read labelled rows and texts without labels in every pattern.

        Raises:
            TaskError: A pattern cannot ask for the rows.
        """
        found: list[Read] = []
        words: list[object] = []
        for number, pattern in enumerate(patterns):
            if on_pattern is not None:
                on_pattern(number, len(patterns), pattern.name)
            alone = pattern.alone(task)
            found.append(_read(alone, rows, backbone))
            words.append((read_verbalizer(alone, backbone.tokenizer), pattern.pattern.masks))
        return cls(task, rows[0], found, words)

    def with_words(self, task: TaskSpec, patterns: Sequence[PooledPattern], backbone: Backbone) -> "FrozenPool":
        """The same pool for labels with other words; rows are not read again, since what a word says is linear in g.

        Args:
            task: The labels.
            patterns: Those that were read, of one mask each.
            backbone: What read them.
        """
        if task.labels == self._task.labels:
            return self
        pairs = zip(patterns, self._read, strict=True)
        found = [_with_words(pattern.alone(task), read.evidence, backbone) for pattern, read in pairs]
        return FrozenPool(task, self._examples, found, self._words)

    def ranked(self, rows: Sequence[int], most: int) -> Ranking:
        """The patterns by convex heads that see some rows alone, each asked about rows that it did not see.

        Args:
            rows: Their numbers.
            most: Patterns to choose at most.
        """
        parts = [self._part(each.evidence, rows) for each in self._read]
        heads = [_head(part) for part in parts]
        losses = [head.loss for head in heads]
        order = sorted(range(len(parts)), key=losses.__getitem__)
        chosen = [number for number in order if self._words[number] == self._words[order[0]]][:most]
        sets = [tuple(chosen[: end + 1]) for end in range(len(chosen))]
        shared = [heads[chosen[0]], *(_head(_mean([parts[each] for each in part])) for part in sets[1:])]
        best = min(range(len(sets)), key=lambda number: shared[number].loss)
        gold = parts[0].targets.argmax(dim=1)
        return Ranking(
            losses=tuple(losses),
            accuracies=tuple(float((head.out_of_fold.argmax(dim=1) == gold).double().mean()) for head in heads),
            chosen=tuple(chosen),
            together=sets[best],
            left_out=torch.log_softmax(shared[best].out_of_fold, dim=-1),
        )

    def says(self, patterns: Sequence[int], rows: Sequence[int]) -> Tensor:
        """What the convex head of some rows, on the mean of what is read in some patterns, says of all texts.

        Returns:
            Log-probabilities [N + U, L].
        """
        logits = convex_logits(self.head(patterns, rows).convex, self._mean_of(patterns))
        return torch.log_softmax(logits, dim=-1)

    def head(self, patterns: Sequence[int], rows: Sequence[int]) -> FrozenHead:
        """The convex head of some rows on the mean of what is read in some patterns; it sees no other label."""
        key = (tuple(patterns), tuple(rows))
        if key not in self._heads:  # that of the vote is often that of the student too
            convex = fit_convex_head(self._part(self._mean_of(patterns), rows))
            self._heads[key] = FrozenHead(convex, torch.cat([self._read[number].prior for number in patterns]))
        return self._heads[key]

    def _mean_of(self, patterns: Sequence[int]) -> Evidence:
        return _mean([self._read[number].evidence for number in patterns])

    def _part(self, evidence: Evidence, rows: Sequence[int]) -> Evidence:
        """The evidence of some rows, which count as if there were no others."""
        part = part_of(evidence, rows)
        seen = [self._examples[row] for row in rows]
        return replace(part, weights=row_weights(self._task, seen, part.targets))


def _head(evidence: Evidence) -> ConvexHead:
    return fit_convex_head(evidence, _PENALTIES)


def _mean(parts: Sequence[Evidence]) -> Evidence:
    """Features and words averaged over patterns."""
    blocks = tuple(torch.stack(same).mean(dim=0) for same in zip(*(part.blocks for part in parts), strict=True))
    return replace(parts[0], blocks=blocks, words=torch.stack([part.words for part in parts]).mean(dim=0))


@torch.no_grad()
def _with_words(task: TaskSpec, evidence: Evidence, backbone: Backbone) -> Read:
    """What label words score of texts, from g at the one mask of a pattern, which is the first of their features."""
    head = label_head(backbone, read_verbalizer(task, backbone.tokenizer), task)
    at_mask = evidence.blocks[0].to(backbone.device).unsqueeze(1)  # [N + U, 1, E]
    words = head.word_scores(at_mask).cpu()
    prior = words_prior(head, backbone, task, (words.unsqueeze(0), torch.ones(len(words))))
    return Read(replace(evidence, words=words - prior), prior)


def _read(task: TaskSpec, rows: tuple[Sequence[Example], Sequence[Fields]], backbone: Backbone) -> Read:
    """Of the rows of a task with one pattern and then of the texts without labels."""
    examples, texts = rows
    encoded = checked_rows(task, examples, backbone)
    head = label_head(backbone, read_verbalizer(task, backbone.tokenizer), task)
    reading = read_frozen(backbone, head, encoded)
    further = [Example(dict(text)) for text in texts]
    words = reading.words
    if texts:
        more = read_frozen(backbone, head, encode_rows(task, backbone.tokenizer, backbone.max_tokens, further))
        words = torch.cat([words, more.words], dim=1)
    prior = words_prior(head, backbone, task, (words, torch.ones(words.shape[1])))  # of no label: folds keep theirs
    if not texts:
        return Read(evidence_of(task, examples, reading, prior), prior)
    labelled = evidence_of(task, examples, reading, prior)
    unlabelled = TextReading(more.words - prior.unsqueeze(1), more.blocks)
    every = Evidence(
        tuple(torch.cat(both) for both in zip(labelled.blocks, unlabelled.blocks, strict=True)),
        torch.cat([labelled.words, unlabelled.words.mean(dim=0)]),
        torch.cat([labelled.targets, torch.zeros(len(texts), labelled.targets.shape[1])]),
        torch.cat([labelled.weights, torch.ones(len(texts))]),
        labelled.link,
    )
    return Read(every, prior)
