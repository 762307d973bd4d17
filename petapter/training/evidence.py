"""What a frozen backbone says of labelled texts before any training: features, label words, and the words' prior."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from petapter.backbone import Backbone, Reading
from petapter.evaluation.label_sets import gold_labels
from petapter.head import HeadShape, PetHead, mlm_shape, start_at_masked_lm
from petapter.task import Example, Verbalizer, Windows, encode_rows, pad_batch, read_verbalizer
from petapter.task.encoding import Fields
from petapter.training.convex import ConvexHead, Evidence, Link
from petapter_schemas.errors import TaskError
from petapter_schemas.task import TaskSpec

logger = logging.getLogger(__name__)

NULL_TEXTS = ("N/A", ".")
"""Texts that say nothing; what the label words score there is their prior (Zhao et al. 2021, arXiv 2102.09690)."""
_ROWS_PER_BATCH = 32
_PSEUDO_ROWS = 5.0
"""Counts added to every label before the shares of the labels in few rows are believed."""


Reader = Callable[[int, Sequence[int]], Reading]
"""What a backbone says of some encodings of a pattern, by the pattern's number and theirs."""


@dataclass(frozen=True)
class TextReading:
    """Texts as a backbone reads them, averaged over windows and, but for the words, over patterns.

    Attributes:
        words: Label-word scores by pattern, [P, N, L]; zeros without a masked-LM head.
        blocks: Features: g at the masks [N, E] where there is a masked-LM head, then the pools, each [N, H].
    """

    words: Tensor
    blocks: tuple[Tensor, ...]


@dataclass(frozen=True)
class FrozenRows:
    """Labelled rows as the frozen backbone reads them.

    Attributes:
        task: Labels, words and patterns.
        examples: The rows.
        backbone: What read them.
        verbalizer: The words as tokens.
        encoded: The rows by pattern.
        prior: What the label words score of no text in particular, [P, L].
        evidence: The rows as `fit_convex_head` wants them.
    """

    task: TaskSpec
    examples: Sequence[Example]
    backbone: Backbone
    verbalizer: Verbalizer
    encoded: Sequence[Windows]
    prior: Tensor
    evidence: Evidence


def frozen_rows(
    task: TaskSpec,
    examples: Sequence[Example],
    backbone: Backbone,
    encoded: Sequence[Windows],
    unlabelled: Sequence[Fields],
    reading: TextReading | None = None,
) -> tuple[FrozenRows, PetHead]:
    """Read rows once, and an untrained head for them; texts without labels make the prior surer.

    Args:
        task: Labels, words and patterns.
        examples: The rows.
        backbone: Without an active adapter.
        encoded: The rows by pattern.
        unlabelled: Texts without labels.
        reading: The rows as the backbone reads them, if it did already.
    """
    if not backbone.has_mlm_head:
        logger.warning("%s comes without a masked-LM head: the text alone is read, label words are not", backbone.repo)
    verbalizer = read_verbalizer(task, backbone.tokenizer)
    head = label_head(backbone, verbalizer, task)
    reading = reading or read_frozen(backbone, head, encoded)
    known = (reading.words, row_weights(task, examples, targets_of(task, examples)))
    if unlabelled:
        further = [Example(dict(text)) for text in unlabelled]
        words = read_frozen(backbone, head, encode_rows(task, backbone.tokenizer, backbone.max_tokens, further)).words
        known = (torch.cat([known[0], words], dim=1), torch.cat([known[1], torch.ones(len(unlabelled))]))
    prior = words_prior(head, backbone, task, known)
    evidence = evidence_of(task, examples, reading, prior)
    return FrozenRows(task, examples, backbone, verbalizer, encoded, prior, evidence), head


def write_convex_head(head: PetHead, convex: ConvexHead, prior: Tensor) -> None:
    """Put a convex head into a module's head: for raw features and words from which no prior [P, L] was taken."""
    trust = convex.trust if head.has_rows else 0.0
    head.shape = replace(head.shape, words=trust)
    weight, bias = convex.raw(prior, trust)
    with torch.no_grad():
        head.label_weight.copy_(weight)
        head.label_bias.copy_(bias)


def label_head(backbone: Backbone, verbalizer: Verbalizer, task: TaskSpec) -> PetHead:
    """An untrained head with a label map: of the masks and the pools, or of the pools where there is no masked LM."""
    pools = pool_layers(backbone.layers)
    if backbone.has_mlm_head:
        base = mlm_shape(backbone)
        shape = HeadShape(
            base.hidden_size, base.feature_size, base.activation, base.norm, base.norm_eps,
            reads="both", pool_layers=pools, patterns=len(task.patterns), has_labels=True,
        )  # fmt: skip
        head = PetHead(verbalizer, shape)
        start_at_masked_lm(head, backbone, verbalizer)
    else:
        width = backbone.hidden_size
        shape = HeadShape(
            width, width, "gelu", "none", 1e-12,
            words=0.0, reads="mean-pool", pool_layers=pools, patterns=len(task.patterns), has_labels=True,
        )  # fmt: skip
        head = PetHead(verbalizer, shape)
    return head.to(backbone.device).eval().requires_grad_(False)  # noqa: FBT003 (torch's signature)


def pool_layers(layers: int) -> tuple[int, ...]:
    """The hidden states to pool: at two thirds of the depth, and the last.

    On dev rows of six tasks the two together were as good as the better of them on each (minilm, layers 4 and 6).
    """
    middle = round(layers * 2 / 3)
    return (middle, layers) if 0 < middle < layers else (layers,)


@torch.no_grad()
def read_frozen(backbone: Backbone, head: PetHead, encoded: Sequence[Windows]) -> TextReading:
    """Read texts that are encoded in every pattern."""

    def read(pattern: int, chosen: Sequence[int]) -> Reading:
        batch = pad_batch([encoded[pattern].encoded[i] for i in chosen], backbone.pad_id)
        return backbone.read(batch, head.shape.pool_layers)

    return read_by(read, head, encoded)


