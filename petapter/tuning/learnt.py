"""What students have learnt: what they say of rows left out, and the module of all rows with its probabilities.

A second student may begin where a module of another task ended. Whether that stays is for the rows to say: it stands
beside the others, and the choice among them pays for itself (petapter/selection/choosing.py).
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from petapter.backbone import Backbone
from petapter.joint import JointRun
from petapter.scoring import calibrated
from petapter.trained import TrainedModule
from petapter.training.evidence import targets_of
from petapter.training.folds import with_calibration
from petapter.training.options import ADAPTER_LR, STARTED_FROM
from petapter.training.profiling import LeftOut, profile_rows
from petapter.training.record import Outcome, peak_memory_bytes, training_spec
from petapter.training.trainer import plain_recipe
from petapter.training.warm_start import AdapterStart
from petapter.tuning.members import Asked
from petapter.tuning.options import TuneOptions
from petapter.tuning.outcome import DISTILLED
from petapter_schemas.manifest import CalibrationSpec


@dataclass(frozen=True)
class Learnt:
    """Students of one kind.

    Attributes:
        name: DISTILLED or TRANSFERRED.
        module: The student of all rows, not yet calibrated.
        left_out: Logits [N, L] of rows by students that had not seen them.
        calibration: By these.
    """

    name: str
    module: TrainedModule
    left_out: Tensor
    calibration: CalibrationSpec

    @property
    def said(self) -> Tensor:
        """Log-probabilities of the rows, [N, L]."""
        return torch.log_softmax(calibrated(self.left_out, self.calibration), dim=-1)


def begun_at(run: JointRun, start: AdapterStart, backbone: Backbone) -> JointRun:
    """The same run with another adapter, which begins with given weights."""
    options = run.recipe.options
    rate = ADAPTER_LR.get(start.choice.kind, options.adapter_lr)
    recipe = plain_recipe(replace(options, adapter=start.choice, adapter_lr=rate), backbone, len(run.rows.examples))
    facts = {**recipe.hyperparameters, STARTED_FROM: start.sha256}
    return replace(run, recipe=replace(recipe, start=start.tensors, hyperparameters=facts))


def dressed(learnt: Learnt, asked: Asked, options: TuneOptions, backbone: Backbone, seconds: float) -> TrainedModule:
    """The student of all rows with its probabilities, and a record that names the labelled rows alone."""
    student = learnt.module
    record = training_spec(
        asked.task,
        asked.examples,
        backbone,
        Outcome(student.training.steps, seconds, peak_memory_bytes(backbone)),
        preset=DISTILLED,
        seed=0,
        hyperparameters=student.training.hyperparameters
        | options.identity()
        | {"pool": len(asked.patterns), "unlabelled_texts": len(asked.unlabelled)},
    )
    seen = LeftOut(learnt.left_out, targets_of(asked.task, asked.examples), learnt.calibration)
    profile = profile_rows(asked.task, asked.examples, backbone, seen)
    return replace(with_calibration(student, learnt.calibration, backbone), training=record, profile=profile)
