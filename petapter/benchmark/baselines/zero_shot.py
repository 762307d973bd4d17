"""`zero-shot`: the masked LM's own scores of the label words; nothing is trained, labels are never looked at."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from petapter.benchmark.baselines.label_words import LabelWords, mask_scores
from petapter.benchmark.baselines.models import reproducible
from petapter.benchmark.baselines.options import parse_options
from petapter.benchmark.baselines.rows import normalised
from petapter.benchmark.baselines.sequences import Padded, computed
from petapter.benchmark.methods import Answer, Trial
from petapter.task.encoding import Fields
from petapter_schemas.errors import TaskError
from petapter_schemas.frozen import Frozen

_NULL_TEXTS: Final = ("", "N/A")
"""Texts that say nothing of any label (Zhao et al. 2021, arXiv 2102.09690)."""

_SHRINKAGE: Final = 20
"""Texts at which half of the correction is trusted."""

_NUMBER_BYTES: Final = 4


class ZeroShotOptions(Frozen):
    """Options of `zero-shot`.

    Attributes:
        correction: "prior" takes off what a pattern prefers whatever the text; "none" leaves it in.
    """

    correction: Literal["none", "prior"] = "none"


@dataclass(frozen=True)
class ZeroShot:
    """Scores of the label words, averaged over the patterns.

    s_p(y|x) = mean over words v of y of the mean over j <= |v| of log q_j(token_j(v)), where q_j is the masked LM's
    distribution over the vocabulary at mask j.

    The prior correction takes off s_p, for U texts without labels, U / (U + 20) times the logarithm of the mean over
    them of softmax over labels(s_p), and adds the logarithm of the task's `class_prior` where it has one. U are the
    trial's unlabelled texts or, where it has none, its training texts and two null texts.
    """

    options: ZeroShotOptions
    uses_seed: ClassVar[bool] = False

    def __call__(self, trial: Trial) -> Answer:
        """Answer the trial's texts."""
        if trial.task.type != "single-label":
            raise TaskError("the task is multi-label: the baselines answer single-label tasks")
        with reproducible(trial.backbone, trial.seed):
            started = time.perf_counter()
            words = LabelWords(trial.task, trial.backbone)
            free = _free_texts(trial) if self.options.correction == "prior" else []
            priors = _log_priors(_scores(trial, words, free)) if free else torch.zeros(len(trial.task.patterns), 1, 1)
            train_seconds = time.perf_counter() - started
            started = time.perf_counter()
            scores = (_scores(trial, words, trial.test) - priors).log_softmax(dim=-1).mean(dim=0)  # [N, L]
            if free and trial.task.class_prior is not None:
                scores = scores + torch.tensor(trial.task.class_prior).log()
            answers = normalised(scores)
        return Answer(
            log_probabilities=answers,
            train_seconds=train_seconds,
            predict_seconds=time.perf_counter() - started,
            module_bytes=_NUMBER_BYTES * priors.numel() if free else None,
            steps=0,
            details={"correction": self.options.correction, "correction_texts": len(free)},
        )


def zero_shot(**options: object) -> ZeroShot:
    """`zero-shot`, with the options of ZeroShotOptions."""
    return ZeroShot(parse_options(ZeroShotOptions, options))


def _free_texts(trial: Trial) -> list[Fields]:
    """U: texts that are scored without looking at labels."""
    if trial.unlabelled:
        return list(trial.unlabelled)
    nothing = [dict.fromkeys(trial.task.fields, text) for text in _NULL_TEXTS]
    return [*(row.fields for row in trial.train), *nothing]


def _scores(trial: Trial, words: LabelWords, texts: Sequence[Fields]) -> Tensor:
    """s_p of every text, [P, N, L]."""
    read = mask_scores(trial.backbone.model)

    def score(batch: Padded) -> Tensor:
        return words.means(log_softmax(read(batch), dim=-1))

    by_pattern = [computed(words.rows(texts, pattern), trial.backbone, score) for pattern in trial.task.patterns]
    return torch.stack(by_pattern)


def _log_priors(scores: Tensor) -> Tensor:
    """What to take off, [P, 1, L], from scores [P, U, L]."""
    texts = scores.shape[1]
    preferred = scores.softmax(dim=-1).mean(dim=1, keepdim=True).log()
    return preferred * texts / (texts + _SHRINKAGE)
