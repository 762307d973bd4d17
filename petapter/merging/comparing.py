"""Measures a merge or an ensemble beside its members, on the same rows, before anything is saved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from petapter.backbone import Backbone
from petapter.evaluation import Difference, paired_difference
from petapter.module import open_module
from petapter.runtime import Engine, Prediction
from petapter.runtime.answers import Voice, measured, predictions
from petapter.runtime.ensembles import Ensemble, joined
from petapter.scoring import Scores
from petapter.task import Example
from petapter.trained import TrainedModule
from petapter_schemas.errors import DataError, InputError
from petapter_schemas.manifest import EvaluationSpec


@dataclass(frozen=True)
class Together:
    """How members answer as an ensemble; see `Engine.load_ensemble`."""

    weights: Sequence[float] | None = None
    thresholds: Sequence[float] | None = None


@dataclass(frozen=True)
class Comparison:
    """A merge or an ensemble beside its members.

    Attributes:
        metric: The figure that is compared, `accuracy` or, of a multi-label task, `subset_accuracy`.
        figures: All figures by alias, the members in their order and the merge last.
        merged: The alias of the merge.
        right: By alias, of which rows all labels are right.
        best: That of the best member on these rows; that it was chosen on them flatters it.
        difference: The merge less that member, over rows.
    """

    metric: str
    figures: Mapping[str, tuple[EvaluationSpec, ...]]
    right: Mapping[str, tuple[bool, ...]]
    merged: str
    best: str
    difference: Difference

    @property
    def is_worse(self) -> bool:
        """Whether the merge is worse than its best member beyond the interval."""
        return self.difference.interval.high < 0


def compare(
    backbone: Backbone,
    members: Mapping[str, Path | TrainedModule],
    merged: tuple[str, TrainedModule | Together],
    rows: Sequence[Example],
    *,
    name: str,
) -> Comparison:
    """Ask all of them about labelled rows that none was trained or tuned on.

    Args:
        backbone: That of all.
        members: By alias.
        merged: What came of them, with its alias.
        rows: Labelled.
        name: What the rows are called.

    Raises:
        DataError: There are no rows, or a label is not one of the members'.
        InputError: The aliases are not different.
        PetapterError: A member must not be used, or an engine has the backbone.
    """
    alias, made = merged
    if alias in members:
        raise InputError(f"the merge cannot be called {alias!r} like one of its members: choose another name")
    if not rows:
        raise DataError("there are no rows to compare on")
    opened = {each: _opened(module, backbone) for each, module in members.items()}
    ensemble = joined(opened, made.weights, made.thresholds) if isinstance(made, Together) else None
    asked = opened if isinstance(made, Together) else {**opened, alias: made}
    with Engine(backbone) as engine:
        for each, module in asked.items():
            engine.load(module, each)
        voices = {each: engine.voice(each) for each in asked}
        said = engine.predict_all([row.fields for row in rows])
    answers = {each: [of_row[each] for of_row in said] for each in asked}
    if ensemble is not None:
        voices[alias] = ensemble.voice
        answers[alias] = _together(alias, ensemble, [answers[each] for each in opened])
    return _compared(alias, voices, answers, rows, name)


def _together(alias: str, ensemble: Ensemble, said: Sequence[Sequence[Prediction]]) -> list[Prediction]:
    """What an ensemble says of rows, from what each member said of them when it was asked alone."""
    voice = ensemble.voice
    combined = ensemble.combined([_scores(of_member) for of_member in said])
    return predictions(alias, voice.task, voice.calibration, combined)


def _scores(said: Sequence[Prediction]) -> Scores:
    probabilities = torch.tensor([list(answer.probabilities.values()) for answer in said])
    return Scores(probabilities.log(), tuple(answer.lost_tokens for answer in said))


def _compared(
    alias: str,
    voices: Mapping[str, Voice],
    answers: Mapping[str, Sequence[Prediction]],
    rows: Sequence[Example],
    name: str,
) -> Comparison:
    figures = {
        each: measured(voice, [list(a.probabilities.values()) for a in answers[each]], rows, name=name, split="test")
        for each, voice in voices.items()
    }
    single = voices[alias].task.type == "single-label"
    right = {
        each: tuple(_is_right(answer, row, single=single) for answer, row in zip(answers[each], rows, strict=True))
        for each in voices
    }
    best = max((each for each in voices if each != alias), key=lambda each: sum(right[each]))
    metric = "accuracy" if single else "subset_accuracy"
    return Comparison(metric, figures, right, alias, best, paired_difference(right[alias], right[best]))


def _is_right(answer: Prediction, row: Example, *, single: bool) -> bool:
    """Of a single-label task whether the most probable label is right, also where the module would abstain."""
    if single:
        return max(answer.probabilities, key=answer.probabilities.__getitem__) == row.label
    return set(answer.labels) == set(row.labels)


def _opened(module: Path | TrainedModule, backbone: Backbone) -> TrainedModule:
    return open_module(module, backbone) if isinstance(module, Path) else module
