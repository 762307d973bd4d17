from collections.abc import Sequence

import pytest

from petapter import Backbone, Example
from petapter.task.lint import lint_task
from petapter.task.reading import task_from_options
from petapter_schemas.errors import TaskError
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS, TOPIC, TOPIC_ROWS, BackboneOf
from tests.petapter.tiny_backbones import FAMILIES

IT_WAS = "{text} It was {mask}."


def findings(
    backbone: Backbone, labels: Sequence[str], patterns: Sequence[str] = (IT_WAS,), rows: Sequence[Example] = ()
) -> list[tuple[str, str]]:
    task = task_from_options(patterns, labels)
    found = lint_task(task, backbone.tokenizer, backbone.max_tokens, rows)
    return [(finding.severity, finding.message) for finding in found]


def only(found: list[tuple[str, str]], severity: str) -> str:
    """The message of the one finding there is."""
    assert [kind for kind, _ in found] == [severity], found
    return found[0][1]


def rows(*pairs: tuple[str, str]) -> list[Example]:
    return [Example({"text": text}, label) for text, label in pairs]


@pytest.mark.parametrize("family", FAMILIES)
def test_sound_task_with_sound_rows_has_no_findings(backbone_of: BackboneOf, family: str) -> None:
    tokenizer = backbone_of(family).tokenizer
    task = TaskSpec.model_validate({"labels": {"pos": "great", "neg": "bad"}, "patterns": [IT_WAS]})
    assert lint_task(task, tokenizer, 64, SENTIMENT_ROWS) == []


def test_sound_task_of_two_fields_has_no_findings(bert: Backbone) -> None:
    assert lint_task(TOPIC, bert.tokenizer, bert.max_tokens, TOPIC_ROWS) == []


def test_task_alone_can_be_checked_without_rows(bert: Backbone) -> None:
    assert findings(bert, ["pos=great", "neg=bad"]) == []


def test_same_word_for_two_labels_is_an_error(bert: Backbone) -> None:
    message = only(findings(bert, ["pos=great", "neg=great"]), "error")
    assert "'great' of label 'pos' and 'great' of label 'neg' are the same tokens" in message


def test_words_that_the_tokenizer_reads_alike_are_an_error(bert: Backbone) -> None:
    assert "are the same tokens" in only(findings(bert, ["pos=Great", "neg=great"]), "error")


def test_two_words_of_one_label_with_the_same_tokens_are_an_error(bert: Backbone) -> None:
    assert "are the same tokens" in only(findings(bert, ["pos=Great,great", "neg=bad"]), "error")


def test_word_longer_than_the_masks_is_an_error(bert: Backbone) -> None:
    message = only(findings(bert, ["pos=very good", "neg=bad"]), "error")
    assert "'very good' of label 'pos' is 2 tokens but the pattern has 1 mask: add a mask" in message


def test_word_must_fit_the_pattern_with_the_fewest_masks(bert: Backbone) -> None:
    patterns = ["{text} {mask} {mask}", IT_WAS]
    assert "has 1 mask:" in only(findings(bert, ["pos=very good", "neg=bad"], patterns), "error")


def test_word_that_fits_over_several_masks_is_fine(bert: Backbone) -> None:
    assert findings(bert, ["pos=very good", "neg=bad"], ["{text} {mask} {mask}"]) == []


def test_unknown_word_is_an_error(bert: Backbone) -> None:
    message = only(findings(bert, ["pos=\u4e2d", "neg=bad"]), "error")
    assert "'\u4e2d' of label 'pos' is unknown to the tokenizer" in message


def test_word_that_the_tokenizer_drops_is_an_error(bert: Backbone) -> None:
    # U+0301 alone is an accent, which the BERT normaliser strips
    assert "is unknown to the tokenizer" in only(findings(bert, ["pos=\u0301", "neg=bad"]), "error")


@pytest.mark.parametrize("word", ["[MASK]", "[SEP]", "[PAD]"])
def test_special_token_as_a_word_is_an_error(bert: Backbone, word: str) -> None:
    assert f"{word!r} of label 'pos'" in only(findings(bert, [f"pos={word}", "neg=bad"]), "error")


def test_separator_of_another_tokenizer_is_an_error(bert: Backbone) -> None:
    message = only(findings(bert, ["pos=great", "neg=bad"], ["{text} </s> It was {mask}."]), "error")
    assert "'</s>'" in message
    assert "its separator is '[SEP]'" in message


def test_bert_separator_on_a_byte_level_tokenizer_is_an_error(backbone_of: BackboneOf) -> None:
    found = findings(backbone_of("roberta"), ["pos=great", "neg=good"], ["{text} [SEP] It was {mask}."])
    assert "its separator is '</s>'" in only(found, "error")


def test_own_separator_is_fine(bert: Backbone) -> None:
    assert findings(bert, ["pos=great", "neg=bad"], ["{text} [SEP] It was {mask}."]) == []


