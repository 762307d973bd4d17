"""What one row of answers looks like, in CSV and in JSON Lines."""

import json
from pathlib import Path

import pytest

from petapter.runtime.answers import Prediction
from petapter.runtime.files.chunks import TextRow
from petapter.runtime.files.layout import Answered, FileModule, Layout
from petapter_schemas.errors import InputError
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import SENTIMENT

MULTI = SENTIMENT.model_copy(update={"type": "multi-label"})


def answered(task: TaskSpec, prediction: Prediction, kept: object = None) -> tuple[Layout, Answered]:
    layout = Layout((FileModule("m", task, "a" * 64),), ("k",))
    return layout, Answered(TextRow(1, {"text": "x"}, (kept,)), {"m": prediction})


def test_module_that_abstains_leaves_label_and_probability_empty() -> None:
    layout, row = answered(SENTIMENT, Prediction("m", None, {"pos": 0.5, "neg": 0.5}, 3))
    assert layout.csv_line(row) == b"1,,,,3,0.5,0.5\n"
    answer = json.loads(layout.json_line(row))["answers"]["m"]
    assert answer == {"label": None, "probability": None, "probabilities": {"pos": 0.5, "neg": 0.5}, "lost_tokens": 3}


def test_multi_label_module_gives_a_list_of_labels() -> None:
    layout, row = answered(MULTI, Prediction("m", "pos", {"pos": 0.9, "neg": 0.8}, 0, ("pos", "neg")))
    assert list(layout.columns()) == ["row", "k", "m.labels", "m.lost_tokens", "m.probability.pos", "m.probability.neg"]
    assert layout.csv_line(row) == b"1,,neg|pos,,0.9,0.8\n"
    assert json.loads(layout.json_line(row))["answers"]["m"]["labels"] == ["pos", "neg"]


@pytest.mark.parametrize(
    ("kept", "cell", "value"),
    [
        ('a "b", c', b'"a ""b"", c"', 'a "b", c'),
        ("a\rb", b'"a\rb"', "a\rb"),
        (7, b"7", 7),
        (True, b"true", True),
        (["a", float("nan")], b'"[""a"", null]"', ["a", None]),
        (Path("x"), b"x", "x"),
        (None, b"", None),
    ],
)
def test_kept_cells_of_any_kind_are_written(kept: object, cell: bytes, value: object) -> None:
    layout, row = answered(SENTIMENT, Prediction("m", "pos", {"pos": 1 / 3, "neg": 2 / 3}, 0, ("pos",)), kept)
    assert layout.csv_line(row) == b"1," + cell + b",pos,0.3333333,,0.3333333,0.6666667\n"
    assert json.loads(layout.json_line(row))["columns"] == {"k": value}


def test_modules_whose_columns_would_mix_are_refused() -> None:
    dotted = SENTIMENT.model_copy(
        update={
            "labels": TaskSpec.model_validate(
                {"labels": {"probability.pos": "great", "neg": "bad"}, "patterns": ["{text} It was {mask}."]}
            ).labels
        }
    )
    layout = Layout((FileModule("m", dotted, "a" * 64), FileModule("m.probability", SENTIMENT, "b" * 64)), ())
    with pytest.raises(InputError, match="twice"):
        layout.columns()
