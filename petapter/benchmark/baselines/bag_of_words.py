"""`tfidf-lr`: logistic regression on weighted words and word pairs; no backbone at all."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from pydantic import Field
from sklearn.feature_extraction.text import TfidfVectorizer

from petapter.benchmark.baselines.logistic import Inputs, Regression, RegularisationC, fit_regression, labelled_rows
from petapter.benchmark.baselines.options import parse_options
from petapter.benchmark.baselines.rows import class_positions, joined, row_weights
from petapter.benchmark.methods import Answer, Trial
from petapter.task.encoding import Fields
from petapter_schemas.errors import DataError
from petapter_schemas.frozen import Frozen

_WORD: Final = r"(?u)\b\w+\b"
"""Words of one character count too, unlike scikit-learn's default: some scripts have many."""

_LEAST_TEXTS: Final = 2
"""When one of them is left out, another still gives the vocabulary."""

_NUMBER_BYTES: Final = 4
"""Numbers are stored as float32."""


class TfidfOptions(Frozen):
    """Options of `tfidf-lr`.

    Attributes:
        c: Inverse strength of the regularisation, or "cv".
        word_ngrams: Longest sequence of words that is a feature.
    """

    c: RegularisationC = "cv"
    word_ngrams: int = Field(default=2, ge=1, le=5)


@dataclass(frozen=True)
class TfidfRegression:
    """Sublinear tf-idf of word 1- to n-grams, L2-normalised, and logistic regression; fields joined by a space."""

    options: TfidfOptions
    uses_seed: ClassVar[bool] = False

    def __call__(self, trial: Trial) -> Answer:
        """Train on the trial's rows and answer its texts."""
        started = time.perf_counter()
        classes, weights = class_positions(trial), row_weights(trial)
        texts = _texts([row.fields for row in trial.train], trial)
        worded = sum(re.search(_WORD, text) is not None for text in texts)
        if worded < _LEAST_TEXTS and len(set(classes)) > 1:
            raise DataError(f"tfidf-lr needs {_LEAST_TEXTS} training texts that hold words: there are fewer")
        fitted = fit_regression(labelled_rows(trial, texts, classes, weights), self._steps, self.options.c)
        train_seconds = time.perf_counter() - started
        started = time.perf_counter()
        answers = fitted.log_probabilities(_texts(trial.test, trial))
        return Answer(
            log_probabilities=answers,
            train_seconds=train_seconds,
            predict_seconds=time.perf_counter() - started,
            module_bytes=_stored_bytes(fitted),
            steps=0,
            details={"c": fitted.c},
        )

    def _steps(self) -> tuple[object, ...]:
        ngrams = (1, self.options.word_ngrams)
        return (TfidfVectorizer(ngram_range=ngrams, sublinear_tf=True, token_pattern=_WORD),)


def tfidf_regression(**options: object) -> TfidfRegression:
    """`tfidf-lr`, with the options of TfidfOptions."""
    return TfidfRegression(parse_options(TfidfOptions, options))


def _texts(texts: Sequence[Fields], trial: Trial) -> Inputs:
    return np.array(joined(texts, trial.task.fields), dtype=np.object_)


def _stored_bytes(fitted: Regression) -> int:
    """The vocabulary as text with a separator each, the idf of each entry, the coefficients."""
    if fitted.pipeline is None:
        return 0
    vocabulary = fitted.pipeline[0].vocabulary_
    return sum(len(term.encode()) + 1 + _NUMBER_BYTES for term in vocabulary) + _NUMBER_BYTES * fitted.coefficients
