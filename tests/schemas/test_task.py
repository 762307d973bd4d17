import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from petapter_schemas.task import Literally, PatternSpec, Slot, TaskSpec, WindowSpec, split_template

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


def test_class_prior_from_a_mapping_is_in_label_order() -> None:
    task = _task(class_prior={"bad": "0.3", "good": 0.7})  # task files give every number as its text
    assert task.class_prior == (0.7, 0.3)
    assert TaskSpec.model_validate_json(task.model_dump_json(), strict=True) == task


def test_shares_may_be_rounded() -> None:
    assert _task(class_prior=[0.333, 0.6665]).class_prior == (0.333, 0.6665)


def test_shares_of_multi_label_tasks_need_not_add_up() -> None:
    assert _task(type="multi-label", class_prior=[0.9, 0.8]).class_prior == (0.9, 0.8)


@pytest.mark.parametrize(
    ("prior", "complaint"),
    [
        ({"good": 0.7}, "no share for label 'bad': give every label one"),
        ({"good": 0.7, "bad": 0.2, "ugly": 0.1}, "names 'ugly', which is no label"),
        ([0.7, 0.2], "add up to 0.9: they must add up to 1"),
        ([0.7, 0.2, 0.1], "must have one share per label"),
        ([1.0, 0.0], "less than 1"),
        ({"good": "most", "bad": 0.1}, "valid number"),
        ("even", "valid tuple"),
    ],
)
def test_class_prior_that_is_none_is_refused(prior: object, complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        _task(class_prior=prior)


def test_windows_have_defaults_only_where_they_are_kept() -> None:
    windowed = PatternSpec(template="{text} {mask}", keep="windows")
    assert windowed.windowing == WindowSpec(stride=0.5, at_most=16, pool="mean")
    assert PatternSpec(template="{text} {mask}").windowing is None


def test_windows_survive_a_round_trip() -> None:
    task = _task(patterns=[{"template": "{text} {mask}", "keep": "windows", "windows": {"stride": "0.25"}}])
    assert task.patterns[0].windowing == WindowSpec(stride=0.25)
    assert TaskSpec.model_validate_json(task.model_dump_json(), strict=True) == task


@pytest.mark.parametrize("keep", ["head", "tail", "head+tail"])
def test_window_options_without_windows_are_refused(keep: str) -> None:
    with pytest.raises(ValidationError, match=r"write keep: windows"):
        PatternSpec.model_validate({"template": "{text} {mask}", "keep": keep, "windows": {}})


@pytest.mark.parametrize("options", [{"stride": 0}, {"stride": 1.1}, {"at_most": 0}, {"pool": "last"}, {"size": 3}])
def test_window_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        WindowSpec.model_validate(options)
