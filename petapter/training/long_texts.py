"""Chooses how long texts are kept by leaving labelled rows out: their head, tail, both, or windows over all of them.

Each way is scored as the convex head of preset `strong` is: frozen features, label words without their prior, and the
loss of rows that were left out. The way that is written in the task stays unless another's loss is lower by more than
one standard error of the differences of single rows; of several such others the cheapest wins that the best does not
beat by as much. This is the one-standard-error rule (Breiman, Friedman, Olshen, Stone 1984, "Classification and
Regression Trees", 3.4.3), paired by row: most of what few rows say of two ways is noise.

Windows count by the mean of their features. Label logits are linear in these, so that this is what a module says that
averages the scores of its windows; of the highest score it would not be.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from petapter.backbone import Backbone
from petapter.head import PetHead
from petapter.task import EncodedText, Example, Windows, encode_rows, lint_task, pool_windows, read_verbalizer
from petapter.training.convex import fit_convex_head, loss_of
from petapter.training.evidence import (
    TextReading,
    evidence_of,
    label_head,
    read_frozen,
    row_weights,
    targets_of,
    words_prior,
)
from petapter_schemas.errors import TaskError
from petapter_schemas.task import TaskSpec

logger = logging.getLogger(__name__)

_COSTS = {"head": 0, "tail": 0, "head+tail": 1, "windows": 2}
"""The ways in the order of what they cost: what is read breaks off once, breaks off twice, or is read several times."""
_LEAST_GAIN = 0.01
"""Nats by which another way must be better, however sure that is: below it nobody would tell the difference."""
_MIXED = "as written"
"""The name of the way of a task whose patterns keep different things."""


@dataclass(frozen=True)
class Way:
    """One way to keep long texts, measured on labelled rows.

    Attributes:
        keep: What every pattern keeps, or "as written" for the task as it is where its patterns differ.
        loss: Mean weighted loss of the rows, each left out in turn.
        gain: By how much the loss is below that of the written way; 0 for that way itself.
        error: Standard error of `gain`, from the differences of single rows.
        seen: Share of the tokens of all texts that is read, over all patterns.
    """

    keep: str
    loss: float
    gain: float
    error: float
    seen: float


@dataclass(frozen=True)
class KeepChoice:
    """How long texts are to be kept, and what speaks for it.

    Attributes:
        task: The task with the chosen way in every pattern; the very task that was given where nothing changes.
        keep: The chosen way, as in `Way.keep`.
        ways: All ways, the written one first; none where no text loses tokens.
        cut_rows: Share of the rows that lose tokens where only the head is kept.
        reading: The rows as the frozen backbone reads them in the chosen way; None where nothing had to be read.
    """

    task: TaskSpec
    keep: str
    ways: tuple[Way, ...]
    cut_rows: float
    reading: TextReading | None


def choose_keep(task: TaskSpec, examples: Sequence[Example], backbone: Backbone) -> KeepChoice:
    """Choose one way to keep long texts for all patterns; without a text that loses tokens nothing is read or changed.

    Args:
        task: Windows are read as each pattern writes them, else as `WindowSpec` has it.
        examples: Labelled rows, two or more.
        backbone: Without an active adapter.

    Raises:
        TaskError: A pattern pools windows by the highest score, or the task and the rows cannot work.
    """
    refuse_highest_pool(task)
    written = _written_way(task)
    cut_rows, encoded_head = _cut_by_head(task, examples, backbone)
    if not cut_rows:
        return KeepChoice(task, written, (), 0.0, None)
    _refuse_errors(task, examples, backbone, encoded_head)
    tasks = {written: task} | {keep: keeping(task, keep) for keep in _COSTS if keep != written}
    encoded = {
        keep: encoded_head if keep == "head" else encode_rows(other, backbone.tokenizer, backbone.max_tokens, examples)
        for keep, other in tasks.items()
    }
    head = label_head(backbone, read_verbalizer(task, backbone.tokenizer), task)
    readings = _read_once(backbone, head, encoded)
    losses = {keep: _left_out_losses(tasks[keep], examples, backbone, head, readings[keep]) for keep in tasks}
    chosen = _preferred(losses)
    ways = tuple(_way(keep, losses[keep], losses[written], encoded[keep]) for keep in tasks)
    logger.info("left-out losses: %s; kept: %s", ", ".join(f"{way.keep} {way.loss:.3f}" for way in ways), chosen)
    return KeepChoice(tasks[chosen], chosen, ways, cut_rows, readings[chosen])


def keeping(task: TaskSpec, keep: str) -> TaskSpec:
    """A task whose patterns all keep long texts in one way."""
    patterns = tuple(
        pattern.model_copy(update={"keep": keep, "windows": pattern.windows if keep == "windows" else None})
        for pattern in task.patterns
    )
    return task.model_copy(update={"patterns": patterns})


def refuse_highest_pool(task: TaskSpec) -> None:
    """Refuse patterns that take the highest score of a text's windows: features are averaged over windows.

    Raises:
        TaskError: A pattern does.
    """
    for pattern in task.patterns:
        if pattern.windowing is not None and pattern.windowing.pool != "mean":
            raise TaskError(
                f"pattern {pattern.template!r} takes the highest score of a text's windows, but preset 'strong' "
                "measures their mean: write pool: mean, or take preset 'plain'"
            )


def _written_way(task: TaskSpec) -> str:
    keeps = {pattern.keep for pattern in task.patterns}
    return keeps.pop() if len(keeps) == 1 else _MIXED


def _cut_by_head(task: TaskSpec, examples: Sequence[Example], backbone: Backbone) -> tuple[float, list[Windows]]:
    """Share of the rows that lose tokens in any pattern that keeps the head, and the rows encoded so."""
    encoded = encode_rows(keeping(task, "head"), backbone.tokenizer, backbone.max_tokens, examples)
    cut = {row for windows in encoded for row, lost in enumerate(windows.lost_tokens) if lost}
    return len(cut) / max(1, len(examples)), encoded


def _refuse_errors(task: TaskSpec, examples: Sequence[Example], backbone: Backbone, encoded: Sequence[Windows]) -> None:
    """Refuse what cannot be trained on; warnings are for the training that follows, of the way that was chosen."""
    for finding in lint_task(task, backbone.tokenizer, backbone.max_tokens, examples, encoded=encoded):
        if finding.severity == "error":
            raise TaskError(finding.message)


def _read_once(backbone: Backbone, head: PetHead, encoded: Mapping[str, Sequence[Windows]]) -> dict[str, TextReading]:
    """Read the rows in every way; what ways have in common is read once: texts that fit, windows at either end."""
    read: dict[str, list[TextReading]] = {keep: [] for keep in encoded}
    for of_pattern in zip(*encoded.values(), strict=True):
        distinct = tuple(dict.fromkeys(item for windows in of_pattern for item in windows.encoded))
        alone = Windows(distinct, tuple(range(len(distinct))), (0,) * len(distinct), (0,) * len(distinct))
        reading = read_frozen(backbone, head, [alone])
        place = {item: position for position, item in enumerate(distinct)}
        for keep, windows in zip(encoded, of_pattern, strict=True):
            read[keep].append(_pooled(reading, place, windows))
    return {keep: _averaged(readings) for keep, readings in read.items()}


def _pooled(reading: TextReading, place: Mapping[EncodedText, int], windows: Windows) -> TextReading:
    """Texts from their windows, each of which has its place in a reading of one pattern."""
    rows = [place[item] for item in windows.encoded]
    words = pool_windows(reading.words[0, rows], windows.owner, "mean").unsqueeze(0)  # [1, N, L]
    return TextReading(words, tuple(pool_windows(block[rows], windows.owner, "mean") for block in reading.blocks))


def _averaged(readings: Sequence[TextReading]) -> TextReading:
    """The readings of single patterns as `read_frozen` gives them for all."""
    blocks = zip(*(reading.blocks for reading in readings), strict=True)
    return TextReading(
        torch.cat([reading.words for reading in readings]),
        tuple(torch.stack(block).mean(dim=0) for block in blocks),
    )


def _left_out_losses(
    task: TaskSpec, examples: Sequence[Example], backbone: Backbone, head: PetHead, reading: TextReading
) -> Tensor:
    """Weighted loss of each row under convex heads that did not see it, float64 [N]."""
    known = (reading.words, row_weights(task, examples, targets_of(task, examples)))
    evidence = evidence_of(task, examples, reading, words_prior(head, backbone, task, known))
    left_out = fit_convex_head(evidence).out_of_fold
    single = [
        loss_of(left_out[[row]], replace(evidence, targets=evidence.targets[[row]], weights=evidence.weights[[row]]))
        for row in range(len(examples))
    ]
    return torch.tensor(single, dtype=torch.float64)


def _preferred(losses: Mapping[str, Tensor]) -> str:
    """The written way, which is the first, or else the cheapest of those that beat it and are not beaten themselves.

    Args:
        losses: Losses of the same rows by way, each [N].
    """
    written, *others = losses
    better = [keep for keep in others if _beats(losses[keep], losses[written])]
    if not better:
        return written
    best = min(better, key=lambda keep: float(losses[keep].mean()))
    good = [keep for keep in better if not _beats(losses[best], losses[keep])]
    return min(good, key=lambda keep: (_COSTS[keep], float(losses[keep].mean())))


def _beats(losses: Tensor, others: Tensor) -> bool:
    """Whether losses are lower than others of the same rows by more than one standard error, and to be told at all."""
    gain, error = _gain(losses, others)
    return gain > max(error, _LEAST_GAIN)


def _gain(losses: Tensor, others: Tensor) -> tuple[float, float]:
    """By how much the mean of losses [N] is lower than that of others of the same rows, and its standard error."""
    differences = others - losses
    return float(differences.mean()), float(differences.std() / len(differences) ** 0.5)


def _way(keep: str, losses: Tensor, written: Tensor, encoded: Sequence[Windows]) -> Way:
    gain, error = _gain(losses, written)
    tokens = sum(sum(windows.text_tokens) for windows in encoded)
    lost = sum(sum(windows.lost_tokens) for windows in encoded)
    return Way(keep, float(losses.mean()), gain, error, 1 - lost / tokens)
