"""A module with a convex head in its label map says what both say, and is the same when it is opened again."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from petapter import Backbone, Engine, TrainedModule, TrainingOptions, open_module, save_module, train
from petapter.module import ModuleInfo
from petapter.selection import PooledPattern, pattern_pool
from petapter.task.encoding import Fields
from petapter.training.folds import with_calibration
from petapter.tuning.frozen import FrozenPool
from petapter.tuning.heads import with_frozen_head
from petapter.tuning.members import says
from petapter_schemas.manifest import CalibrationSpec
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS

TEXTS: list[Fields] = [{"text": text} for text in ("a goal", "bad price", "the ball was fine and good")]
STILL = TrainingOptions(steps=1, adapter_lr=1e-12, head_lr=1e-12)


@pytest.fixture(scope="module")
def pool(bert: Backbone) -> list[PooledPattern]:
    return list(pattern_pool(SENTIMENT, ["en"], bert).patterns[:2])


@pytest.fixture(scope="module")
def frozen(bert: Backbone, pool: list[PooledPattern]) -> FrozenPool:
    return FrozenPool.read(pool, SENTIMENT, (SENTIMENT_ROWS, TEXTS), bert)


def task_of(pool: list[PooledPattern]) -> TaskSpec:
    return SENTIMENT.model_copy(update={"patterns": tuple(each.pattern for each in pool)})


def said(module: TrainedModule, bert: Backbone) -> Tensor:
    return says({0: module}, TEXTS, bert)[0]


@pytest.mark.parametrize("times", [0.5, 1.0])
def test_module_that_learnt_nothing_says_what_it_and_the_convex_head_say(
    bert: Backbone, pool: list[PooledPattern], frozen: FrozenPool, times: float
) -> None:
    still = train(task_of(pool), SENTIMENT_ROWS, bert, STILL)
    both = with_frozen_head(still, frozen.head([0, 1], range(6)), times, bert)
    alone = frozen.says([0, 1], range(6))[6:].float()
    assert (alone[:, 0] - alone[:, 1]).abs().max() > 0.05
    expected = torch.log_softmax(said(still, bert) + times * alone, dim=-1)
    torch.testing.assert_close(said(both, bert), expected, atol=1e-4, rtol=0)


def test_module_says_the_same_when_it_is_opened_again(
    bert: Backbone, pool: list[PooledPattern], frozen: FrozenPool, tmp_path: Path
) -> None:
    trained = train(task_of(pool), SENTIMENT_ROWS, bert, TrainingOptions(steps=4, batch_size=4, rank=2, alpha=4.0))
    both = with_frozen_head(trained, frozen.head([0, 1], range(6)), 1.0, bert)
    module = with_calibration(both, CalibrationSpec(temperature=1.5), bert)
    save_module(module, tmp_path / "both", ModuleInfo("both", "1.0.0"))
    opened = open_module(tmp_path / "both", bert)
    assert opened.head == module.head
    torch.testing.assert_close(said(opened, bert), said(module, bert), atol=0, rtol=0)
    with Engine(bert) as engine:
        engine.load(opened, "both", check=True)


def test_head_of_some_rows_sees_no_other_label(bert: Backbone, pool: list[PooledPattern], frozen: FrozenPool) -> None:
    turned = [*SENTIMENT_ROWS[:4], *(type(row)(row.fields, "pos") for row in SENTIMENT_ROWS[4:])]
    one = frozen.head([0, 1], range(4))
    other = FrozenPool.read(pool, SENTIMENT, (turned, TEXTS), bert).head([0, 1], range(4))
    for mine, theirs in zip(one.convex.maps, other.convex.maps, strict=True):
        assert torch.equal(mine, theirs)
    assert torch.equal(one.convex.offset, other.convex.offset)
    assert torch.equal(one.prior, other.prior)
