"""Ranks patterns by what the frozen backbone makes of each, before anything is trained.

With labelled rows a pattern counts by the convex head of preset `strong` on its own features (petapter/training/
convex.py): each row is scored by a head that did not see it. Without labels it counts by two figures of what the label
words say of unlabelled texts, their prior taken out:

- the mutual information of label and text, I(y; x) = H(mean of p(.|x)) - mean of H(p(.|x)), which is high where single
  texts get sure answers and all together many different ones (Sorensen et al. 2022, arXiv 2203.11364);
- the agreement with the other patterns: the share of texts on which another one names the same label, averaged.

The places of a pattern by either are added. Neither figure knows what is right: patterns that err alike agree.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from petapter.adapters import AdapterSlots
from petapter.backbone import Backbone
from petapter.selection.pattern_pool import PooledPattern
from petapter.selection.word_reading import WordReading, read_words
from petapter.task import Example, encode_rows, lint_task
from petapter.task.encoding import Fields
from petapter.training.convex import fit_convex_head, row_losses
from petapter.training.evidence import frozen_rows
from petapter_schemas.errors import InputError, TaskError
from petapter_schemas.task import TaskSpec

OnPattern = Callable[[int, int], None]
"""Called after each pattern with how many are done and how many there are."""

_LEAST_ROWS, _MOST_ROWS = 2, 2000
_MOST_UNLABELLED = 1000
"""Of more texts as many are taken, evenly spread: what they tell is a mean."""


@dataclass(frozen=True)
class RowRanking:
    """Patterns by labelled rows.

    Attributes:
        patterns: As they were given.
        log_probabilities: Of each row by a head that did not see it, [P, N, L]; in a multi-label task those of single
            labels.
        losses: Of each row, nats, [P, N]: its cross-entropy, in a multi-label task the mean over the labels.
        weights: How much each row counts, of mean 1, [N].
        order: Numbers of the patterns, that of the least mean weighted loss first.
    """

    patterns: tuple[PooledPattern, ...]
    log_probabilities: Tensor
    losses: Tensor
    weights: Tensor
    order: tuple[int, ...]

    @property
    def mean_losses(self) -> Tensor:
        """Mean weighted loss of each pattern, [P]."""
        return (self.losses * self.weights).mean(dim=1)

    def behind_best(self, number: int) -> tuple[float, float]:
        """How much greater a pattern's mean loss is than that of the first, and the standard error, paired by row."""
        differences = (self.losses[number] - self.losses[self.order[0]]) * self.weights
        error = differences.std() / len(differences) ** 0.5
        return float(differences.mean()), float(error)


@dataclass(frozen=True)
class TextRanking:
    """Patterns by unlabelled texts.

    Attributes:
        patterns: As they were given.
        log_probabilities: Of the labels, the prior taken out, [P, N, L].
        information: Mutual information of label and text by each pattern, nats, [P].
        agreement: Of each pattern with the others, 0 to 1, [P]; 1 where it is the only one.
        texts: How many texts were read.
        order: Numbers of the patterns, the best first.
    """

    patterns: tuple[PooledPattern, ...]
    log_probabilities: Tensor
    information: Tensor
    agreement: Tensor
    texts: int
    order: tuple[int, ...]


def rank_by_rows(
    patterns: Sequence[PooledPattern],
    task: TaskSpec,
    examples: Sequence[Example],
    backbone: Backbone,
    *,
    unlabelled: Sequence[Fields] = (),
    on_pattern: OnPattern | None = None,
) -> RowRanking:
    """Rank patterns by the left-out loss of their convex heads; the backbone reads each row once per pattern.

    Up to 50 rows are left out singly, more in ten folds. What is kept of a pattern are its scores, not its features.

    Args:
        patterns: One or more.
        task: Labels and words; its own patterns are not looked at.
        examples: Labelled rows, 2 to 2000.
        backbone: The frozen masked language model.
        unlabelled: Further texts for the prior of the words; of more than 1000 as many, evenly spread.
        on_pattern: Called after each.

    Raises:
        InputError: There is no pattern, or there are too few or too many rows.
        TaskError: A pattern or the rows cannot work.
        BackboneError: An engine has the backbone, or it was loaded for answers alone.
    """
    _check(patterns, backbone)
    if not _LEAST_ROWS <= len(examples) <= _MOST_ROWS:
        raise InputError(f"patterns are ranked by {_LEAST_ROWS} to {_MOST_ROWS} labelled rows, not {len(examples)}")
    further = _thinned(unlabelled)
    slots = AdapterSlots(backbone.model)
    try:
        said: list[Tensor] = []
        losses: list[Tensor] = []
        for done, each in enumerate(patterns, start=1):
            scores, lost, weights = _left_out(each.alone(task), examples, backbone, further)
            said.append(scores)
            losses.append(lost)
            _tell(on_pattern, done, len(patterns))
    finally:
        slots.close()
    lost = torch.stack(losses)  # [P, N]
    order = torch.argsort((lost * weights).mean(dim=1), stable=True).tolist()
    return RowRanking(tuple(patterns), torch.stack(said), lost, weights, tuple(order))


