"""`embedding-lr`: logistic regression on the backbone's frozen text embeddings."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt
import torch
from sklearn.preprocessing import Normalizer
from torch import Tensor

from petapter.backbone import Backbone
from petapter.benchmark.baselines.logistic import RegularisationC, fit_regression, labelled_rows
from petapter.benchmark.baselines.models import reproducible
from petapter.benchmark.baselines.options import parse_options
from petapter.benchmark.baselines.rows import class_positions, row_weights
from petapter.benchmark.baselines.sequences import Padded, computed, plain_rows
from petapter.benchmark.methods import Answer, Trial
from petapter.task.encoding import Fields
from petapter_schemas.frozen import Frozen

_NUMBER_BYTES: Final = 4
"""Coefficients are stored as float32."""


class EmbeddingOptions(Frozen):
    """Options of `embedding-lr`.

    Attributes:
        c: Inverse strength of the regularisation, or "cv". With few rows of length 1 scikit-learn's 1 leaves little but
            the labels' shares: on AG News with 10 rows accuracy was 0.37 on minilm, and 0.56 with "cv" (one sample).
        normalise: Whether embeddings are scaled to length 1.
    """

    c: RegularisationC = "cv"
    normalise: bool = True


@dataclass(frozen=True)
class EmbeddingRegression:
    """Logistic regression on the mean of the last hidden states over all tokens of the text, without any pattern.

    The embedding is that of Sentence-BERT (Reimers, Gurevych 2019, arXiv 1908.10084), special tokens included.
    """

    options: EmbeddingOptions
    uses_seed: ClassVar[bool] = False

    def __call__(self, trial: Trial) -> Answer:
        """Train on the trial's rows and answer its texts."""
        with reproducible(trial.backbone, trial.seed):
            started = time.perf_counter()
            classes, weights = class_positions(trial), row_weights(trial)
            features = embeddings(trial.backbone, [row.fields for row in trial.train], trial.task.fields)
            fitted = fit_regression(labelled_rows(trial, features, classes, weights), self._steps, self.options.c)
            train_seconds = time.perf_counter() - started
            started = time.perf_counter()
            answers = fitted.log_probabilities(embeddings(trial.backbone, trial.test, trial.task.fields))
        return Answer(
            log_probabilities=answers,
            train_seconds=train_seconds,
            predict_seconds=time.perf_counter() - started,
            module_bytes=_NUMBER_BYTES * fitted.coefficients,
            steps=0,
            details={"c": fitted.c},
        )

    def _steps(self) -> tuple[object, ...]:
        return (Normalizer(),) if self.options.normalise else ()


def embedding_regression(**options: object) -> EmbeddingRegression:
    """`embedding-lr`, with the options of EmbeddingOptions."""
    return EmbeddingRegression(parse_options(EmbeddingOptions, options))


def embeddings(backbone: Backbone, texts: Sequence[Fields], fields: Sequence[str]) -> npt.NDArray[np.float64]:
    """Mean-pooled last hidden states [N, H] of texts without a pattern."""

    def mean_pooled(batch: Padded) -> Tensor:
        encoder = backbone.model.base_model
        hidden = encoder(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state  # [B, S, H]
        weights = batch.attention_mask.unsqueeze(-1).to(hidden.dtype)  # [B, S, 1]
        pooled: Tensor = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
        return pooled

    rows = plain_rows(backbone, texts, fields, special_tokens=True)
    values: npt.NDArray[np.float64] = computed(rows, backbone, mean_pooled).to(torch.float64).numpy()
    return values
