"""One small module that says what many say together: it learns their vote as soft labels.

Texts without labels carry most of what a vote knows beyond the rows (Schick and Schütze 2021, arXiv 2001.07676, section
3.3); where there are none, the rows themselves are learnt by half as they are labelled and by half as they are voted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from petapter.backbone import Backbone
from petapter.joint import JointRun
from petapter.task import Example
from petapter.task.encoding import Fields
from petapter.training.evidence import label_shares, targets_of
from petapter.training.options import TrainingOptions
from petapter.training.trainer import EncodedRows, checked_rows, plain_recipe
from petapter.training.warm_start import AdapterStart
from petapter_schemas.task import TaskSpec

_BALANCING = 50
_MOST_WEIGHT = 10.0


def voted(members: Sequence[Tensor], frozen: Tensor) -> Tensor:
    """The vote: the mean of the members' probabilities, and that of the convex head on frozen features, by half each.

    A head that was found without training errs elsewhere than trained ones do (petapter/training/trial.py).

    Args:
        members: Log-probabilities [T, L] of each; none where all diverged.
        frozen: Of the convex head, [T, L].

    Returns:
        Log-probabilities [T, L].
    """
    if not members:
        return frozen
    together = torch.stack([member.double() for member in members]).exp().mean(dim=0)
    return ((together + frozen.double().exp()) / 2).log()


def soft_labels(vote: Tensor, shares: Tensor, temperature: float) -> Tensor:
    """Probabilities to learn: the vote softened, and no label more frequent among them than texts of its kind are.

    Every label is multiplied by a factor of its own until the shares of the labels are as given (Sinkhorn and Knopp
    1967); else a vote that prefers a label teaches that preference, and more of it.

    Args:
        vote: Log-probabilities [T, L].
        shares: Of the labels, adding up to 1, [L].
        temperature: Above 1 softens.
    """
    soft = torch.softmax(vote.double() / temperature, dim=-1)
    for _ in range(_BALANCING):
        soft = soft * (shares / soft.mean(dim=0).clamp_min(1e-12))
        soft = soft / soft.sum(dim=-1, keepdim=True)
    return soft


def surest(vote: Tensor, shares: Tensor, count: int) -> list[int]:
    """So many texts of which a vote is surest, of every label about as many as its share; their numbers, ascending.

    Taken by the mean of all who vote, a text is sure only where they agree. Labels with the fewest texts choose first,
    and one to which the vote gives no text gets those that are most likely its own, so that no label starves.

    Args:
        vote: Log-probabilities [T, L].
        shares: Of the labels, adding up to 1, [L].
        count: Of the texts.
    """
    if count >= len(vote):
        return list(range(len(vote)))
    balanced = soft_labels(vote, shares, 1.0)
    given = torch.bincount(balanced.argmax(dim=-1), minlength=len(shares))
    chosen: set[int] = set()
    for label in given.argsort(stable=True).tolist():
        quota = min(count - len(chosen), max(1, round(float(shares[label]) * count)))
        ranked = balanced[:, label].argsort(descending=True, stable=True).tolist()
        chosen |= set([text for text in ranked if text not in chosen][:quota])
    rest = [text for text in balanced.amax(dim=-1).argsort(descending=True).tolist() if text not in chosen]
    return sorted(chosen | set(rest[: count - len(chosen)]))


@dataclass(frozen=True)
class Lesson:
    """What a student learns from.

    Attributes:
        rows: Numbers of the labelled rows that it may see.
        vote: Log-probabilities [N + U, L] of the teacher.
        share: Of the texts without labels, what it learns: those that the teacher is surest of (`surest`).
    """

    rows: Sequence[int]
    vote: Tensor
    share: float = 1.0


@dataclass(frozen=True)
class Teaching:
    """How students are taught.

    Attributes:
        own_share: How much of a labelled row's target is its own label.
        temperature: As of `soft_labels`.
        options: How they train.
        start: What their adapters begin with; None for fresh ones.
    """

    own_share: float
    temperature: float
    options: TrainingOptions
    start: AdapterStart | None = None


def student_run(
    task: TaskSpec,
    rows: tuple[Sequence[Example], Sequence[Fields]],
    lesson: Lesson,
    teaching: Teaching,
    backbone: Backbone,
) -> JointRun:
    """A student to be trained: on some labelled rows, and on texts without labels.

    All labelled rows together weigh as much as all texts without, but none more than ten times as much as one of these.

    Raises:
        TaskError: The rows cannot work.
    """
    examples, unlabelled = rows
    seen = [examples[row] for row in lesson.rows]
    at = [*lesson.rows, *range(len(examples), len(examples) + len(unlabelled))]
    soft = torch.softmax(lesson.vote[list(lesson.rows)].double() / teaching.temperature, dim=-1)
    own = targets_of(task, seen).double()
    mixed = teaching.own_share * own + (1 - teaching.own_share) * soft
    further: list[Example] = []
    if unlabelled:
        shares = label_shares(task, own).double()
        shares = shares / shares.sum()
        said = lesson.vote[at[len(seen) :]]
        chosen = surest(said, shares, max(1, round(lesson.share * len(unlabelled))))
        unlabelled = [unlabelled[text] for text in chosen]
        learnt = soft_labels(said[chosen], shares, teaching.temperature)
        mixed = torch.cat([mixed, learnt])
        named = [task.label_names[label] for label in learnt.argmax(dim=-1).tolist()]
        further = [Example(dict(text), label) for text, label in zip(unlabelled, named, strict=True)]
    factor = min(max(1.0, len(unlabelled) / len(seen)), _MOST_WEIGHT)
    weighted = [Example(each.fields, each.label, each.weight * factor) for each in seen]
    taught = [*weighted, *further]
    encoded = EncodedRows(task, taught, checked_rows(task, taught, backbone), mixed.float())
    return JointRun(plain_recipe(teaching.options, backbone, len(taught)), encoded)
