"""The estimator with its default preset: scikit-learn's cross-validation and searches, and texts without labels."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV, cross_val_score

from petapter import Backbone, PETapterClassifier, TrainedModule, train
from petapter.training import StrongOptions, train_strong
from petapter_schemas.errors import EstimatorDataError
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS
from tests.petapter.test_estimator import LABELS, NEW, TEXTS, WORDS, Table


def test_cross_validation_and_search_with_the_default_preset(bert: Backbone) -> None:
    default = PETapterClassifier(bert, verbalizer=WORDS)
    scores = cross_val_score(default, TEXTS, LABELS, cv=3, error_score="raise")
    assert scores.shape == (3,)
    patterns = ["{text} It was {mask}.", "{mask} news: {text}"]
    grid = {"pattern": patterns, "options": [None, StrongOptions(delta="never")]}
    search = GridSearchCV(default, grid, cv=3, scoring="neg_log_loss", error_score="raise").fit(TEXTS, LABELS)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.cv_results_["mean_test_score"].shape == (4,)
    assert search.best_estimator_.module_.training.preset == "strong"
    assert set(search.predict(NEW)) <= {"pos", "neg"}


def test_texts_without_labels_are_read_as_train_reads_them(bert: Backbone) -> None:
    # reference: the same rows and texts through train_strong
    more = ["a good ball in the game", "the market was awful", "money and price"]
    trained = train_strong(SENTIMENT, SENTIMENT_ROWS, bert, unlabelled=[{"text": text} for text in more])
    default = PETapterClassifier(bert, verbalizer=WORDS)
    alone = default.fit(TEXTS, LABELS).module_.head_tensors
    for given in (more, np.array(more), Table(text=more), [{"text": text} for text in more]):
        found = default.fit(TEXTS, LABELS, unlabelled=given).module_.head_tensors
        assert torch.equal(found["labels.bias"][0].sort().values, trained.head_tensors["labels.bias"][0].sort().values)
    assert not torch.equal(found["labels.bias"], alone["labels.bias"])


def test_cross_validation_hands_texts_without_labels_on(bert: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def look(*given: Any, unlabelled: Any, **options: Any) -> TrainedModule:
        seen.append(len(unlabelled))
        return train(*given, unlabelled=unlabelled, **options)

    monkeypatch.setattr("petapter.estimator.train", look)
    cross_val_score(PETapterClassifier(bert, verbalizer=WORDS), TEXTS, LABELS, cv=2, params={"unlabelled": NEW})
    assert seen == [len(NEW)] * 2


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one text", "unlabelled must be a sequence of texts, not one str: give a list"),
        (["a", None], "row 1 of unlabelled: 'text' must be a text but is a NoneType: correct or drop it"),
        (Table(body=NEW), "unlabelled has no column 'text', which the pattern reads: add or rename one"),
    ],
)
def test_texts_without_labels_that_are_none_are_one_line(bert: Backbone, texts: Any, message: str) -> None:
    with pytest.raises(EstimatorDataError) as caught:
        PETapterClassifier(bert, verbalizer=WORDS).fit(TEXTS, LABELS, unlabelled=texts)
    assert str(caught.value) == message