def rank_by_texts(
    patterns: Sequence[PooledPattern],
    task: TaskSpec,
    texts: Sequence[Fields],
    backbone: Backbone,
    *,
    on_pattern: OnPattern | None = None,
) -> TextRanking:
    """Rank patterns without a label, by mutual information and agreement.

    Args:
        patterns: One or more.
        task: A single-label task; its own patterns are not looked at.
        texts: Unlabelled texts by field; of more than 1000 as many, evenly spread.
        backbone: With a masked-LM head.
        on_pattern: Called after each.

    Raises:
        InputError: There is no pattern, or the task is multi-label.
        DataError: There is no text.
        TaskError: A pattern cannot work.
        BackboneError: It has no masked-LM head, an engine has it, or it was loaded for answers alone.
    """
    _check(patterns, backbone)
    read = _thinned(texts)
    slots = AdapterSlots(backbone.model)
    try:
        readings: list[WordReading] = []
        for done, each in enumerate(patterns, start=1):
            readings.append(read_words(each.alone(task), read, backbone))
            _tell(on_pattern, done, len(patterns))
    finally:
        slots.close()
    said = torch.cat([reading.by_pattern for reading in readings])  # [P, N, L]
    information, agreement = mutual_information(said), mean_agreement(said)
    order = _by_both(information, agreement)
    return TextRanking(tuple(patterns), said, information, agreement, len(read), order)


def mutual_information(log_probabilities: Tensor) -> Tensor:
    """I(y; x) in nats of each of P conditional distributions of labels [P, N, L], over N texts alike, [P]."""
    said = log_probabilities.double()
    return _entropy(said.exp().mean(dim=1)) - _entropy(said.exp()).mean(dim=1)


def mean_agreement(log_probabilities: Tensor) -> Tensor:
    """By pattern the share of texts on which another names the same label, averaged over the others, [P]."""
    named = log_probabilities.argmax(dim=-1)  # [P, N]
    patterns = len(named)
    if patterns == 1:
        return torch.ones(1, dtype=torch.float64)
    same = (named.unsqueeze(0) == named.unsqueeze(1)).double().mean(dim=-1)  # [P, P]
    return (same.sum(dim=1) - 1) / (patterns - 1)


def _entropy(probabilities: Tensor) -> Tensor:
    entropy: Tensor = -torch.special.xlogy(probabilities, probabilities).sum(dim=-1)
    return entropy


def _by_both(information: Tensor, agreement: Tensor) -> tuple[int, ...]:
    """Patterns by the sum of their places; of equals the more informative first."""
    places = [_places(values) for values in (information, agreement)]
    together = [a + b for a, b in zip(*places, strict=True)]
    return tuple(sorted(range(len(together)), key=lambda number: (together[number], places[0][number], number)))


def _places(values: Tensor) -> list[int]:
    """The place of each value among all, 0 for the highest; equal values share the better one."""
    return [int((values > value).sum()) for value in values]


def _left_out(
    task: TaskSpec, examples: Sequence[Example], backbone: Backbone, unlabelled: Sequence[Fields]
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities [N, L] of rows that were left out, their losses [N], and what they count [N]."""
    encoded = encode_rows(task, backbone.tokenizer, backbone.max_tokens, examples)
    for finding in lint_task(task, backbone.tokenizer, backbone.max_tokens, examples, encoded=encoded):
        if finding.severity == "error":
            raise TaskError(finding.message)
    rows, _ = frozen_rows(task, examples, backbone, encoded, unlabelled)
    evidence = rows.evidence
    logits = fit_convex_head(evidence).out_of_fold
    said = torch.log_softmax(logits, dim=-1) if evidence.link == "softmax" else logsigmoid(logits)
    return said, row_losses(logits, evidence), evidence.weights.double()


def _check(patterns: Sequence[PooledPattern], backbone: Backbone) -> None:
    if not patterns:
        raise InputError("there are no patterns to rank: give one at least")
    backbone.check_trains()


def _thinned(texts: Sequence[Fields]) -> list[Fields]:
    count = min(len(texts), _MOST_UNLABELLED)
    return [texts[number * len(texts) // count] for number in range(count)]


def _tell(on_pattern: OnPattern | None, done: int, total: int) -> None:
    if on_pattern is not None:
        on_pattern(done, total)
