from dataclasses import replace

import pytest

from petapter import Backbone, Engine, Example, TrainedModule, TrainingOptions, train
from petapter.merging import Recipe, Together, compare, merge, thresholds_on
from petapter.runtime.stats import EngineStats
from petapter_schemas.errors import DataError, InputError
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS
from tests.petapter.merging.conftest import ModuleOf

ROWS = SENTIMENT_ROWS * 8


@pytest.fixture(scope="module")
def good(bert: Backbone) -> TrainedModule:
    """Right on nearly all of the rows."""
    return train(SENTIMENT, SENTIMENT_ROWS, bert, TrainingOptions(steps=60, rank=0, head_lr=0.05))


@pytest.fixture(scope="module")
def bad(good: TrainedModule) -> TrainedModule:
    """Says the opposite."""
    return replace(good, head_tensors={name: -tensor for name, tensor in good.head_tensors.items()})


def test_a_merge_that_is_worse_is_told(bert: Backbone, good: TrainedModule, bad: TrainedModule) -> None:
    found = compare(bert, {"good": good, "bad": bad}, ("all bad", bad), ROWS, name="rows")
    assert (found.best, found.metric, found.is_worse) == ("good", "accuracy", True)
    accuracy = {alias: figures[0].value for alias, figures in found.figures.items()}
    assert found.difference.mean == pytest.approx(accuracy["all bad"] - accuracy["good"])
    assert list(accuracy) == ["good", "bad", "all bad"]


def test_a_merge_of_one_kind_is_not_worse(bert: Backbone, good: TrainedModule) -> None:
    merged = merge([good, good], bert, Recipe())
    found = compare(bert, {"good": good, "twin": good}, ("merged", merged), ROWS, name="rows")
    assert (found.difference.mean, found.is_worse) == (0.0, False)


def test_an_ensemble_is_measured_as_the_engine_measures_it(bert: Backbone, module_of: ModuleOf) -> None:
    members = {"a": module_of("lora", 0), "b": module_of("ia3", 1)}
    found = compare(bert, members, ("both", Together((0.7, 0.3))), ROWS, name="rows")
    with Engine(bert) as engine:
        engine.load_ensemble(members, "both", (0.7, 0.3))
        engine.load(members["a"], "a")
        for alias in ("both", "a"):
            figures = engine.evaluate(alias, ROWS, name="rows")
            assert [f.value for f in found.figures[alias]] == pytest.approx([f.value for f in figures], abs=1e-5)
            assert [f.seeds for f in found.figures[alias]] == [f.seeds for f in figures]


def test_members_of_an_ensemble_are_loaded_and_asked_once(
    bert: Backbone, good: TrainedModule, bad: TrainedModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[EngineStats] = []
    close = Engine.close

    def counted(engine: Engine) -> None:
        closed.append(engine.stats())
        close(engine)

    monkeypatch.setattr(Engine, "close", counted)
    compare(bert, {"good": good, "bad": bad}, ("both", Together()), ROWS, name="rows")
    (stats,) = closed
    assert (stats.modules, stats.encodings) == (2, 2 * len(ROWS))


def test_multi_label_members_are_compared_by_whole_rows(bert: Backbone) -> None:
    task = TaskSpec.model_validate(SENTIMENT.model_dump() | {"type": "multi-label"})
    rows = [Example(row.fields, labels=(row.label,)) for row in SENTIMENT_ROWS]
    members = {
        str(seed): train(task, rows, bert, TrainingOptions(steps=3, rank=0, head_lr=0.02, seed=seed)) for seed in (0, 1)
    }
    limits = thresholds_on(bert, members, None, rows)
    assert len(limits) == 2
    found = compare(bert, members, ("both", Together(thresholds=limits)), rows, name="rows")
    assert found.metric == "subset_accuracy"
    values = {f.metric: f.value for f in found.figures["both"]}
    assert values["subset_accuracy"] == pytest.approx(sum(found.right["both"]) / len(rows))


def test_what_cannot_be_compared_is_refused(bert: Backbone, good: TrainedModule) -> None:
    with pytest.raises(InputError, match="choose another name"):
        compare(bert, {"good": good}, ("good", good), ROWS, name="rows")
    with pytest.raises(DataError, match="no rows"):
        compare(bert, {"good": good}, ("merged", good), [], name="rows")
