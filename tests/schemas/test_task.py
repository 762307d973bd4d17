import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from petapter_schemas.task import Literally, PatternSpec, Slot, TaskSpec, split_template

_LABELS = {"good": "great", "bad": ["awful", "poor"]}


def _task(**changes: object) -> TaskSpec:
    return TaskSpec.model_validate({"labels": _LABELS, "patterns": "{text} It was {mask}.", **changes})


@pytest.mark.parametrize(
    ("template", "pieces"),
    [
        ("{mask}", (Slot("mask"),)),
        ("{text} It was {mask}.", (Slot("text"), Literally(" It was "), Slot("mask"), Literally("."))),
        ("{mask}{mask}", (Slot("mask"), Slot("mask"))),
        ("{{mask}} {mask}", (Literally("{mask} "), Slot("mask"))),
        ("{{{text}}}", (Literally("{"), Slot("text"), Literally("}"))),
        ("plain", (Literally("plain"),)),
        ("a\n{text}", (Literally("a\n"), Slot("text"))),
        ("", ()),
    ],
)
def test_template_is_split(template: str, pieces: tuple[Literally | Slot, ...]) -> None:
    assert split_template(template) == pieces


@pytest.mark.parametrize(
    "template",
    ["{", "}", "{text", "text}", "{}", "{ text }", "{a-b}", "{0}", "{text!r}", "{text:>10}", "{text.x}", "{text[0]}",
     "{{text}", "{text}}", "{é}", "{a{b}}", "{text\n}"],
)  # fmt: skip
def test_template_with_a_bad_brace_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match="slot"):
        split_template(template)


@given(
    pieces=st.lists(
        st.builds(Slot, st.sampled_from(["text", "mask", "title"]))
        | st.builds(Literally, st.text(alphabet="ab {}\n", min_size=1, max_size=5)),
        max_size=6,
    )
)
def test_template_survives_writing_and_splitting(pieces: list[Literally | Slot]) -> None:
    escaped = [
        f"{{{piece.field}}}" if isinstance(piece, Slot) else piece.text.replace("{", "{{").replace("}", "}}")
        for piece in pieces
    ]
    again = split_template("".join(escaped))
    assert [p for p in again if isinstance(p, Slot)] == [p for p in pieces if isinstance(p, Slot)]
    assert "".join(p.text if isinstance(p, Literally) else "\0" for p in again) == "".join(
        p.text if isinstance(p, Literally) else "\0" for p in pieces
    )


def test_pattern_counts_masks_and_names_fields() -> None:
    pattern = PatternSpec(template="{title} {text} {title}: {mask}{mask}")
    assert (pattern.masks, pattern.fields) == (2, ("title", "text"))


def test_short_forms_become_the_plain_form() -> None:
    plain = TaskSpec.model_validate(
        {
            "labels": [{"name": "good", "words": ["great"]}, {"name": "bad", "words": ["awful", "poor"]}],
            "patterns": [{"template": "{text} It was {mask}."}],
        }
    )
    assert _task() == plain == _task(patterns=["{text} It was {mask}."])


_BROKEN: dict[str, dict[str, object]] = {
    "no mask": {"patterns": "{text}"},
    "no text": {"patterns": "{mask}"},
    "no pattern": {"patterns": []},
    "unknown field": {"patterns": "{title} {mask}"},
    "hidden character in a pattern": {"patterns": "{text}\u200b {mask}"},
    "one label": {"labels": {"good": "great"}},
    "label without words": {"labels": {"good": [], "bad": "awful"}},
    "empty word": {"labels": {"good": "  ", "bad": "awful"}},
    "word twice": {"labels": {"good": ["great", "great "], "bad": "awful"}},
    "word with a line break": {"labels": {"good": "gr\neat", "bad": "awful"}},
    "word with a control character": {"labels": {"good": "gr\x1beat", "bad": "awful"}},
    "word with a bidi mark": {"labels": {"good": "gr\u202eeat", "bad": "awful"}},
    "labels alike": {"labels": {"Good": "great", "good": "fine"}},
    "labels alike but for separators": {"labels": {"not_good": "awful", "not good": "poor"}},
    "label named twice": {"labels": {"good": {"name": "better", "words": "great"}, "bad": "awful"}},
    "label with a hidden character": {"labels": {"go\u200bod": "great", "bad": "awful"}},
    "unknown entry": {"labels": {"good": {"words": "great", "color": "red"}, "bad": "awful"}},
    "field called mask": {"fields": ["text", "mask"]},
    "field called label": {"fields": ["text", "label"]},
    "field twice": {"fields": ["text", "text"]},
    "no field": {"fields": []},
    "field that is no name": {"fields": ["text", "a b"]},
    "unknown type": {"type": "regression"},
    "unknown key": {"colour": "red"},
}


@pytest.mark.parametrize("changes", _BROKEN.values(), ids=_BROKEN)
def test_task_that_cannot_work_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        _task(**changes)


def test_joiners_stay_in_words() -> None:
    assert _task(labels={"want": "می‌خواهم", "not": "👩‍👧"}).labels[0].words == ("می‌خواهم",)
