"""What an ensemble takes from labelled rows that no member has seen: the thresholds of its labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from petapter.backbone import Backbone
from petapter.evaluation import fit_thresholds
from petapter.runtime import Engine
from petapter.task import Example
from petapter.trained import TrainedModule

_NAME = "tuned"


def thresholds_on(
    backbone: Backbone,
    members: Mapping[str, Path | TrainedModule],
    weights: Sequence[float] | None,
    rows: Sequence[Example],
) -> tuple[float, ...]:
    """By label, from which probability on a multi-label ensemble gives it (`fit_thresholds`).

    Raises:
        PetapterError: Members or rows do not fit, or an engine has the backbone.
    """
    with Engine(backbone) as engine:
        engine.load_ensemble(members, _NAME, weights)
        said = engine.predict([(_NAME, row.fields) for row in rows])
    probabilities = np.array([list(answer.probabilities.values()) for answer in said])
    gold = np.array([[label in row.labels for label in said[0].probabilities] for row in rows], dtype=np.bool_)
    return tuple(float(limit) for limit in fit_thresholds(probabilities, gold))
