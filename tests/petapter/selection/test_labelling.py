"""Texts to label next: typical, unlike one another and what is labelled, of every label, and the same each time."""

from collections.abc import Iterable

import pytest

from petapter import Backbone, Engine, Example, TrainedModule
from petapter.selection import suggest_examples
from petapter.selection.labelling import SuggestedTexts
from petapter.selection.word_reading import read_words
from petapter_schemas.errors import BackboneError, DataError, InputError, TaskError
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import SENTIMENT, TOPIC, TOPIC_ROWS, BackboneOf
from tests.petapter.tiny_backbones import ARCHITECTURES, HEADLESS

SPORT = [f"the {a} {b} game" for a in ("match", "team", "ball") for b in ("match", "goal", "play", "team")]
MONEY = [f"a {a} price of {b} business in bank" for a in ("market", "money") for b in ("market", "money", "world")]
QUESTIONS = [f"question {a} answer {b} topic" for a in ("yes", "no", "maybe") for b in ("yes", "no")]
TEXTS = [{"text": text} for text in (*SPORT, *MONEY, *QUESTIONS)]


def texts_of(found: SuggestedTexts, texts: list[dict[str, str]] = TEXTS) -> list[str]:
    return [texts[each.index]["text"] for each in found.texts]


def kinds(found: Iterable[str]) -> set[str]:
    return {"sport" if text in SPORT else "money" if text in MONEY else "question" for text in found}


@pytest.mark.parametrize("name", [*ARCHITECTURES, *HEADLESS])
def test_different_texts_are_named_on_every_architecture(name: str, backbone_of: BackboneOf) -> None:
    found = suggest_examples(TEXTS, backbone_of(name), count=5)
    assert len({each.index for each in found.texts}) == 5
    assert all(each.guess is None for each in found.texts)
    assert sum(each.stands_for for each in found.texts) == len(TEXTS)


def test_each_kind_of_text_is_represented_before_any_is_twice(bert: Backbone) -> None:
    assert kinds(texts_of(suggest_examples(TEXTS, bert, count=3))) == {"sport", "money", "question"}


def test_the_largest_groups_come_first_where_labels_are_unknown(bert: Backbone) -> None:
    sizes = [each.stands_for for each in suggest_examples(TEXTS, bert, count=6).texts]
    assert sizes == sorted(sizes, reverse=True)


def test_what_is_labelled_is_not_named_again_nor_what_is_like_it(bert: Backbone) -> None:
    labelled = [Example({"text": text}, "pos") for text in (*SPORT, *QUESTIONS[:3])]
    found = suggest_examples(TEXTS, bert, labelled=labelled, count=2)
    assert not set(texts_of(found)) & {row.fields["text"] for row in labelled}
    assert kinds(texts_of(found)) == {"money"}
    assert found.repeated == len(labelled)


def test_near_repetitions_are_named_once(bert: Backbone) -> None:
    repeated = [{"text": f"The match, the goal and the game in the world{end}"} for end in ("", "!", " .", "?")]
    found = suggest_examples([*repeated, {"text": "a price of money"}], bert, count=5)
    assert sorted(each.index for each in found.texts) == [0, 4]
    assert found.repeated == 3


def test_label_words_make_the_guesses_where_nothing_is_labelled(bert: Backbone) -> None:
    found = suggest_examples(TEXTS, bert, task=SENTIMENT, count=8)
    said = read_words(SENTIMENT, TEXTS, bert).log_probabilities.argmax(dim=1).tolist()
    assert [each.guess for each in found.texts] == [SENTIMENT.label_names[said[each.index]] for each in found.texts]


def test_labels_with_the_fewest_texts_so_far_come_first(backbone_of: BackboneOf) -> None:
    labelled = [Example({"text": text}, "pos") for text in SPORT[:2]]
    labelled += [Example({"text": text}, "neg") for text in (*MONEY[:4], *QUESTIONS[:4])]
    found = suggest_examples(TEXTS, backbone_of("encoder"), task=SENTIMENT, labelled=labelled, count=14)
    guesses = [each.guess for each in found.texts]
    assert guesses[:6] == ["pos"] * 6  # two of the one label and eight of the other are labelled
    assert "neg" in guesses


def test_rows_of_two_labels_make_the_guesses(backbone_of: BackboneOf) -> None:
    backbone = backbone_of("encoder")  # whose label words say nothing
    assert {each.guess for each in suggest_examples(TEXTS, backbone, task=SENTIMENT, count=4).texts} == {None}
    labelled = [Example({"text": text}, "pos") for text in SPORT[:4]]
    labelled += [Example({"text": text}, "neg") for text in (*MONEY[:4], *QUESTIONS[:4])]
    found = suggest_examples(TEXTS, backbone, task=SENTIMENT, labelled=labelled, count=4)
    right = ["pos" if text in SPORT else "neg" for text in texts_of(found)]
    assert [each.guess for each in found.texts] == right


def test_several_text_fields_are_read_with_and_without_labels(bert: Backbone) -> None:
    texts = [row.fields for row in TOPIC_ROWS]
    assert len(suggest_examples(texts, bert, count=3).texts) == 3
    assert {each.guess for each in suggest_examples(texts, bert, task=TOPIC, count=6).texts} <= set(TOPIC.label_names)


@pytest.mark.parametrize("task", [None, SENTIMENT])
def test_the_same_seed_names_the_same_texts(task: TaskSpec | None, bert: Backbone) -> None:
    once, again = (suggest_examples(TEXTS, bert, task=task, count=6, seed=5) for _ in range(2))
    assert once == again


def test_fewer_texts_than_wanted_are_all_named(bert: Backbone) -> None:
    assert len(suggest_examples(TEXTS[:4], bert, count=10).texts) == 4


def test_reading_is_told(bert: Backbone) -> None:
    told: list[tuple[int, int]] = []
    suggest_examples(TEXTS, bert, count=2, on_read=lambda *done: told.append(done))
    assert told == [(len(TEXTS), len(TEXTS))]


def test_what_cannot_be_suggested_is_one_line(bert: Backbone, backbone_of: BackboneOf) -> None:
    with pytest.raises(DataError, match="every text nearly repeats"):
        suggest_examples([], bert)
    with pytest.raises(DataError, match="every text nearly repeats"):
        suggest_examples(TEXTS[:1], bert, labelled=[Example(TEXTS[0])])
    several = TaskSpec.model_validate({**SENTIMENT.model_dump(), "type": "multi-label"})
    with pytest.raises(InputError, match="multi-label"):
        suggest_examples(TEXTS, bert, task=several)
    with pytest.raises(InputError, match="more than can be compared"):
        suggest_examples(TEXTS * 1000, bert)
    long = TaskSpec.model_validate({**SENTIMENT.model_dump(), "labels": {"pos": "great news", "neg": "bad"}})
    with pytest.raises(TaskError, match="2 tokens but the pattern has 1 mask"):
        suggest_examples(TEXTS, bert, task=long)


def test_a_backbone_that_an_engine_has_is_refused(bert: Backbone, sentiment: TrainedModule) -> None:
    with Engine(bert) as engine:
        engine.load(sentiment, "other")
        with pytest.raises(BackboneError, match="another Engine"):
            suggest_examples(TEXTS, bert)
