from collections.abc import Sequence

import pytest

from petapter import Backbone, Example
from petapter.task import Finding, encode_rows, lint_task, task_from_options
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import SENTIMENT, BackboneOf

MULTI = SENTIMENT.model_copy(update={"type": "multi-label"})


def lint(backbone: Backbone, examples: Sequence[Example], task: TaskSpec = SENTIMENT) -> list[Finding]:
    return lint_task(task, backbone.tokenizer, backbone.max_tokens, examples)


def only(found: Sequence[Finding], severity: str) -> str:
    """The message of the one finding there is."""
    assert [finding.severity for finding in found] == [severity], found
    return found[0].message


def rows(*pairs: tuple[str, str]) -> list[Example]:
    return [Example({"text": text}, label) for text, label in pairs]


def labelled(*sets: tuple[str, ...]) -> list[Example]:
    return [Example({"text": f"text {row}"}, labels=labels) for row, labels in enumerate(sets)]


def keeping(keep: str, **windows: object) -> TaskSpec:
    options = {"windows": windows} if windows else {}
    return TaskSpec.model_validate(
        {
            "labels": {"pos": "great", "neg": "bad"},
            "patterns": [{"template": "{text} It was {mask}.", "keep": keep, **options}],
        }
    )


def test_texts_that_differ_in_case_and_blanks_alone_repeat(bert: Backbone) -> None:
    found = lint(bert, rows(("A  good\n game", "pos"), ("bad", "neg"), ("a good game ", "pos")))
    assert only(found, "warning") == "1 of 3 rows repeat a text: drop them"


def test_contradiction_names_two_rows_that_differ(bert: Backbone) -> None:
    found = lint(bert, rows(("b", "neg"), ("a", "pos"), ("a", "pos"), ("A", "neg"), ("c", "pos")))
    assert "1 texts occur with several labels, first in rows 2 and 4: check the rows" in [f.message for f in found]


def test_several_labels_of_one_row_are_no_contradiction(bert: Backbone) -> None:
    assert lint(bert, labelled(("pos", "neg"), ("pos",), ("neg",), ()), MULTI) == []


def test_other_labels_for_the_same_text_contradict(bert: Backbone) -> None:
    examples = [Example({"text": "a"}, labels=labels) for labels in [("pos",), ("pos", "neg")]]
    assert any("first in rows 1 and 2" in finding.message for finding in lint(bert, examples, MULTI))


@pytest.mark.parametrize("text", ["...", "?!", "-", "\u200b \u2026"])
def test_text_that_says_nothing_is_a_warning(bert: Backbone, text: str) -> None:
    found = lint(bert, rows((text, "pos"), ("a bad game", "neg"), ("a good game", "pos")))
    assert "1 texts hold no letter, digit or symbol: drop them" in [finding.message for finding in found]


def test_a_symbol_says_something(backbone_of: BackboneOf) -> None:
    found = lint(
        backbone_of("roberta"), rows(("\U0001f600", "pos"), ("a bad bad bad game", "neg")), task("good", "bad")
    )
    assert not any("hold no letter" in finding.message for finding in found)


def task(*words: str) -> TaskSpec:
    return task_from_options(
        ["{text} It was {mask}."], [f"{name}={word}" for name, word in zip(("pos", "neg"), words, strict=True)]
    )


def test_uneven_labels_are_a_warning(bert: Backbone) -> None:
    pairs = [(f"good {i}", "pos") for i in range(10)] + [("bad 1", "neg"), ("bad 2", "neg")]
    assert only(lint(bert, rows(*pairs)), "warning").startswith("labels are uneven: 10 rows of 'pos', 2 of 'neg'")


def test_a_few_rows_more_are_not_uneven(bert: Backbone) -> None:
    pairs = [(f"good {i}", "pos") for i in range(9)] + [("bad 1", "neg"), ("bad 2", "neg")]
    assert lint(bert, rows(*pairs)) == []


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_weight_that_weighs_nothing_is_an_error(bert: Backbone, weight: float) -> None:
    examples = [Example({"text": "a"}, "pos"), Example({"text": "b"}, "neg", weight)]
    assert only(lint(bert, examples), "error") == f"row 2 has the weight {weight}: weights must be above 0"


