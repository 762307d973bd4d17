from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import LeaveOneOut, PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline

from petapter import Backbone, Example
from petapter.benchmark.baselines.embeddings import embeddings
from petapter.benchmark.baselines.logistic import Labelled, fit_regression
from petapter_schemas.errors import DataError
from tests.petapter.benchmark.baselines.trials import ROWS, answer, sentiment_trial

CANDIDATES = (0.1, 1.0, 10.0, 100.0)


def labelled(rows: int, *, noise: float, labels: int = 3) -> Labelled:
    """Features around one corner of a simplex for each label, in turn."""
    classes = np.arange(rows) % labels
    drawn = np.random.default_rng(3).normal(size=(rows, labels)) * noise
    return Labelled(np.eye(labels)[classes] + drawn, classes, np.ones(rows), labels)


def reference_losses(given: Labelled, split: object) -> list[float]:
    """scikit-learn's own cross-validation."""
    losses = []
    for c in CANDIDATES:
        model = LogisticRegression(C=c, max_iter=5000)
        said = cross_val_predict(model, given.inputs, given.classes, cv=split, method="predict_proba")
        losses.append(log_loss(given.classes, said))
    return losses


@pytest.mark.parametrize("noise", [0.1, 0.5, 1.5])
def test_c_is_the_best_of_leave_one_out(noise: float) -> None:
    given = labelled(12, noise=noise)
    expected = CANDIDATES[int(np.argmin(reference_losses(given, LeaveOneOut())))]
    assert fit_regression(given, tuple, "cv").c == expected


def test_the_noise_decides_about_c() -> None:
    assert (
        fit_regression(labelled(12, noise=0.1), tuple, "cv").c > fit_regression(labelled(12, noise=1.5), tuple, "cv").c
    )


@pytest.mark.parametrize("noise", [0.1, 1.0])
def test_beyond_fifty_rows_a_fifth_of_each_label_is_left_out(noise: float) -> None:
    given = labelled(60, noise=noise)
    fold = (np.arange(60) // 3) % 5  # labels come in turn, so this is a row's rank among its label's, in fives
    expected = CANDIDATES[int(np.argmin(reference_losses(given, PredefinedSplit(fold))))]
    assert fit_regression(given, tuple, "cv").c == expected


def test_one_row_per_label_leaves_nothing_to_compare() -> None:
    assert fit_regression(labelled(3, noise=0.1), tuple, "cv").c == 1.0


def test_a_given_c_is_scikit_learns() -> None:
    given = replace(labelled(12, noise=0.5), weights=np.arange(1.0, 13.0))
    reference = LogisticRegression(C=7.0, max_iter=5000).fit(given.inputs, given.classes, sample_weight=given.weights)
    fitted = fit_regression(given, tuple, 7.0)
    assert fitted.probabilities(given.inputs) == pytest.approx(reference.predict_proba(given.inputs), abs=1e-6)


def test_labels_without_rows_share_what_laplace_gives_them() -> None:
    given = replace(labelled(12, noise=0.5), labels=5)  # of 5 labels, 3 occur
    said = fit_regression(given, tuple, 1.0).probabilities(given.inputs)
    known = fit_regression(labelled(12, noise=0.5), tuple, 1.0).probabilities(given.inputs)
    assert said[:, 3:] == pytest.approx(np.full((12, 2), 1 / 17))
    assert said[:, :3] == pytest.approx(known * 15 / 17)


def test_tfidf_is_scikit_learns(bert: Backbone) -> None:
    trial = sentiment_trial(bert)
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\b\w+\b"), LogisticRegression(C=10.0)
    ).fit([row.fields["text"] for row in trial.train], [row.label == "neg" for row in trial.train])
    expected = model.predict_log_proba([text["text"] for text in trial.test])
    given = answer("tfidf-lr", trial, c=10)
    assert given.log_probabilities == pytest.approx(expected, abs=1e-3)  # two runs of the solver
    vocabulary = model[0].vocabulary_
    assert given.module_bytes == sum(len(term.encode()) + 5 for term in vocabulary) + 4 * (len(vocabulary) + 1)


def test_texts_without_words_are_refused_by_tfidf(bert: Backbone) -> None:
    train = (Example({"text": "good"}, "pos"), Example({"text": "!?"}, "neg"), Example({"text": "..."}, "neg"))
    with pytest.raises(DataError, match="needs 2 training texts that hold words"):
        answer("tfidf-lr", replace(sentiment_trial(bert), train=train))


def test_a_text_without_words_gets_an_answer_from_tfidf(bert: Backbone) -> None:
    given = answer("tfidf-lr", replace(sentiment_trial(bert), test=({"text": "!?"},)), c=1)
    assert np.isfinite(given.log_probabilities).all()


def test_an_embedding_is_the_mean_over_the_texts_own_tokens(bert: Backbone) -> None:
    texts = ["good", "the match was very good and the price was not"]
    given = embeddings(bert, [{"text": text} for text in texts], ("text",))
    for row, text in enumerate(texts):  # one at a time, so that nothing is padded
        encoded = bert.tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            hidden = bert.model.base_model(**encoded).last_hidden_state
        assert given[row] == pytest.approx(hidden[0].mean(dim=0).double().numpy(), abs=1e-5)


def test_embeddings_are_scaled_unless_told_otherwise(bert: Backbone) -> None:
    trial = sentiment_trial(bert)
    fields = [row.fields for row in trial.train]
    features = embeddings(bert, fields, ("text",))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    test = embeddings(bert, trial.test, ("text",))
    for normalise, train, asked in (
        (True, unit, test / np.linalg.norm(test, axis=1, keepdims=True)),
        (False, features, test),
    ):
        model = LogisticRegression(C=1.0, max_iter=5000).fit(train, [row.label == "neg" for row in trial.train])
        given = answer("embedding-lr", trial, normalise=normalise, c=1)
        assert given.log_probabilities == pytest.approx(model.predict_log_proba(asked), abs=1e-3)
        assert given.module_bytes == 4 * (features.shape[1] + 1)


def test_majority_counts_rows_by_weight(bert: Backbone) -> None:
    rows = (*ROWS[:2], replace(ROWS[4], weight=4.0))  # two of "pos", one of "neg" that counts four times
    given = answer("majority", replace(sentiment_trial(bert), train=rows))
    assert np.exp(given.log_probabilities[0]) == pytest.approx([(1 + 1) / 5, (2 + 1) / 5])  # weights 1, 1, 4 of mean 2
    assert given.module_bytes is None
