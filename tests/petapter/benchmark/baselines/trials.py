"""Trials that the tiny backbones can learn, and the parts of a model that must not change."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from petapter import Backbone, Example
from petapter.benchmark.baselines import BASELINES
from petapter.benchmark.methods import Answer, Trial
from petapter_schemas.task import TaskSpec

GOOD = ("great", "good", "fine", "very good")
BAD = ("awful", "bad", "not good", "really bad")
PLACES = ("the game", "a match", "that team", "the ball", "the market")
SENTIMENT = TaskSpec.model_validate(
    {"labels": {"pos": "great", "neg": ["awful", "bad"]}, "patterns": ["{text} It was {mask}.", "{mask} news: {text}"]}
)
TOPIC = TaskSpec.model_validate(
    {
        "fields": ["title", "body"],
        "labels": {"sports": "sports", "world": "world", "money": "business money"},
        "patterns": ["{mask} {mask} news: {title} {body}"],
    }
)
TOPIC_ROWS = (
    Example({"title": "the match", "body": "a goal in the game"}, "sports"),
    Example({"title": "the team", "body": "that ball was in"}, "sports"),
    Example({"title": "all the world", "body": "news of the world"}, "world"),
    Example({"title": "the bank", "body": "price of money"}, "money"),
    Example({"title": "market", "body": "business and price"}, "money"),
)
ROWS = tuple(
    Example({"text": f"{place} was {word}"}, label)
    for place in PLACES
    for label, words in (("pos", GOOD), ("neg", BAD))
    for word in words
)


def sentiment_trial(backbone: Backbone, *, seed: int = 0, unlabelled: bool = False) -> Trial:
    """24 rows to learn from, 8 to answer, and 8 without labels if wanted; all different."""
    free = tuple(row.fields for row in ROWS[24:32]) if unlabelled else ()
    return Trial(SENTIMENT, ROWS[:24], tuple(row.fields for row in ROWS[32:]), backbone, seed, free)


def topic_trial(backbone: Backbone, rows: Sequence[Example] = TOPIC_ROWS) -> Trial:
    """Two fields, three labels, words of two tokens."""
    return Trial(TOPIC, tuple(rows), tuple(row.fields for row in TOPIC_ROWS), backbone, 0)


def answer(name: str, trial: Trial, **options: object) -> Answer:
    return BASELINES[name](**options)(trial)


def accuracy(given: Answer, labels: Sequence[str], task: TaskSpec) -> float:
    """Share of texts whose most probable label is the given one."""
    best = given.log_probabilities.argmax(axis=1).tolist()
    right = [task.label_names[int(i)] == label for i, label in zip(best, labels, strict=True)]
    return right.count(True) / len(right)


def without_label(trial: Trial, label: str) -> Trial:
    return replace(trial, train=tuple(row for row in trial.train if row.label != label))


def bits(backbone: Backbone) -> dict[str, torch.Tensor]:
    """A copy of everything that the resident model holds, by name."""
    return {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
