"""Asks a module about texts of a later day and compares them with the profile of its training texts."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from petapter.backbone import Backbone
from petapter.evaluation.drift import DriftReport, compare_with
from petapter.evaluation.profile import Given, TopAnswers, text_features
from petapter.module import open_module
from petapter.runtime import Engine
from petapter.trained import TrainedModule
from petapter_schemas.errors import InputError

MOST_TEXTS = 20_000
"""More texts are not compared: what a module of a hundred training texts can tell apart is told by far fewer."""


def drift(
    backbone: Backbone,
    module: Path | TrainedModule,
    texts: Sequence[Mapping[str, str]],
    *,
    alpha: float = 0.01,
    seed: int = 0,
) -> DriftReport:
    """Whether new texts differ from those a module was trained on, and how often it may be right on them.

    Args:
        backbone: That of the module; no engine has it.
        module: Its directory, or itself.
        texts: New texts, each with the task's fields; of more than MOST_TEXTS, as many are drawn at random.
        alpha: How often an unchanged stream of texts may raise an alarm.
        seed: Of the draw and of the comparison.

    Raises:
        InputError: The module has no profile, or a text lacks a field.
        DataError: There are too few texts, or `alpha` is no share.
        PetapterError: The module must not be used or does not fit the backbone.
    """
    trained = open_module(module, backbone) if isinstance(module, Path) else module
    if trained.profile is None:
        raise InputError(
            "the module has no profile of its training texts (profile.json): it was merged, trained with --no-profile, "
            "on fewer than 5 texts or by an older petapter; train it again"
        )
    if len(texts) > MOST_TEXTS:
        drawn = np.random.default_rng(seed).choice(len(texts), MOST_TEXTS, replace=False)
        texts = [texts[index] for index in sorted(drawn.tolist())]
    texts = [{field: text[field] for field in trained.task.fields} for text in texts]
    features = text_features(backbone.tokenizer, texts)
    answers: TopAnswers | Given | None = None
    if trained.profile.answers is not None:
        answers = _answers(backbone, trained, texts)
    elif trained.profile.rates is not None:
        answers = _given(backbone, trained, texts)
    return compare_with(trained.profile, features, answers, trained.task.label_names, alpha=alpha, seed=seed)


def _given(backbone: Backbone, module: TrainedModule, texts: Sequence[Mapping[str, str]]) -> Given:
    with Engine(backbone) as engine:
        engine.load(module, "module")
        said = engine.predict([("module", text) for text in texts])
    return np.array([[name in answer.labels for name in module.task.label_names] for answer in said], dtype=np.bool_)


def _answers(backbone: Backbone, module: TrainedModule, texts: Sequence[Mapping[str, str]]) -> TopAnswers:
    names = module.task.label_names
    with Engine(backbone) as engine:
        engine.load(module, "module")
        said = engine.predict([("module", text) for text in texts])
    probabilities = np.array([[answer.probabilities[name] for name in names] for answer in said])
    return TopAnswers(probabilities.argmax(axis=1), probabilities.max(axis=1))
