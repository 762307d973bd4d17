from typing import Any

import pytest

from petapter.adapters import AdapterChoice
from petapter.head import HeadChoice
from petapter.training import TrainingOptions
from petapter_schemas.errors import InputError


def test_steps_grow_with_the_rows_between_80_and_300() -> None:
    assert [TrainingOptions().resolved(rows, 384).steps for rows in (1, 70, 220, 5000)] == [81, 150, 300, 300]


def test_learning_rates_follow_the_width_of_the_backbone() -> None:
    # 0.75 / 384 for minilm, 0.75 / 1024 for a large model
    wide, narrow = TrainingOptions().resolved(10, 1024), TrainingOptions().resolved(10, 384)
    assert (narrow.adapter_lr, narrow.head_lr) == (0.75 / 384, 0.75 / 384)
    assert wide.adapter_lr == 0.75 / 1024


def test_chosen_values_are_kept() -> None:
    options = TrainingOptions(steps=7, adapter_lr=0.01, head_lr=0.02).resolved(1000, 384)
    assert (options.steps, options.adapter_lr, options.head_lr) == (7, 0.01, 0.02)


def test_learning_rate_of_zero_is_a_choice() -> None:
    options = TrainingOptions(adapter_lr=0.0, head_lr=0.0).resolved(10, 384)
    assert (options.adapter_lr, options.head_lr) == (0.0, 0.0)


@pytest.mark.parametrize("wrong", [{"rank": -1}, {"steps": 0}, {"batch_size": 0}, {"alpha": 0.0}])
def test_values_that_make_no_run_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        TrainingOptions(**wrong)


def test_manifest_gets_all_choices_but_seed_and_steps() -> None:
    chosen = TrainingOptions().resolved(10, 384).hyperparameters()
    assert set(chosen) == {
        "rank",
        "alpha",
        "head_init",
        "head_trains",
        "batch_size",
        "adapter_lr",
        "head_lr",
        "warmup",
        "label_smoothing",
        "clip_norm",
        "order",
    }


@pytest.mark.parametrize("nothing", [{"rank": 0}, {"adapter": AdapterChoice(kind="none")}])
def test_run_in_which_nothing_would_train_is_refused(nothing: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="nothing would train: choose an adapter, or a head"):
        TrainingOptions(**nothing, head=HeadChoice("mlm", "none"))
