from petapter.training.losses import module_losses
from petapter_schemas.manifest import TrainingSpec
from tests.schemas.tiny_module import tiny_manifest


def _training(preset: str, steps: int, own_steps: int | None = None) -> TrainingSpec:
    hyperparameters = {} if own_steps is None else {"steps": own_steps}
    changes = {"preset": preset, "steps": steps, "hyperparameters": hyperparameters}
    return tiny_manifest().training.model_copy(update=changes)


def test_a_short_run_keeps_every_step() -> None:
    points = module_losses(_training("plain", 3), [3.0, 2.0, 1.0])
    assert [(point.step, point.loss) for point in points] == [(1, 3.0), (2, 2.0), (3, 1.0)]


def test_a_long_run_is_thinned_out_to_means() -> None:
    points = module_losses(_training("plain", 200), [float(step) for step in range(200)])
    assert len(points) == 100
    assert [(point.step, point.loss) for point in points[:2]] == [(2, 0.5), (4, 2.5)]
    assert points[-1].step == 200


def test_steps_of_folds_come_after_the_module_and_are_left_out() -> None:
    points = module_losses(_training("plain", 2), [2.0, 1.0, 9.0, 9.0])
    assert [point.loss for point in points] == [2.0, 1.0]


def test_trials_of_strong_come_before_the_module_and_are_left_out() -> None:
    points = module_losses(_training("strong", 4, own_steps=2), [9.0, 9.0, 2.0, 1.0])
    assert [point.loss for point in points] == [2.0, 1.0]


def test_a_module_that_no_step_made_has_none() -> None:
    assert module_losses(_training("strong", 0, own_steps=2), [9.0, 9.0]) == ()
