"""Candidates are asked about rows that they did not see, all in one stack."""

from dataclasses import replace

import pytest
import torch

from petapter import Backbone, Engine, Example, TrainedModule, TrainingOptions
from petapter.joint import JointRun, train_jointly
from petapter.selection import Candidate, cross_validated, grouped_folds
from petapter.training.trainer import EncodedRows, checked_rows, plain_recipe
from petapter_schemas.errors import InputError
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import SENTIMENT, TOPIC

QUICK = TrainingOptions(steps=6, batch_size=4, rank=2, alpha=4.0, adapter_lr=5e-3, head_lr=5e-3)
OTHER = TaskSpec.model_validate({**SENTIMENT.model_dump(), "patterns": ["{mask} news: {text}"]})
ROWS = [
    Example({"text": f"{what} {thing}"}, label)
    for what, label in (("good fine", "pos"), ("bad no", "neg"))
    for thing in ("match", "game", "team", "ball", "market")
]
CANDIDATES = [Candidate("was", SENTIMENT, QUICK), Candidate("news", OTHER, QUICK)]


def test_each_row_is_asked_of_models_that_did_not_see_it(bert: Backbone) -> None:
    folds = grouped_folds(SENTIMENT, ROWS, 5)
    scores = cross_validated(CANDIDATES, ROWS, bert, folds, seeds=2)
    assert scores.log_probabilities.shape == (2, len(ROWS), 2)
    assert not scores.diverged
    torch.testing.assert_close(scores.log_probabilities.exp().sum(dim=-1), torch.ones(2, len(ROWS)))
    out = folds.rows(1)
    seen = [row for number, row in enumerate(ROWS) if number not in out]
    said = torch.zeros(len(out), 2)
    for seed in range(2):
        recipe = plain_recipe(replace(QUICK, seed=seed), bert, len(seen))
        run = JointRun(recipe, EncodedRows(OTHER, seen, checked_rows(OTHER, seen, bert)))
        (module,) = train_jointly([run], bert)
        assert isinstance(module, TrainedModule)
        with Engine(bert) as engine:
            engine.load(module, "here")
            asked = [("here", ROWS[row].fields) for row in out]
            said += engine.score(asked)["here"].log_probabilities / 2
    torch.testing.assert_close(scores.log_probabilities[1, out], said.log_softmax(dim=-1), rtol=0.0, atol=1e-5)


def test_the_choice_is_of_the_candidates(bert: Backbone) -> None:
    scores = cross_validated(CANDIDATES, ROWS, bert, grouped_folds(SENTIMENT, ROWS, 2))
    choice = scores.choice(ROWS)
    assert [standing.name for standing in choice.standings] == ["was", "news"]
    losses = [standing.loss for standing in choice.standings]
    assert losses[choice.chosen] == min(losses)
    gold = torch.tensor([0 if row.label == "pos" else 1 for row in ROWS])
    expected = torch.nn.functional.nll_loss(scores.log_probabilities[0], gold)
    assert losses[0] == pytest.approx(float(expected), abs=1e-6)


def test_a_candidate_that_diverges_is_left_out(bert: Backbone) -> None:
    wild = Candidate("wild", SENTIMENT, replace(QUICK, adapter_lr=1e30))
    scores = cross_validated([wild, *CANDIDATES], ROWS, bert, grouped_folds(SENTIMENT, ROWS, 2))
    assert scores.diverged == ("wild",)
    assert scores.candidates == tuple(CANDIDATES)
    with pytest.raises(InputError, match="every candidate diverged"):
        cross_validated([wild], ROWS, bert, grouped_folds(SENTIMENT, ROWS, 2))


def test_candidates_of_other_labels_are_refused(bert: Backbone) -> None:
    folds = grouped_folds(SENTIMENT, ROWS, 2)
    with pytest.raises(InputError, match="other labels or fields"):
        cross_validated([*CANDIDATES, Candidate("topic", TOPIC, QUICK)], ROWS, bert, folds)
    with pytest.raises(InputError, match="nothing to choose from"):
        cross_validated([], ROWS, bert, folds)
