"""`majority`: the shares of the labels in the training rows, whatever the text says."""

import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from petapter.benchmark.baselines.options import parse_options
from petapter.benchmark.baselines.rows import class_positions, logarithms, row_weights
from petapter.benchmark.methods import Answer, Trial
from petapter_schemas.frozen import Frozen


@dataclass(frozen=True)
class Majority:
    """Answers every text alike: by label (rows + 1) / (N + L), rows counted by their weight; ties go to the first."""

    uses_seed: ClassVar[bool] = False

    def __call__(self, trial: Trial) -> Answer:
        """Count the trial's labels."""
        started = time.perf_counter()
        labels = len(trial.task.label_names)
        counts = np.bincount(class_positions(trial), weights=row_weights(trial), minlength=labels) + 1.0  # [L]
        train_seconds = time.perf_counter() - started
        started = time.perf_counter()
        answers = logarithms(np.tile(counts / counts.sum(), (len(trial.test), 1)))
        return Answer(answers, train_seconds, time.perf_counter() - started, module_bytes=None, steps=0)


def majority(**options: object) -> Majority:
    """`majority` takes no options."""
    parse_options(Frozen, options)
    return Majority()
