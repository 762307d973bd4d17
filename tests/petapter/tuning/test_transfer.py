"""A further student begins where a module of another task ended, and stays only where rows left out prefer it."""

from dataclasses import replace

import pytest
import torch

from petapter import Backbone, TrainedModule, TrainingOptions, train
from petapter.adapters import AdapterChoice
from petapter.joint import JointRun
from petapter.training.trainer import EncodedRows, checked_rows, plain_recipe
from petapter.training.warm_start import AdapterStart, start_of
from petapter.tuning import Tuned, TuneOptions, tune
from petapter.tuning.learnt import begun_at
from petapter.tuning.report import tuning_report
from petapter_schemas.errors import InputError
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS, TOPIC, TOPIC_ROWS
from tests.petapter.tuning.test_tuning import ROWS, pool

QUICK = TuneOptions(patterns=1, seeds=1, folds=2, steps=4, student_steps=6, batch_size=4)
SHA256 = "ab" * 32
CHOICES = [
    AdapterChoice(rank=3, alpha=5.0),
    AdapterChoice(rank=2, alpha=4.0, layers=(1,)),
    AdapterChoice(kind="ia3"),
    AdapterChoice(kind="ia3", ia3_place="before-activation"),
    AdapterChoice(kind="bottleneck", reduction=4),
    AdapterChoice(kind="bitfit"),
]


def trained(choice: AdapterChoice, backbone: Backbone) -> TrainedModule:
    return train(TOPIC, TOPIC_ROWS, backbone, TrainingOptions(steps=3, batch_size=4, adapter=choice))


@pytest.fixture(scope="module")
def start(bert: Backbone) -> AdapterStart:
    return start_of(trained(CHOICES[0], bert), "topics", SHA256, bert)


@pytest.fixture(scope="module")
def tuned(bert: Backbone, start: AdapterStart) -> Tuned:
    return tune(SENTIMENT, ROWS, bert, pool(bert), QUICK, start=start)


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: choice.kind)
def test_run_begins_with_the_weights_of_a_module_of_any_kind(choice: AdapterChoice, bert: Backbone) -> None:
    module = trained(choice, bert)
    found = start_of(module, "topics", SHA256, bert)
    still = TrainingOptions(steps=1, batch_size=4, adapter_lr=0.0)
    rows = EncodedRows(SENTIMENT, SENTIMENT_ROWS, checked_rows(SENTIMENT, SENTIMENT_ROWS, bert))
    run = begun_at(JointRun(plain_recipe(still, bert, len(SENTIMENT_ROWS)), rows), found, bert)
    assert run.recipe.hyperparameters["start_sha256"] == SHA256
    assert run.recipe.start is not None
    assert run.recipe.start.keys() == module.adapter_tensors.keys()
    assert all(torch.equal(run.recipe.start[name], module.adapter_tensors[name]) for name in run.recipe.start)
    assert (found.choice.kind, found.choice.layers) == (module.adapter.kind, module.adapter.layers)


def test_student_that_began_there_stands_beside_the_others(tuned: Tuned) -> None:
    assert [each.name for each in tuned.finalists] == ["distilled", "transferred", "strong"]
    assert tuned.finalists[1].rows == len(ROWS)
    assert tuned.finalists[1].fidelity is not None
    assert len(tuned.choice.standings) == 3
    report = tuning_report(tuned)
    stays = "stays" if tuned.chosen.name == "transferred" else "does not stay"
    assert f"The module to begin with {stays}: begun there the loss is {tuned.finalists[1].loss:.3f}" in report
    assert "| transferred | 12 |" in report


def test_the_loss_of_rows_left_out_decides_and_the_module_is_the_one_that_was_chosen(tuned: Tuned) -> None:
    losses = [each.loss for each in tuned.choice.standings]
    assert tuned.choice.chosen == losses.index(min(losses))
    assert ("start_sha256" in tuned.module.training.hyperparameters) is (tuned.chosen.name == "transferred")


def test_what_was_distilled_afresh_is_the_same_with_and_without_a_start(bert: Backbone, tuned: Tuned) -> None:
    alone = tune(SENTIMENT, ROWS, bert, pool(bert), QUICK)
    assert [each.name for each in alone.finalists] == ["distilled", "strong"]
    assert alone.finalists[0].loss == pytest.approx(tuned.finalists[0].loss, abs=1e-5)
    assert "to begin with" not in tuning_report(alone)


def test_module_without_an_adapter_is_no_start(bert: Backbone) -> None:
    module = train(TOPIC, TOPIC_ROWS, bert, TrainingOptions(steps=1, rank=0))
    with pytest.raises(InputError, match="topics has no adapter, its head alone was trained"):
        start_of(module, "topics", SHA256, bert)
    stored = trained(CHOICES[0], bert)
    packed = replace(stored, adapter=stored.adapter.model_copy(update={"dtype": "int8"}))
    with pytest.raises(InputError, match="stored in int8"):
        start_of(packed, "topics", SHA256, bert)
