"""What a masked language model says of texts by the label words alone, less what it says of any text.

For pattern p, with s the words' score (petapter/head.py) of N unlabelled texts and two null texts, and pi the task's
shares of the labels where it states them,

    z_p(y|x) = s_p(y|x) - N / (N + 20) * log mean over x' of softmax_y s_p(.|x') + log pi_y

Taking out what the words score anyway is contextual calibration (Zhao et al. 2021, arXiv 2102.09690), here over texts
of the task as in batch calibration (Zhou et al. 2023, arXiv 2309.17249). It assumes balanced labels where no shares are
stated; the factor keeps a handful of texts, which may well be all of one label, from being believed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from petapter.backbone import Backbone
from petapter.head import PetHead, mlm_shape, start_at_masked_lm
from petapter.task import Example, encode_rows, lint_task, read_verbalizer
from petapter.task.encoding import Fields
from petapter.training.evidence import read_frozen, words_prior
from petapter_schemas.errors import BackboneError, DataError, InputError, TaskError
from petapter_schemas.task import TaskSpec

READ_AT_ONCE = 256
"""Encoded together; what is kept of them afterwards is a number per pattern and label."""
_HALF_BELIEVED = 20
"""Texts from which half of the prior is taken out."""


@dataclass(frozen=True)
class WordReading:
    """What the label words score of texts.

    Attributes:
        scores: By pattern, [P, N, L], the prior still in them.
        prior: What is taken from them, log shares of the task already added, [P, L].
    """

    scores: Tensor
    prior: Tensor

    @property
    def by_pattern(self) -> Tensor:
        """Log-probabilities of the labels in each pattern, [P, N, L]."""
        return torch.log_softmax(self.scores - self.prior.unsqueeze(1), dim=-1)

    @property
    def log_probabilities(self) -> Tensor:
        """Of all patterns together, as a module averages them, [N, L]."""
        return torch.log_softmax(self.by_pattern.mean(dim=0), dim=-1)


def word_head(task: TaskSpec, backbone: Backbone) -> PetHead:
    """The backbone's own masked-LM head for the label words, with a bias per pattern and label that is 0 as yet.

    Raises:
        InputError: The task is multi-label.
        TaskError: Words or patterns cannot work on this backbone.
        BackboneError: It has no masked-LM head.
    """
    if task.type != "single-label":
        raise InputError("without labelled rows nothing tells how many labels a text has: give a single-label task")
    if not backbone.has_mlm_head:
        raise BackboneError(
            f"{backbone.repo!r} comes without a masked-LM head, so label words say nothing there: take another backbone"
        )
    for finding in lint_task(task, backbone.tokenizer, backbone.max_tokens):
        if finding.severity == "error":
            raise TaskError(finding.message)
    verbalizer = read_verbalizer(task, backbone.tokenizer)
    head = PetHead(verbalizer, replace(mlm_shape(backbone), patterns=len(task.patterns), has_labels=True))
    start_at_masked_lm(head, backbone, verbalizer)
    return head.to(backbone.device).eval().requires_grad_(False)  # noqa: FBT003 (torch's signature)


def read_words(task: TaskSpec, texts: Sequence[Fields], backbone: Backbone, head: PetHead | None = None) -> WordReading:
    """Read texts once per pattern, some hundred at a time.

    Args:
        task: A single-label task.
        texts: By field; one or more.
        backbone: Without an active adapter.
        head: As `word_head` gives it, if the caller has it already.

    Raises:
        DataError: There is no text.
        PetapterError: As `word_head`.
    """
    head = head or word_head(task, backbone)
    if not texts:
        raise DataError("there are no unlabelled texts: give some, since the label words' prior is read off them")
    parts: list[Tensor] = []
    for start in range(0, len(texts), READ_AT_ONCE):
        rows = [Example(dict(text)) for text in texts[start : start + READ_AT_ONCE]]
        encoded = encode_rows(task, backbone.tokenizer, backbone.max_tokens, rows)
        parts.append(read_frozen(backbone, head, encoded).words)
    scores = torch.cat(parts, dim=1)  # [P, N, L]
    return WordReading(scores, prior_of(task, scores, head, backbone))


def prior_of(task: TaskSpec, scores: Tensor, head: PetHead, backbone: Backbone) -> Tensor:
    """What is to be taken from the words' scores of texts [P, N, L], log shares of the task already added, [P, L]."""
    texts = scores.shape[1]
    prior = words_prior(head, backbone, task, (scores, torch.ones(texts)))
    return texts / (texts + _HALF_BELIEVED) * prior - _log_shares(task)


def _log_shares(task: TaskSpec) -> Tensor:
    """Logarithms of the task's shares of the labels, zeros where it states none, [L]."""
    if task.class_prior is None:
        return torch.zeros(len(task.labels))
    shares = torch.tensor(task.class_prior)
    return (shares / shares.sum()).log()
