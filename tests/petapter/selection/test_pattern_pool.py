"""Pools of patterns: the own ones first, the grammar in the languages of the texts, nothing twice, nothing broken."""

import pytest

from petapter import Backbone
from petapter.selection import pattern_pool
from petapter.selection.pattern_pool import phrase_patterns, spoken_languages
from petapter.task import lint_task
from petapter_schemas.errors import TaskError
from petapter_schemas.task import PatternSpec, TaskSpec
from tests.petapter.conftest import SENTIMENT, TOPIC, BackboneOf
from tests.petapter.tiny_backbones import ARCHITECTURES


def asked(*patterns: str | dict[str, object]) -> TaskSpec:
    return TaskSpec.model_validate({**SENTIMENT.model_dump(), "patterns": list(patterns)})


def test_own_patterns_come_first_then_languages_in_their_order_then_those_without_words(bert: Backbone) -> None:
    task = asked("{text} It was {mask}.", "{mask} news: {text}")
    pool = pattern_pool(task, ["en", "de"], bert)
    origins = list(dict.fromkeys(each.origin for each in pool.patterns))
    assert origins == ["own", "grammar:en", "grammar:de", "grammar:any"]
    assert [each.pattern for each in pool.patterns[:2]] == list(task.patterns)
    assert [each.name for each in pool.patterns[:2]] == ["own 1", "own 2"]


def test_a_pool_is_the_same_each_time_and_has_each_name_once(bert: Backbone) -> None:
    pool = pattern_pool(SENTIMENT, ["en", "fr"], bert)
    assert pool == pattern_pool(SENTIMENT, ["en", "fr"], bert)
    names = [each.name for each in pool.patterns]
    assert len(set(names)) == len(names) >= 10


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_pattern_of_a_pool_passes_the_lint(name: str, backbone_of: BackboneOf) -> None:
    backbone = backbone_of(name)
    after_texts = {**TOPIC.model_dump(), "patterns": ["{title} {body} It was {mask} {mask}."]}
    for task in (SENTIMENT, TaskSpec.model_validate(after_texts)):
        for each in pattern_pool(task, ["en"], backbone).patterns:
            findings = lint_task(each.alone(task), backbone.tokenizer, backbone.max_tokens)
            assert [finding.message for finding in findings if finding.severity == "error"] == []


def test_the_grammar_writes_all_fields_and_as_many_masks_as_the_own_patterns_have(bert: Backbone) -> None:
    written = [each for each in pattern_pool(TOPIC, ["en"], bert).patterns if each.origin != "own"]
    assert written
    for each in written:
        assert set(each.pattern.fields) == {"title", "body"}
        assert each.pattern.masks == 2


def test_two_fields_are_also_asked_about_between_them(bert: Backbone) -> None:
    templates = [each.pattern.template for each in pattern_pool(TOPIC, [], bert).patterns]
    assert "{title}? {mask} {mask}, {body}" in templates
    assert all("? {mask}" not in each.template for each in phrase_patterns(["a", "b", "c"], 1, []))


def test_long_texts_are_kept_as_in_the_first_own_pattern(bert: Backbone) -> None:
    task = asked({"template": "{text} It was {mask}.", "keep": "windows"}, "{mask} news: {text}")
    kept = {each.pattern.keep for each in pattern_pool(task, ["en"], bert).patterns if each.origin != "own"}
    assert kept == {"windows"}


def test_a_pattern_that_asks_as_another_does_is_dropped_with_its_reason(bert: Backbone) -> None:
    pool = pattern_pool(asked("{text} all in all it was {mask}!", "{text} {mask}"), ["en"], bert)
    reasons = {each.name: each.why for each in pool.dropped}
    assert reasons["en verdict"] == "asks as own 1 does"
    assert reasons["bare"] == "asks as own 2 does"
    assert "en verdict" not in [each.name for each in pool.patterns]


def test_many_masks_or_fields_do_not_make_patterns_alike(bert: Backbone) -> None:
    masks = " ".join(["{mask}"] * 4)
    task = TaskSpec.model_validate({**TOPIC.model_dump(), "patterns": [masks + " news: {title} {body}"]})
    templates = [each.pattern.template for each in pattern_pool(task, [], bert).patterns]
    assert {f"{{title}} {{body}} - {masks}", f"{{title}} {{body}} {masks}"} <= set(templates)


def test_a_pattern_in_which_a_word_takes_more_tokens_than_masks_is_dropped(backbone_of: BackboneOf) -> None:
    pool = pattern_pool(asked("{text} It was {mask}."), ["en"], backbone_of("roberta"))
    reasons = {each.name: each.why for each in pool.dropped}
    assert "tokens but the pattern has 1 mask" in reasons["colon"]  # at the start of a text no space precedes the word


def test_a_pattern_whose_words_the_tokenizer_does_not_know_is_dropped(bert: Backbone) -> None:
    pool = pattern_pool(SENTIMENT, ["es"], bert)
    reasons = {each.name: each.why for each in pool.dropped}
    assert reasons["es asked for the topic"] == "has words that the tokenizer does not know"  # the inverted mark


def test_a_task_that_cannot_work_is_an_error(bert: Backbone) -> None:
    with pytest.raises(TaskError, match="spells out"):
        pattern_pool(asked("{text} [MASK] {mask}"), ["en"], bert)


def test_an_own_pattern_that_cannot_be_asked_alone_is_dropped_with_its_reason(
    bert: Backbone, backbone_of: BackboneOf
) -> None:
    long = pattern_pool(asked("{text} It was {mask}.", "{text} " + "it " * 64 + "{mask}"), [], bert)
    assert (long.dropped[0].name, long.patterns[0].name) == ("own 2", "own 1")
    assert "alone fills the 64 tokens" in long.dropped[0].why
    other = pattern_pool(asked("{text} It was {mask}.", "{mask} news: {text}"), [], backbone_of("roberta"))
    assert "tokens but the pattern has 1 mask" in other.dropped[0].why  # its words are read in the first pattern


def test_a_language_that_the_grammar_does_not_speak_has_punctuation_alone(bert: Backbone) -> None:
    origins = {each.origin for each in pattern_pool(SENTIMENT, ["sw"], bert).patterns}
    assert origins == {"own", "grammar:any"}


def test_regions_and_repetitions_of_a_language_count_once() -> None:
    once = list(phrase_patterns(["text"], 1, ["pt"]))
    assert list(phrase_patterns(["text"], 1, ["pt-BR", "PT"])) == once


def test_every_language_says_something_for_every_frame() -> None:
    assert {"en", "de", "fr", "es", "it", "pt", "nl"} <= set(spoken_languages())
    sizes = {language: sum(1 for _ in phrase_patterns(["text"], 1, [language])) for language in spoken_languages()}
    assert len(set(sizes.values())) == 1
    for phrased in phrase_patterns(["text"], 1, spoken_languages()):
        assert PatternSpec(template=phrased.template).masks == 1
        assert "<" not in phrased.template