@torch.no_grad()
def read_by(read: Reader, head: PetHead, encoded: Sequence[Windows]) -> TextReading:
    """The same by whatever reads them."""
    words: list[Tensor] = []
    blocks: list[Tensor] = []
    for pattern, windows in enumerate(encoded):
        said, features = _read_pattern(partial(read, pattern), head, windows)
        words.append(said)
        blocks = features if not blocks else [a + b for a, b in zip(blocks, features, strict=True)]
    return TextReading(torch.stack(words), tuple(block / len(encoded) for block in blocks))


def words_prior(head: PetHead, backbone: Backbone, task: TaskSpec, known: tuple[Tensor, Tensor]) -> Tensor:
    """What the label words score of no text in particular, by pattern, [P, L]; to be taken from their scores.

    Args:
        head: With the rows of the label words.
        backbone: The backbone.
        task: Its patterns.
        known: Scores of texts [P, N, L] and how much each counts [N]; null texts are added to them.
    """
    scores, weights = known
    if not head.shape.words:
        return torch.zeros(scores.shape[0], scores.shape[2])
    null = [Example(dict.fromkeys(task.fields, text)) for text in NULL_TEXTS]
    encoded = encode_rows(task, backbone.tokenizer, backbone.max_tokens, null)
    both = torch.cat([scores, read_frozen(backbone, head, encoded).words], dim=1)  # [P, N + 2, L]
    return log_prior(task, both, torch.cat([weights.to(both.dtype), torch.ones(len(null))]))


def log_prior(task: TaskSpec, scores: Tensor, weights: Tensor) -> Tensor:
    """What label words score of texts on average, [P, L]: the log of their mean share, in a multi-label task the mean.

    Args:
        task: Its type.
        scores: Of the words, [P, N, L].
        weights: How much each text counts, [N].
    """
    counts = weights[None, :, None]
    if task.type == "multi-label":
        return (scores * counts).sum(dim=1) / counts.sum()
    return ((torch.softmax(scores, dim=-1) * counts).sum(dim=1) / counts.sum()).clamp_min(1e-8).log()


def targets_of(task: TaskSpec, examples: Sequence[Example]) -> Tensor:
    """1 where a row has a label, float32 [N, L].

    Raises:
        DataError: A row's label is not one of the task's.
    """
    return torch.from_numpy(gold_labels(task, examples)).float()


def label_shares(task: TaskSpec, targets: Tensor) -> Tensor:
    """How frequent labels are thought to be in the field, [L], not adding up to anything in particular.

    They are the task's priors; without any, the counts in the targets [N, L], drawn towards equal ones by _PSEUDO_ROWS
    rows of every label, since ten rows say little about them.
    """
    return targets.sum(dim=0) + _PSEUDO_ROWS if task.class_prior is None else torch.tensor(task.class_prior)


def row_weights(task: TaskSpec, examples: Sequence[Example], targets: Tensor) -> Tensor:
    """How much each row counts, [N], of mean 1: its own weight, and for its label to count as often as in the field.

    The shares of the labels in the field are those of `label_shares`.
    """
    own = torch.tensor([example.weight for example in examples])
    if task.type == "multi-label":
        return own / own.mean()
    counts = targets.sum(dim=0)
    share = torch.where(counts > 0, label_shares(task, targets), 0.0)
    weights = own * (targets @ (share / counts.clamp_min(1.0)))
    return weights / weights.mean()


def evidence_of(task: TaskSpec, examples: Sequence[Example], reading: TextReading, prior: Tensor) -> Evidence:
    """The rows as `fit_convex_head` wants them."""
    targets = targets_of(task, examples)
    words = (reading.words - prior.unsqueeze(1)).mean(dim=0)  # [N, L]
    link: Link = "sigmoid" if task.type == "multi-label" else "softmax"
    return Evidence(reading.blocks, words, targets, row_weights(task, examples, targets), link)


def _read_pattern(
    read: Callable[[Sequence[int]], Reading], head: PetHead, windows: Windows
) -> tuple[Tensor, list[Tensor]]:
    rows = len(windows.text_tokens)
    order = sorted(range(len(windows.encoded)), key=lambda i: len(windows.encoded[i].input_ids))
    words: Tensor | None = None
    blocks: list[Tensor] = []
    for start in range(0, len(order), _ROWS_PER_BATCH):
        chosen = order[start : start + _ROWS_PER_BATCH]
        said, features = _features(read(chosen), head)
        owner = torch.tensor([windows.owner[i] for i in chosen])
        if words is None:
            words = torch.zeros(rows, said.shape[1])
            blocks = [torch.zeros(rows, feature.shape[1]) for feature in features]
        words.index_add_(0, owner, said)
        for block, feature in zip(blocks, features, strict=True):
            block.index_add_(0, owner, feature)
    if words is None:
        raise TaskError("there are no rows to read")
    windows_of = torch.bincount(torch.tensor(windows.owner), minlength=rows).unsqueeze(1)
    return words / windows_of, [block / windows_of for block in blocks]


def _features(reading: Reading, head: PetHead) -> tuple[Tensor, list[Tensor]]:
    """Label-word scores [B, L] of texts, and their features by block."""
    pools = [] if reading.pools is None else list(reading.pools.unbind(dim=1))
    if not head.shape.words:
        return torch.zeros(len(reading.at_masks), len(head.label_weight)), [pool.cpu() for pool in pools]
    features = head.features(reading.at_masks)  # [B, M, E]
    return head.word_scores(features).cpu(), [block.cpu() for block in (features.mean(dim=1), *pools)]
