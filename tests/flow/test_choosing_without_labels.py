"""On the built-in backbone: sensible patterns rank before nonsense, mined words belong, suggested texts differ."""

from pathlib import Path

import pytest
import torch

from petapter import Backbone, Example, read_examples, read_task
from petapter.selection import PooledPattern, mine_words, rank_by_rows, rank_by_texts, suggest_examples
from petapter.selection.word_reading import read_words
from petapter_schemas.task import PatternSpec, TaskSpec

SNIPS = Path(__file__).parents[2] / "hub_client" / "petapter_hub_client" / "demo" / "data" / "snips"


@pytest.fixture(scope="module")
def backbone(minilm: Path) -> Backbone:
    return Backbone.load(minilm, device="cpu")


@pytest.fixture(scope="module")
def task() -> TaskSpec:
    words = {"GetWeather": "weather", "PlayMusic": "music", "BookRestaurant": "restaurant"}
    return TaskSpec.model_validate({"labels": words, "patterns": ["{text} It is about {mask}."]})


@pytest.fixture(scope="module")
def rows(task: TaskSpec) -> list[Example]:
    every = read_examples(SNIPS / "test.csv", read_task(SNIPS / "task.yaml"))
    return [row for row in every if row.label in task.label_names][:90]


def asked(*templates: str) -> list[PooledPattern]:
    return [PooledPattern(each, PatternSpec(template=each), "own", reads_words_alike=True) for each in templates]


def test_a_sensible_pattern_ranks_before_nonsense_with_and_without_labels(
    backbone: Backbone, task: TaskSpec, rows: list[Example]
) -> None:
    patterns = asked("zebra {mask} of of {text} {text} 17 17", "{text} It is about {mask}.", "{text} qwe {mask} rty")
    assert rank_by_texts(patterns, task, [row.fields for row in rows], backbone).order[0] == 1
    assert rank_by_rows(patterns, task, rows[:12], backbone).order[0] == 1


def test_label_words_alone_answer_better_than_chance(backbone: Backbone, task: TaskSpec, rows: list[Example]) -> None:
    said = read_words(task, [row.fields for row in rows], backbone).log_probabilities.argmax(dim=1)
    gold = torch.tensor([task.label_names.index(row.label) for row in rows])
    assert float((said == gold).float().mean()) > 0.8


def test_words_that_are_tried_belong_to_their_labels(backbone: Backbone, task: TaskSpec, rows: list[Example]) -> None:
    mined = mine_words(task, rows[:30], backbone, unlabelled=[row.fields for row in rows], most=3)
    tried = {label: {each.word for each in mined.tried if each.label == label} for label in task.label_names}
    assert tried["GetWeather"] & {"rain", "storm", "snow", "cold", "temperature", "warm", "cloudy", "forecast"}
    assert tried["PlayMusic"] & {"song", "songs", "album", "tune", "playlist", "sound"}
    assert all(each.nearness > 0 for each in mined.tried)


def test_three_texts_are_of_three_kinds(backbone: Backbone, task: TaskSpec, rows: list[Example]) -> None:
    for asking in (None, task):
        found = suggest_examples([row.fields for row in rows], backbone, task=asking, count=3)
        assert {rows[each.index].label for each in found.texts} == set(task.label_names)
