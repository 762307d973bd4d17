from dataclasses import replace

import numpy as np
import pytest
import torch

from petapter import Backbone
from petapter.benchmark.baselines.label_words import LabelWords
from petapter.benchmark.baselines.models import trainable_copy
from petapter.benchmark.baselines.pet import Member, PetOptions, distillation_loss, mean_logits, pet
from petapter.benchmark.grid import MethodPlan, narrowed
from petapter.task import read_verbalizer
from tests.petapter.benchmark.baselines.trials import SENTIMENT, accuracy, answer, sentiment_trial, topic_trial

STEPS: dict[str, object] = {"lr": 1e-3, "steps": 3, "batch_size": 4}


def members(logits: list[list[list[float]]], accuracies: list[float]) -> list[Member]:
    return [Member(torch.tensor(said), right, 1, 1, 0.0) for said, right in zip(logits, accuracies, strict=True)]


@pytest.mark.parametrize("weights", ["accuracy", "uniform"])
def test_the_ensemble_is_the_mean_of_its_members(bert: Backbone, weights: str) -> None:
    trial = sentiment_trial(bert)
    method = pet(weights=weights, repetitions=2, **STEPS)
    parts = method.members(trial, trial.test)
    shares = [member.accuracy_before if weights == "accuracy" else 1.0 for member in parts]
    mean = np.average([member.logits.numpy() for member in parts], axis=0, weights=shares)
    given = method(trial)
    assert given.log_probabilities == pytest.approx(mean - np.logaddexp.reduce(mean, axis=1, keepdims=True), abs=1e-4)
    assert given.details == {"members": 4, "distilled": False}
    assert given.steps == 4 * 3


def test_members_differ_by_pattern_and_by_repetition(bert: Backbone) -> None:
    trial = sentiment_trial(bert)
    said = [member.logits for member in pet(repetitions=2, **STEPS).members(trial, trial.test)]
    assert not any(torch.allclose(said[a], said[b]) for a in range(4) for b in range(a))


def test_members_count_by_their_accuracy_before_training() -> None:
    parts = members([[[4.0, 0.0]], [[0.0, 8.0]]], [0.25, 0.75])
    assert mean_logits(parts, PetOptions()).tolist() == [[1.0, 6.0]]
    assert mean_logits(parts, PetOptions(weights="uniform")).tolist() == [[2.0, 4.0]]


def test_members_that_were_all_wrong_count_alike() -> None:
    assert mean_logits(members([[[4.0, 0.0]], [[0.0, 8.0]]], [0.0, 0.0]), PetOptions()).tolist() == [[2.0, 4.0]]


def test_a_grid_can_score_one_pattern_alone(bert: Backbone) -> None:
    trial = sentiment_trial(bert)
    task = narrowed(SENTIMENT, MethodPlan(name="pet", method="pet", pattern=0))
    given = answer("pet", replace(trial, task=task), **STEPS)
    first = pet(**STEPS).members(trial, trial.test)[0]
    assert given.log_probabilities == pytest.approx(torch.log_softmax(first.logits, dim=-1).numpy(), abs=1e-5)
    assert given.details["members"] == 1


def test_an_untrained_member_is_the_masked_lm_itself(bert: Backbone) -> None:
    trial = topic_trial(bert)  # two masks, a word of two tokens
    (member,) = pet(lr=1e-12, steps=1).members(trial, trial.test)
    ids = read_verbalizer(trial.task, bert.tokenizer).ids
    right = 0
    for row, text, gold in zip(
        LabelWords(trial.task, bert).rows(trial.test, trial.task.patterns[0]), member.logits, trial.train, strict=True
    ):
        with torch.no_grad():
            said = bert.model(torch.tensor([row.ids])).logits[0, list(row.masks)]  # [M, V]
        expected = [
            2 * np.mean([np.mean([float(said[j, token]) for j, token in enumerate(word)]) for word in words])
            for words in ids
        ]
        assert text.tolist() == pytest.approx(expected, abs=1e-4)
        right += trial.task.label_names[int(np.argmax(expected))] == gold.label
    assert member.accuracy_before == right / 5


def test_a_copy_is_tied_as_the_original_and_shares_nothing_with_it(bert: Backbone) -> None:
    copy = trainable_copy(bert.model)
    assert copy.get_output_embeddings().weight is copy.get_input_embeddings().weight
    own = {parameter.data_ptr() for parameter in copy.parameters()}
    assert not own & {parameter.data_ptr() for parameter in bert.model.parameters()}


def test_an_ensemble_stores_a_masked_lm_per_member_and_a_student_one_classifier(bert: Backbone) -> None:
    trial = sentiment_trial(bert, unlabelled=True)
    whole = sum(parameter.numel() for parameter in bert.model.parameters())
    encoder = sum(parameter.numel() for parameter in bert.model.base_model.parameters())
    assert answer("pet", trial, distil=False, **STEPS).module_bytes == 4 * 2 * whole
    student = answer("pet", trial, student_steps=2, **STEPS)
    assert student.module_bytes == 4 * (encoder + 32 * 32 + 32 + 2 * 32 + 2)


def test_unlabelled_texts_teach_a_student_that_agrees_with_the_ensemble(bert: Backbone) -> None:
    trial = sentiment_trial(bert, unlabelled=True)
    learned = {"lr": 5e-3, "epochs": 12, "batch_size": 8}
    given = answer("pet", trial, student_lr=3e-3, student_steps=60, student_batch_size=4, **learned)
    assert given.details == {"members": 2, "distilled": True, "student_steps": 60, "unlabelled": 8}
    assert given.steps == 2 * 12 * 3 + 60
    ensemble = answer("pet", trial, distil=False, **learned)
    labels = [SENTIMENT.label_names[i] for i in ensemble.log_probabilities.argmax(axis=1)]
    assert len(set(labels)) == 2
    assert accuracy(given, labels, SENTIMENT) == 1.0
    assert not np.allclose(given.log_probabilities, ensemble.log_probabilities)


def test_without_unlabelled_texts_the_ensemble_answers(bert: Backbone) -> None:
    given = answer("pet", sentiment_trial(bert), **STEPS)
    assert given.details["distilled"] is False


def test_the_student_learns_softened_labels() -> None:
    logits, taught, temperature = np.array([[1.0, -1.0], [0.5, 0.0]]), np.array([[2.0, 0.0], [-1.0, 3.0]]), 2.0

    teacher, learner = (np.exp(values / temperature) for values in (taught, logits))
    teacher, learner = (raised / raised.sum(axis=1, keepdims=True) for raised in (teacher, learner))
    expected = temperature**2 * (teacher * np.log(teacher / learner)).sum() / 2
    assert float(distillation_loss(torch.tensor(logits), torch.tensor(taught), temperature)) == pytest.approx(expected)


def test_the_default_is_the_papers_comparison() -> None:
    options = PetOptions()
    assert (options.lr, options.weight_decay, options.epochs, options.batch_size) == (1e-5, 0.01, 10, 1)
    assert [options.steps_for(rows) for rows in (10, 100)] == [100, 1000]
