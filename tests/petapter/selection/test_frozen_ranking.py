"""Patterns are ranked by rows that were left out, or without labels by information and agreement."""

import math
from dataclasses import replace

import pytest
import torch

from petapter import Backbone, Engine, Example, StrongOptions, TrainedModule, train
from petapter.selection import PooledPattern, pattern_pool, rank_by_rows, rank_by_texts
from petapter.selection.frozen_ranking import mean_agreement, mutual_information
from petapter_schemas.errors import BackboneError, DataError, InputError, TaskError
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS, TOPIC, TOPIC_ROWS, BackboneOf

TEXTS = [row.fields for row in SENTIMENT_ROWS]


def pool(task: TaskSpec, backbone: Backbone) -> list[PooledPattern]:
    return list(pattern_pool(task, ["en"], backbone).patterns[:3])


def test_each_row_is_scored_in_each_pattern(bert: Backbone) -> None:
    patterns = pool(TOPIC, bert)
    ranked = rank_by_rows(patterns, TOPIC, TOPIC_ROWS, bert)
    assert ranked.log_probabilities.shape == (3, len(TOPIC_ROWS), 3)
    torch.testing.assert_close(ranked.log_probabilities.exp().sum(dim=-1), torch.ones(3, len(TOPIC_ROWS)).double())
    gold = torch.tensor([TOPIC.label_names.index(row.label) for row in TOPIC_ROWS])
    rows = torch.arange(len(TOPIC_ROWS))
    torch.testing.assert_close(ranked.losses, -ranked.log_probabilities[:, rows, gold])


def test_the_loss_of_a_pattern_is_the_left_out_loss_of_preset_strong(bert: Backbone) -> None:
    patterns = pool(SENTIMENT, bert)
    ranked = rank_by_rows(patterns, SENTIMENT, SENTIMENT_ROWS, bert, unlabelled=TEXTS * 3)
    for each, loss in zip(patterns, ranked.mean_losses.tolist(), strict=True):
        module = train(each.alone(SENTIMENT), SENTIMENT_ROWS, bert, StrongOptions(delta="never"), unlabelled=TEXTS * 3)
        assert module.training.hyperparameters["left_out_loss"] == pytest.approx(loss, abs=1e-5)


def test_the_order_is_that_of_the_losses(bert: Backbone) -> None:
    ranked = rank_by_rows(pool(SENTIMENT, bert), SENTIMENT, SENTIMENT_ROWS, bert)
    losses = ranked.mean_losses.tolist()
    assert [losses[number] for number in ranked.order] == sorted(losses)
    assert ranked.behind_best(ranked.order[0]) == (0.0, 0.0)
    behind, error = ranked.behind_best(ranked.order[-1])
    assert behind == pytest.approx(max(losses) - min(losses), abs=1e-9)
    assert error > 0


def test_several_labels_are_ranked_by_the_mean_loss_of_the_labels(bert: Backbone) -> None:
    task = TaskSpec.model_validate({**SENTIMENT.model_dump(), "type": "multi-label"})
    rows = [Example(row.fields, labels=(row.label,)) for row in SENTIMENT_ROWS]
    ranked = rank_by_rows(pool(task, bert), task, rows, bert)
    assert ranked.losses.shape == (3, len(rows))
    assert bool((ranked.log_probabilities <= 0).all())


def test_each_pattern_is_told_when_it_is_done(bert: Backbone) -> None:
    told: list[tuple[int, int]] = []
    rank_by_texts(pool(SENTIMENT, bert), SENTIMENT, TEXTS, bert, on_pattern=lambda *done: told.append(done))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_information_is_that_of_label_and_text() -> None:
    sure = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    same, unsure = torch.tensor([[0.0, 1.0]] * 4), torch.full((4, 2), 0.5)
    found = mutual_information(torch.stack([sure, same, unsure]).log())
    torch.testing.assert_close(found, torch.tensor([math.log(2), 0.0, 0.0], dtype=torch.float64))


def test_agreement_is_the_share_of_equal_answers_with_each_other_pattern() -> None:
    answers = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 0], [1, 0, 1, 0]])
    said = torch.nn.functional.one_hot(answers).float().log()
    expected = torch.tensor([(3 / 4 + 2 / 4) / 2, (3 / 4 + 3 / 4) / 2, (2 / 4 + 3 / 4) / 2], dtype=torch.float64)
    torch.testing.assert_close(mean_agreement(said), expected)
    assert mean_agreement(said[:1]).tolist() == [1.0]


def test_the_places_by_both_figures_are_added(bert: Backbone) -> None:
    ranked = rank_by_texts(pool(SENTIMENT, bert), SENTIMENT, TEXTS, bert)
    assert ranked.texts == len(TEXTS)
    assert sorted(ranked.order) == [0, 1, 2]
    places = [
        sum(int((values > values[number]).sum()) for values in (ranked.information, ranked.agreement))
        for number in ranked.order
    ]
    assert places == sorted(places)


def test_of_many_texts_as_many_are_read_evenly_spread(bert: Backbone) -> None:
    many = [{"text": "good"}] * 1500 + [{"text": "bad"}] * 1500
    ranked = rank_by_texts(pool(SENTIMENT, bert)[:1], SENTIMENT, many, bert)
    assert ranked.texts == 1000
    first, last = ranked.log_probabilities[0, 0], ranked.log_probabilities[0, -1]
    torch.testing.assert_close(ranked.log_probabilities[0, :500], first.expand(500, 2), rtol=0, atol=1e-5)
    torch.testing.assert_close(ranked.log_probabilities[0, 500:], last.expand(500, 2), rtol=0, atol=1e-5)


def test_what_cannot_be_ranked_is_one_line(bert: Backbone, backbone_of: BackboneOf) -> None:
    patterns = pool(SENTIMENT, bert)
    with pytest.raises(InputError, match="no patterns to rank"):
        rank_by_rows([], SENTIMENT, SENTIMENT_ROWS, bert)
    with pytest.raises(InputError, match="2 to 2000 labelled rows, not 1"):
        rank_by_rows(patterns, SENTIMENT, SENTIMENT_ROWS[:1], bert)
    with pytest.raises(TaskError, match="have the label 'pos'"):
        rank_by_rows(patterns, SENTIMENT, SENTIMENT_ROWS[:2], bert)
    with pytest.raises(DataError, match="no unlabelled texts"):
        rank_by_texts(patterns, SENTIMENT, [], bert)
    with pytest.raises(BackboneError, match="without a masked-LM head"):
        rank_by_texts(patterns, SENTIMENT, TEXTS, backbone_of("encoder"))
    broken = replace(patterns[0], pattern=patterns[0].pattern.model_copy(update={"template": "{text} [MASK] {mask}"}))
    with pytest.raises(TaskError, match="spells out"):
        rank_by_texts([broken], SENTIMENT, TEXTS, bert)


def test_a_backbone_that_an_engine_has_is_refused(bert: Backbone, sentiment: TrainedModule) -> None:
    with Engine(bert) as engine:
        engine.load(sentiment, "other")
        with pytest.raises(BackboneError, match="another Engine"):
            rank_by_texts(pool(SENTIMENT, bert), SENTIMENT, TEXTS, bert)
        with pytest.raises(BackboneError, match="another Engine"):
            rank_by_rows(pool(SENTIMENT, bert), SENTIMENT, SENTIMENT_ROWS, bert)