@pytest.mark.parametrize("spelled", ["[MASK]", "<mask>"])
def test_spelled_out_mask_in_a_pattern_is_an_error(bert: Backbone, spelled: str) -> None:
    found = findings(bert, ["pos=great", "neg=bad"], [f"{spelled} {IT_WAS}"])
    assert f"spells out {spelled!r}: write {{mask}} instead" in only(found, "error")


def test_word_that_reads_otherwise_in_a_later_pattern_is_a_warning(backbone_of: BackboneOf) -> None:
    patterns = [IT_WAS, "{mask} news: {text}"]
    found = findings(backbone_of("roberta"), ["pos=great", "neg=good"], patterns)
    assert [kind for kind, _ in found] == ["warning", "warning"]
    assert "'great' reads as other tokens in pattern '{mask} news: {text}'" in found[0][1]


def test_rows_of_one_class_are_an_error(bert: Backbone) -> None:
    found = findings(bert, ["pos=great", "neg=bad"], rows=rows(("a", "pos"), ("b", "pos")))
    assert ("error", "all 2 rows have the label 'pos': add rows of other labels") in found


def test_fewer_rows_than_labels_are_an_error(bert: Backbone) -> None:
    found = findings(bert, ["pos=great", "neg=bad", "mid=fine"], rows=rows(("a", "pos"), ("b", "neg")))
    assert [message for kind, message in found if kind == "error"] == [
        "2 rows are fewer than the 3 labels: give at least one row a label"
    ]


def test_label_without_rows_is_a_warning(bert: Backbone) -> None:
    found = findings(bert, ["pos=great", "neg=bad", "mid=fine"], rows=rows(("a", "pos"), ("b", "neg"), ("c", "neg")))
    assert only(found, "warning") == "no row for label 'mid': only its words speak for it"


def test_repeated_row_is_a_warning(bert: Backbone) -> None:
    found = findings(bert, ["pos=great", "neg=bad"], rows=rows(("a", "pos"), ("b", "neg"), ("a", "pos")))
    assert only(found, "warning") == "1 of 3 rows repeat a text: drop them"


def test_contradictory_rows_are_a_warning(bert: Backbone) -> None:
    found = findings(bert, ["pos=great", "neg=bad"], rows=rows(("a", "pos"), ("b", "neg"), ("a", "neg")))
    assert ("warning", "1 texts occur with several labels, first in rows 1 and 3: check the rows") in found


def test_texts_that_lose_tokens_are_a_warning_with_their_number(bert: Backbone) -> None:
    # [CLS] it was [MASK] . [SEP] leaves 58 of 64 positions
    long = " ".join(["good"] * 70)
    found = findings(bert, ["pos=great", "neg=bad"], rows=rows((long, "pos"), ("b", "neg")))
    message = only(found, "warning")
    assert message.startswith("1 of 2 texts are longer than 64 tokens")
    # 71 tokens in all, and 58 of the long text's 70
    assert "lose 12 tokens at the end: 83 % of all tokens are read, of one text only 82 %" in message


@pytest.mark.parametrize("keep", ["head", "tail", "head+tail"])
def test_warning_of_lost_tokens_names_the_remedy(bert: Backbone, keep: str) -> None:
    task = SENTIMENT.model_copy(update={"patterns": (SENTIMENT.patterns[0].model_copy(update={"keep": keep}),)})
    texts = rows((" ".join(["good"] * 70), "pos"), ("b", "neg"))
    (finding,) = lint_task(task, bert.tokenizer, bert.max_tokens, texts)
    assert finding.message.endswith("; preset strong chooses by validation what is kept where --keep auto asks for it")


def test_lost_tokens_are_reported_at_the_end_that_goes(bert: Backbone) -> None:
    task = SENTIMENT.model_copy(update={"patterns": (SENTIMENT.patterns[0].model_copy(update={"keep": "tail"}),)})
    texts = rows((" ".join(["good"] * 70), "pos"), ("b", "neg"))
    (finding,) = lint_task(task, bert.tokenizer, bert.max_tokens, texts)
    assert "lose 12 tokens at the start:" in finding.message


def test_spelled_out_special_token_in_a_text_is_a_warning(bert: Backbone) -> None:
    found = findings(bert, ["pos=great", "neg=bad"], rows=rows(("a [MASK]", "pos"), ("b", "neg")))
    assert only(found, "warning") == "texts spell out '[MASK]': read as ordinary characters"


def test_pattern_too_long_for_the_backbone_is_refused(bert: Backbone) -> None:
    with pytest.raises(TaskError, match="alone fills the 64 tokens"):
        findings(bert, ["pos=great", "neg=bad"], [f"{{text}} {'it ' * 70} {{mask}}"], rows(("a", "pos"), ("b", "neg")))


def test_errors_come_before_warnings(bert: Backbone) -> None:
    found = findings(bert, ["pos=great", "neg=great", "mid=fine"], rows=rows(("a", "pos"), ("a", "neg"), ("c", "neg")))
    assert [kind for kind, _ in found] == sorted(kind for kind, _ in found)
