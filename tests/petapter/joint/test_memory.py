"""What training leaves behind."""

import gc

import torch

from petapter.backbone import Backbone
from petapter.joint import JointRun, train_jointly
from petapter.training.options import TrainingOptions
from petapter.training.trainer import EncodedRows, checked_rows, plain_recipe
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS

QUICK = TrainingOptions(steps=1, batch_size=4, adapter_lr=2e-3, head_lr=2e-3)


def _tensors() -> int:
    gc.collect()
    return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())  # isinstance would import for some


def test_training_again_and_again_keeps_no_more_tensors(bert: Backbone) -> None:
    recipe = plain_recipe(QUICK, bert, len(SENTIMENT_ROWS))
    rows = EncodedRows(SENTIMENT, SENTIMENT_ROWS, checked_rows(SENTIMENT, SENTIMENT_ROWS, bert))
    train_jointly([JointRun(recipe, rows)], bert)
    before = _tensors()
    train_jointly([JointRun(recipe, rows)], bert)
    assert _tensors() <= before