def test_equal_weights_are_a_warning(bert: Backbone) -> None:
    examples = [Example({"text": text}, label, 2.0) for text, label in [("a", "pos"), ("b", "neg")]]
    assert "all rows have the weight 2" in only(lint(bert, examples), "warning")


def test_weights_that_differ_are_fine(bert: Backbone) -> None:
    assert lint(bert, [Example({"text": "a"}, "pos", 2.0), Example({"text": "b"}, "neg", 0.5)]) == []


def test_row_of_several_labels_in_a_single_label_task_is_an_error(bert: Backbone) -> None:
    examples = [Example({"text": "a"}, "pos"), Example({"text": "b"}, labels=("pos", "neg"))]
    assert only(lint(bert, examples), "error") == "row 2 has 2 labels: the task is single-label, give one"


def test_row_without_label_in_a_single_label_task_is_an_error(bert: Backbone) -> None:
    examples = [Example({"text": "a"}), Example({"text": "b"}, "pos"), Example({"text": "c"}, "neg")]
    assert only(lint(bert, examples), "error") == "row 1 has 0 labels: the task is single-label, give one"


def test_multi_label_rows_of_one_set_are_an_error(bert: Backbone) -> None:
    found = lint(bert, labelled(("pos",), ("pos",)), MULTI)
    assert found[0] == Finding("error", "all 2 rows have the same labels: add rows with other labels")


def test_label_of_every_multi_label_row_is_a_warning(bert: Backbone) -> None:
    found = lint(bert, labelled(("pos",), ("pos", "neg")), MULTI)
    assert only(found, "warning").startswith("every row has the label 'pos'")


def test_multi_label_task_may_have_fewer_rows_than_labels(bert: Backbone) -> None:
    three = task_from_options(["{text} {mask}"], ["a=great", "b=bad", "c=fine"]).model_copy(
        update={"type": "multi-label"}
    )
    assert lint(bert, labelled(("a", "b"), ("c",)), three) == []


def test_unknown_label_among_several_is_an_error(bert: Backbone) -> None:
    found = lint(bert, labelled(("pos", "meh"), ("neg",)), MULTI)
    assert found[0] == Finding("error", "rows have the label 'meh', which the task lacks: correct or add it")


def test_windows_that_read_everything_are_no_finding(bert: Backbone) -> None:
    found = lint(bert, rows((" ".join(["good"] * 300), "pos"), ("bad", "neg")), keeping("windows"))
    assert found == []


def test_what_falls_between_capped_windows_is_a_warning(bert: Backbone) -> None:
    # 58 tokens of text fit: two windows read 116 of 300
    found = lint(bert, rows((" ".join(["good"] * 300), "pos"), ("bad", "neg")), keeping("windows", at_most=2))
    assert "lose 184 tokens between their windows: 38 % of all tokens are read" in only(found, "warning")


def test_head_and_tail_lose_the_middle(bert: Backbone) -> None:
    found = lint(bert, rows((" ".join(["good"] * 70), "pos"), ("bad", "neg")), keeping("head+tail"))
    assert "lose 12 tokens in the middle" in only(found, "warning")


def test_share_is_never_rounded_up_to_the_whole(bert: Backbone) -> None:
    texts = [(f"good {i}", "pos") for i in range(600)] + [(" ".join(["good"] * 59), "neg")] * 120
    found = lint(bert, rows(*texts[:-119]), keeping("head"))
    assert any("lose 1 tokens at the end: 99 % of all tokens are read" in finding.message for finding in found)


def test_given_encodings_are_used_instead_of_new_ones(bert: Backbone) -> None:
    examples = rows((" ".join(["good"] * 58), "pos"), ("bad", "neg"))
    longer = rows((" ".join(["good"] * 70), "pos"), ("bad", "neg"))
    assert lint(bert, examples) == []
    encoded = encode_rows(SENTIMENT, bert.tokenizer, bert.max_tokens, longer)
    found = lint_task(SENTIMENT, bert.tokenizer, bert.max_tokens, examples, encoded=encoded)
    assert "lose 12 tokens" in only(found, "warning")


def test_text_that_a_pattern_holds_twice_is_not_counted_as_spelled_in_bytes(bert: Backbone) -> None:
    twice = task_from_options(["{text} {text} {mask}"], ["pos=great", "neg=bad"])
    assert lint(bert, rows(("x y z", "pos"), ("x z", "neg")), twice) == []  # one token per character
