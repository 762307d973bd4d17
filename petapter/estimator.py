"""A module as a scikit-learn classifier: what pipelines, searches and cross-validation ask of one.

Follows scikit-learn's conventions for estimators (https://scikit-learn.org/stable/developers/develop.html): parameters
are stored as given, what was learned ends in an underscore, and bad rows are a ValueError.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from threading import RLock
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from petapter.backbone import Backbone
from petapter.estimator_rows import read_labels, read_texts, read_weights
from petapter.module import ModuleInfo, open_module, save_module
from petapter.runtime import Engine
from petapter.task import Example
from petapter.task.encoding import Fields
from petapter.trained import TrainedModule
from petapter.training import PaperOptions, StrongOptions, TrainingOptions, train
from petapter_schemas.errors import BackboneError, EstimatorDataError, InputError, TaskError
from petapter_schemas.manifest import Manifest
from petapter_schemas.messages import first_problem
from petapter_schemas.task import PatternSpec, TaskSpec

logger = logging.getLogger(__name__)

DEFAULT_PATTERN: Final = "{text} It was {mask}."

PatternLike = str | Mapping[str, object] | PatternSpec
"""A template, a pattern as a task file has it, or one that was read."""

Options = StrongOptions | TrainingOptions | PaperOptions

_ALIAS: Final = "estimator"
_MOST_SEEDS: Final = 2**31 - 1
_RUNNING = RLock()
"""Estimators in threads share backbones, and a backbone runs one of them at a time."""


class PETapterClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Few-shot text classification by a pattern, a verbalizer and a small adapter on a frozen masked language model.

    PETapter (Rieger, Ruckdeschel, Wiedemann 2024, arXiv 2412.04975) behind `fit` and `predict`. X is a sequence of
    texts; where the patterns have several text fields, a data frame with those columns, a sequence of mappings, or an
    array [N, F] with the fields in the order of first use. Labels are what `y` holds: strings or numbers.

    Clones share the backbone. One that is given as a directory is loaded once, stays in memory until another is asked
    for, and is left out when the estimator is pickled, fitted or not.

    Attributes:
        classes_: Labels as `y` had them, sorted; columns of `predict_proba` follow them.
        module_: The trained module.
        label_names_: Their names in the module, in the order of `classes_`.
        n_features_in_: Number of text fields.

    Example:
        >>> classifier = PETapterClassifier("backbones/minilm", pattern="{text} It was {mask}.",
        ...                                 verbalizer={"good": "great", "bad": ["terrible", "awful"]})
        >>> classifier.fit(texts, labels).predict(["What a film!"])
    """

    def __init__(  # noqa: PLR0913 (scikit-learn wants every parameter by name)
        self,
        backbone: str | Path | Backbone,
        *,
        pattern: PatternLike | Sequence[PatternLike] = DEFAULT_PATTERN,
        verbalizer: Mapping[Any, object] | None = None,
        preset: str = "strong",
        options: Options | None = None,
        calibrate_folds: int | None = None,
        abstain_error_rate: float | None = None,
        device: str | None = None,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        """Store the parameters; they are checked by `fit`.

        Args:
            backbone: A model directory, or a backbone that is loaded already. Modules record its name: to publish one,
                load the backbone with the name that others know it by.
            pattern: One pattern, or several that train together.
            verbalizer: By label (or its name) a word, several, or {"words": …, "description": …}; None takes the
                labels themselves as words, which numbers cannot be.
            preset: How to train: "strong", "plain" (adapter and head together, always), or "paper" as the paper does.
            options: StrongOptions, TrainingOptions or PaperOptions, as the preset asks; None takes its defaults. The
                seed comes from `random_state`; of the paper's runs it is the one after that number.
            calibrate_folds: Runs by which a module of "plain" or "paper" is calibrated; "strong" calibrates itself.
            abstain_error_rate: As in `train`: the module that is saved abstains, `predict` always answers.
            device: Where a directory is loaded to; None as `Backbone.load`.
            random_state: Seed of the run.
        """
        self.backbone = backbone
        self.pattern = pattern
        self.verbalizer = verbalizer
        self.preset = preset
        self.options = options
        self.calibrate_folds = calibrate_folds
        self.abstain_error_rate = abstain_error_rate
        self.device = device
        self.random_state = random_state

    @classmethod
    def from_module(cls, directory: str | Path, backbone: str | Path | Backbone, *, device: str | None = None) -> Self:
        """Open a module directory as a fitted classifier; its classes are the names of the labels.

        Raises:
            ModuleError: The directory breaks the format or was changed.
            BackboneMismatchError: The module belongs to another backbone.
            InputError: Its texts may have several labels.
        """
        opened = open_module(Path(directory), _resident(backbone, device))
        task = opened.task
        if task.type != "single-label":
            raise InputError(f"{directory} gives a text several labels, which a classifier cannot: ask it by Engine")
        words = {label.name: {"words": label.words, "description": label.description} for label in task.labels}
        estimator = cls(backbone, pattern=list(task.patterns), verbalizer=words, device=device)
        estimator._accept(opened, {name: name for name in task.label_names})
        return estimator

    def fit(
        self,
        X: object,  # noqa: N803 (scikit-learn's name)
        y: object,
        sample_weight: object = None,
        *,
        unlabelled: object = None,
    ) -> Self:
        """Train a module on texts and their labels.

        Args:
            X: Texts, see the class.
            y: Their labels, [N].
            sample_weight: How much each counts, [N]; rows of weight 0 are left out.
            unlabelled: Further texts of the same kind, in any form that X may have; preset "strong" alone uses them.
                `cross_val_score` and searches hand on what `params` holds, whole unless it has as many texts as X.

        Raises:
            EstimatorDataError: Rows, weights or further texts cannot be used; also a ValueError.
            TaskError: A pattern or a word cannot work on the backbone.
            BackboneError: The backbone cannot be had, or an engine has it.
        """
        patterns = _patterns(self.pattern)
        fields = _fields(patterns)
        texts = read_texts(X, fields)
        further = [] if unlabelled is None else read_texts(unlabelled, fields, "unlabelled")
        labels = read_labels(y, len(texts))
        weights = read_weights(sample_weight, len(texts))
        kept = np.flatnonzero(weights > 0).tolist()
        names = _label_names(labels[kept], self.verbalizer)
        task = _task(patterns, names, self.verbalizer)
        named = [names[label] for label in labels[kept].tolist()]
        examples = [Example(texts[row], name, float(weights[row])) for row, name in zip(kept, named, strict=True)]
        with _RUNNING:
            self._accept(self._train(task, examples, further), names)
        return self

    def predict(self, X: object) -> npt.NDArray[Any]:  # noqa: N803 (scikit-learn's name)
        """The most probable label of each text, [N]; calibration thresholds are not applied, nothing is abstained from.

        Raises:
            NotFittedError: `fit` did not run.
            EstimatorDataError: Texts cannot be used; also a ValueError.
        """
        best = self.predict_proba(X).argmax(axis=1)  # [N]
        labels: npt.NDArray[Any] = self.classes_[best]
        return labels

    def predict_proba(self, X: object) -> npt.NDArray[np.float64]:  # noqa: N803 (scikit-learn's name)
        """Probabilities [N, L] in the order of `classes_`.

        Raises:
            NotFittedError: `fit` did not run.
            EstimatorDataError: Texts cannot be used; also a ValueError.
        """
        check_is_fitted(self, "module_")
        texts = read_texts(X, self.module_.task.fields)
        with _RUNNING, Engine(_resident(self.backbone, self.device)) as engine:
            engine.load(self.module_, _ALIAS)
            answers = engine.predict([(_ALIAS, text) for text in texts])
        rows = [[answer.probabilities[name] for name in self.label_names_] for answer in answers]
        values = np.asarray(rows, dtype=np.float64).reshape(len(rows), len(self.label_names_))
        values /= values.sum(axis=1, keepdims=True)  # float32's rounding is too coarse for scikit-learn's checks
        return values

    def save(self, directory: str | Path, info: ModuleInfo) -> Manifest:
        """Write the module as a directory that can be published.

        Raises:
            NotFittedError: `fit` did not run.
            InputError: As `save_module`.
        """
        check_is_fitted(self, "module_")
        return save_module(self.module_, Path(directory), info)

    def __sklearn_clone__(self) -> Self:
        """An unfitted estimator with equal parameters and the same backbone, which is too large to copy."""
        parameters = self.get_params(deep=False)
        copied = {name: clone(value, safe=False) for name, value in parameters.items() if name != "backbone"}
        return type(self)(self.backbone, **copied)

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401 (scikit-learn has no types)
        """Texts instead of numbers."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags

    def _train(self, task: TaskSpec, examples: Sequence[Example], unlabelled: Sequence[Fields]) -> TrainedModule:
        return train(
            task,
            examples,
            _resident(self.backbone, self.device),
            _seeded(self.preset, self.options, _seed(self.random_state)),
            unlabelled=unlabelled,
            calibrate_folds=self.calibrate_folds,
            abstain_error_rate=self.abstain_error_rate,
        )

    def _accept(self, module: TrainedModule, names: Mapping[Any, str]) -> None:
        """Keep what was learned; `names` maps labels to their names in the module."""
        self.classes_ = np.unique(np.asarray(list(names)))
        self.label_names_ = tuple(names[label] for label in self.classes_.tolist())
        self.module_ = module
        self.n_features_in_ = len(module.task.fields)


def _label_names(labels: npt.NDArray[Any], verbalizer: Mapping[Any, object] | None) -> dict[Any, str]:
    """The name of each label; -1 becomes "minus 1", since names that differ in a dash alone count as one.

    Some of scikit-learn's tools, `cross_val_predict` among them, number the labels in sorted order before they call
    `fit`: numbers that the verbalizer does not know, but has as many labels as, are its labels in that order.
    """
    classes = np.unique(labels).tolist()
    if len(classes) < 2:  # noqa: PLR2004 (one class is no choice)
        raise EstimatorDataError(f"y has {len(classes)} class with weight: give rows of at least two classes")
    known = verbalizer or {}
    if classes == list(range(len(known))) and not {_name(key) for key in known} & {_name(label) for label in classes}:
        logger.warning("y holds the numbers 0 to %d: read as the verbalizer's labels in sorted order", classes[-1])
        return dict(enumerate(_name(label) for label in sorted(known)))
    return {label: _name(label) for label in classes}


def _name(label: object) -> str:
    """A label as text; 1.0 is 1."""
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    return f"minus {-label}" if isinstance(label, int | float) and label < 0 else str(label)


def _patterns(given: object) -> tuple[PatternSpec, ...]:
    alone = isinstance(given, str | Mapping | PatternSpec)
    items = [given] if alone else list(given) if isinstance(given, Iterable) else []
    if not items:
        raise TaskError("there is no pattern: write one such as '{text} It was {mask}.'")
    try:
        return tuple(
            item if isinstance(item, PatternSpec)
            else PatternSpec.model_validate({"template": item} if isinstance(item, str) else item)
            for item in items
        )  # fmt: skip
    except ValidationError as error:
        raise TaskError(f"the pattern: {first_problem(error)}") from error


def _task(
    patterns: Sequence[PatternSpec], names: Mapping[Any, str], verbalizer: Mapping[Any, object] | None
) -> TaskSpec:
    words = {name: _words(label, name, verbalizer) for label, name in names.items()}
    try:
        return TaskSpec.model_validate({"fields": list(_fields(patterns)), "labels": words, "patterns": list(patterns)})
    except ValidationError as error:
        raise TaskError(f"the task: {first_problem(error)}") from error


def _words(label: object, name: str, verbalizer: Mapping[Any, object] | None) -> object:
    """What the verbalizer has for a label or its name."""
    if verbalizer is None and isinstance(label, int | float) and not isinstance(label, bool):
        raise TaskError(
            f"label {name!r} is a number, which is no word to predict: give a verbalizer, {{{name}: 'word'}}"
        )
    given = {_name(key): words for key, words in (verbalizer or {name: name}).items()}
    if name not in given:
        raise TaskError(f"the verbalizer has no word for label {name!r}, which occurs in y: add one")
    return given[name]


def _fields(patterns: Sequence[PatternSpec]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for pattern in patterns for name in pattern.fields))


def _seeded(preset: str, given: object, seed: int) -> Options:
    """The options of a preset with the seed of this run."""
    match preset, given:
        case "strong", None | StrongOptions() as options:
            return replace(options or StrongOptions(), seed=seed)
        case "plain", None | TrainingOptions() as options:
            return replace(options or TrainingOptions(), seed=seed)
        case "paper", None | PaperOptions() as options:
            return replace(options or PaperOptions(), run=seed + 1)
        case "strong" | "plain" | "paper", _:
            raise InputError(f"preset {preset!r} has no {type(given).__name__}: give the options of that preset")
        case _:
            raise InputError(f"there is no preset {preset!r}: choose strong, plain or paper")


def _seed(random_state: object) -> int:
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(_MOST_SEEDS))


def _resident(backbone: str | Path | Backbone, device: str | None) -> Backbone:
    if isinstance(backbone, Backbone):
        return backbone
    directory = Path(backbone).expanduser().absolute()
    if not directory.is_dir():
        raise BackboneError(f"{str(backbone)!r} is no directory: give that of a masked language model, or a Backbone")
    with _RUNNING:
        return _load(directory, _state(directory), device)


def _state(directory: Path) -> tuple[tuple[str, int, int], ...]:
    """What changes when the files do."""
    files = [(path.name, path.stat()) for path in sorted(directory.iterdir())]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in files)


@lru_cache(maxsize=1)
def _load(directory: Path, _: tuple[tuple[str, int, int], ...], device: str | None) -> Backbone:
    return Backbone.load(directory, device=device)
