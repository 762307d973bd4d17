from dataclasses import replace

import numpy as np
import pytest
import torch

from petapter import Backbone, Example
from petapter.adapters import AdapterSlots
from petapter.benchmark.baselines import BASELINES
from petapter.benchmark.methods import uses_seed
from petapter_schemas.errors import BackboneError, DataError, InputError, TaskError
from petapter_schemas.task import TaskSpec
from tests.petapter.benchmark.baselines.trials import (
    ROWS,
    SENTIMENT,
    TOPIC_ROWS,
    accuracy,
    answer,
    bits,
    sentiment_trial,
    topic_trial,
    without_label,
)
from tests.petapter.conftest import BackboneOf

LEARNERS: dict[str, dict[str, object]] = {
    "tfidf-lr": {},
    "embedding-lr": {},
    "full-finetuning": {"lr": 3e-3, "epochs": 10},
    "standard-head": {"lr": 1e-2, "epochs": 20, "batch_size": 8},
    "pet": {"lr": 5e-3, "epochs": 12, "batch_size": 8},
}
"""Rates for a model that is a thousandth of a real one."""

QUICK: dict[str, dict[str, object]] = {
    "tfidf-lr": {"c": 1},
    "embedding-lr": {"c": 1},
    "full-finetuning": {"steps": 3},
    "standard-head": {"steps": 3},
    "pet": {"steps": 3, "student_steps": 2},
    "majority": {},
    "zero-shot": {"correction": "prior"},
}
SEEDED = ("full-finetuning", "standard-head", "pet")


def test_every_baseline_is_tested_here() -> None:
    assert set(QUICK) == set(BASELINES)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_separable_task_is_learned(name: str, bert: Backbone) -> None:
    given = answer(name, sentiment_trial(bert), **LEARNERS[name])
    assert accuracy(given, [row.label for row in ROWS[32:]], SENTIMENT) == 1.0


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("unlabelled", [False, True])
def test_the_backbone_and_the_generator_stay_as_they_were(name: str, bert: Backbone, unlabelled: bool) -> None:
    before, generator = bits(bert), torch.get_rng_state()
    answer(name, sentiment_trial(bert, unlabelled=unlabelled), **QUICK[name])
    after = bits(bert)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not any(parameter.requires_grad for parameter in bert.model.parameters())
    assert not any(module.training for module in bert.model.modules())
    assert not any(module._forward_pre_hooks for module in bert.model.modules())
    assert torch.equal(generator, torch.get_rng_state())


@pytest.mark.parametrize("name", QUICK)
def test_the_same_seed_gives_the_same_answer(name: str, bert: Backbone) -> None:
    trial = sentiment_trial(bert, unlabelled=True)
    first = answer(name, trial, **QUICK[name])
    torch.manual_seed(77)
    again = answer(name, trial, **QUICK[name])
    assert np.array_equal(first.log_probabilities, again.log_probabilities)


