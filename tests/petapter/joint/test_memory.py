"""What training leaves behind."""

import gc
from dataclasses import replace

import pytest
import torch

from petapter.backbone import Backbone
from petapter.joint import JointRun, train_jointly
from petapter.joint.memory import JointPlan
from petapter.joint.passes import Asked, Passes
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS, BackboneOf
from tests.petapter.joint.test_trainer import QUICK, run_of


def sentiment_run(backbone: Backbone, seed: int, steps: int = 6) -> JointRun:
    return run_of(backbone, SENTIMENT, SENTIMENT_ROWS, replace(QUICK, seed=seed, steps=steps))


def _tensors() -> int:
    gc.collect()
    return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())  # isinstance would import for some


def test_training_again_and_again_keeps_no_more_tensors(bert: Backbone) -> None:
    run = sentiment_run(bert, 0, steps=1)
    train_jointly([run], bert)
    before = _tensors()
    train_jointly([run], bert)
    assert _tensors() <= before


@pytest.mark.parametrize("family", ["bert", "deberta-v2"])
def test_the_largest_pass_is_foretold(backbone_of: BackboneOf, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    backbone = backbone_of(family)
    plans: list[JointPlan] = []
    seen: list[int] = []
    losses = Passes.losses

    def watched(passes: Passes, asked: tuple[Asked, ...]) -> torch.Tensor:
        if plans:  # before, one pass is measured
            seen.append(sum(each.drawn.tokens for each in asked))
        return losses(passes, asked)

    monkeypatch.setattr(Passes, "losses", watched)
    train_jointly([sentiment_run(backbone, seed) for seed in range(3)], backbone, on_plan=plans.append)
    assert max(seen) == plans[0].largest < plans[0].tokens


def test_fewer_tokens_a_pass_than_a_step_has_bound_the_largest(bert: Backbone) -> None:
    plans: list[JointPlan] = []
    runs = [sentiment_run(bert, seed) for seed in range(3)]
    train_jointly(runs, bert, on_plan=plans.append)
    whole = plans[0]
    tight = whole.peak_bytes - whole.token_bytes
    train_jointly(runs, bert, memory_bytes=tight, on_plan=plans.append)
    assert plans[1].largest <= plans[1].tokens < whole.tokens
    assert plans[1].peak_bytes <= tight