@pytest.mark.parametrize("name", QUICK)
def test_a_method_says_whether_the_seed_matters(name: str, bert: Backbone) -> None:
    first, second = (answer(name, sentiment_trial(bert, seed=seed), **QUICK[name]).log_probabilities for seed in (0, 1))
    assert uses_seed(BASELINES[name]()) is (name in SEEDED)
    assert np.array_equal(first, second) is (name not in SEEDED)


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("family", ["xlm-roberta", "distilbert"])
def test_answers_are_distributions_for_several_fields_words_and_architectures(
    name: str, family: str, backbone_of: BackboneOf
) -> None:
    given = answer(name, topic_trial(backbone_of(family)), **QUICK[name])
    assert given.log_probabilities.shape == (5, 3)
    assert given.log_probabilities.dtype == np.float32
    assert np.exp(given.log_probabilities).sum(axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    assert min(given.train_seconds, given.predict_seconds) >= 0


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("rows", [TOPIC_ROWS[1:4], TOPIC_ROWS[:2], TOPIC_ROWS[:1]])
def test_labels_without_rows_get_a_finite_share(name: str, rows: tuple[Example, ...], bert: Backbone) -> None:
    given = answer(name, topic_trial(bert, rows), **QUICK[name])
    assert np.isfinite(given.log_probabilities).all()
    assert np.exp(given.log_probabilities).sum(axis=1) == pytest.approx(np.ones(5), abs=1e-5)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_label_without_rows_is_not_the_answer(name: str, bert: Backbone) -> None:
    trial = without_label(topic_trial(bert), "world")
    given = answer(name, trial, **LEARNERS[name])
    assert "world" not in {trial.task.label_names[i] for i in given.log_probabilities.argmax(axis=1)}


@pytest.mark.parametrize("name", QUICK)
def test_the_order_of_the_texts_does_not_matter(name: str, bert: Backbone) -> None:
    texts = ({"text": "the match was a very very very good match"}, {"text": "bad"}, {"text": "a game was fine"})
    trial = replace(sentiment_trial(bert), test=texts)
    forwards = answer(name, trial, **QUICK[name]).log_probabilities
    backwards = answer(name, replace(trial, test=texts[::-1]), **QUICK[name]).log_probabilities
    assert forwards == pytest.approx(backwards[::-1], abs=1e-5)


@pytest.mark.parametrize("name", SEEDED)
def test_a_run_that_diverges_is_refused(name: str, bert: Backbone) -> None:
    with pytest.raises(InputError, match="training diverged, its scores are no numbers"):
        answer(name, sentiment_trial(bert), lr=1e30, steps=6)


@pytest.mark.parametrize("name", [name for name in QUICK if name != "zero-shot"])
def test_nothing_to_learn_from_is_refused(name: str, bert: Backbone) -> None:
    with pytest.raises(DataError, match="no rows to train on"):
        answer(name, replace(sentiment_trial(bert), train=()), **QUICK[name])


@pytest.mark.parametrize("name", QUICK)
def test_a_multi_label_task_is_refused(name: str, bert: Backbone) -> None:
    task = TaskSpec.model_validate({**SENTIMENT.model_dump(), "type": "multi-label"})
    with pytest.raises(TaskError, match="multi-label"):
        answer(name, replace(sentiment_trial(bert), task=task), **QUICK[name])


def test_a_label_that_the_task_lacks_is_named(bert: Backbone) -> None:
    trial = replace(sentiment_trial(bert), train=(Example({"text": "good"}, "neutral"),))
    with pytest.raises(DataError, match="label 'neutral' is not in the task"):
        answer("majority", trial)


@pytest.mark.parametrize("name", [name for name in QUICK if name not in {"majority", "tfidf-lr"}])
def test_a_backbone_that_somebody_adapts_is_refused(name: str, bert: Backbone) -> None:
    slots = AdapterSlots(bert.model)
    try:
        with pytest.raises(BackboneError, match="close it"):
            answer(name, sentiment_trial(bert), **QUICK[name])
    finally:
        slots.close()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("majority", {"c": 1}, "there is no option 'c': choose among none"),
        ("tfidf-lr", {"c": "x"}, 'option c: expected a number above 0, or "cv"'),
        ("embedding-lr", {"c": 0}, 'option c: expected a number above 0, or "cv"'),
        ("embedding-lr", {"normalise": "perhaps"}, "option normalise: Input should be a valid boolean"),
        ("full-finetuning", {"lr": 0}, "option lr: Input should be greater than 0"),
        ("full-finetuning", {"rank": 8}, "there is no option 'rank': choose among lr, weight_decay"),
        ("standard-head", {"rank": -1}, "option rank: Input should be greater than or equal to 1"),
        ("pet", {"weights": "best"}, "option weights: Input should be 'accuracy' or 'uniform'"),
        ("zero-shot", {"correction": "all"}, "option correction: Input should be 'none' or 'prior'"),
    ],
)
def test_a_wrong_option_is_one_clear_line(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as refusal:
        BASELINES[name](**options)
    assert str(refusal.value).startswith(message)
    assert "\n" not in str(refusal.value)
