"""petapter's own methods: a module is trained, saved, measured on disk, opened again and asked, as a user would."""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, TypeVar, get_type_hints

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from petapter.benchmark.methods import Answer, MethodOf, Trial
from petapter.module import ModuleInfo, save_module
from petapter.runtime import Engine
from petapter.trained import TrainedModule
from petapter.training import REVISIONS, PaperOptions, StrongOptions, TrainingOptions, train, train_paper, train_strong
from petapter_schemas.errors import InputError
from petapter_schemas.messages import first_problem

_ALIAS: Final = "module"
_OF_LORA: Final = ("rank", "alpha")

_Options = TypeVar("_Options", TrainingOptions, PaperOptions, StrongOptions)


@dataclass(frozen=True)
class ModuleMethod:
    """Trains modules one way.

    Attributes:
        train: Makes a module from a trial's rows, with its seed.
        options: All choices but the seed, those left at their defaults too.
        revision: Of the preset's code: the same options gave other modules before it.
    """

    train: Callable[[Trial], TrainedModule]
    options: Mapping[str, object]
    revision: int

    def __call__(self, trial: Trial) -> Answer:
        """Train on the trial's rows and answer its texts."""
        started, cpu_started = time.perf_counter(), time.process_time()
        trained = self.train(trial)
        train_seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
        with tempfile.TemporaryDirectory() as scratch:
            directory = Path(scratch) / _ALIAS
            save_module(trained, directory, ModuleInfo(_ALIAS))
            module_bytes = sum(path.stat().st_size for path in directory.iterdir())
            scores, predict_seconds = _predict(trial, directory)
        return Answer(
            log_probabilities=scores,
            train_seconds=train_seconds,
            predict_seconds=predict_seconds,
            module_bytes=module_bytes,
            steps=trained.training.steps,
            details={**_details(trained), "train_cpu_seconds": round(cpu_seconds, 3)},
        )


def module_method(**options: object) -> ModuleMethod:
    """`module`: every field of TrainingOptions but the seed may be given; an adapter by its kind alone or with more.

    `adapter: ia3` is `adapter: {kind: ia3}`, and `adapter: lora` has the `rank` and `alpha` that stand beside it.

    Raises:
        InputError: An option is unknown or has a wrong value.
    """
    chosen = _chosen(TrainingOptions, _with_adapter(options), given_by_the_grid="seed")
    # the head that is left open has the key that it had when it was never open: where it is not the masked LM's, there
    # is none to be chosen
    decided = _decided(replace(chosen, head_init=chosen.head_init or "mlm"), given_by_the_grid="seed")

    def make(trial: Trial) -> TrainedModule:
        return train(trial.task, trial.train, trial.backbone, replace(chosen, seed=trial.seed))

    return ModuleMethod(make, decided, REVISIONS["plain"])


def paper_method(**options: object) -> ModuleMethod:
    """`paper`: every field of PaperOptions but the run may be given; seed 0 of the grid is the paper's run 1.

    Raises:
        InputError: An option is unknown or has a wrong value.
    """
    chosen = _chosen(PaperOptions, options, given_by_the_grid="run")

    def make(trial: Trial) -> TrainedModule:
        return train_paper(trial.task, trial.train, trial.backbone, replace(chosen, run=trial.seed + 1))

    decided = _decided(chosen, given_by_the_grid="run")
    if chosen.adapter != "ia3":
        del decided["ia3_place"]  # decides nothing then, so runs that know nothing of it are the same
    return ModuleMethod(make, decided, REVISIONS["paper"])


def strong_method(**options: object) -> ModuleMethod:
    """`strong`: every field of StrongOptions but the seed may be given.

    Raises:
        InputError: An option is unknown or has a wrong value.
    """
    chosen = _chosen(StrongOptions, options, given_by_the_grid="seed")

    def make(trial: Trial) -> TrainedModule:
        seeded = replace(chosen, seed=trial.seed)
        return train_strong(trial.task, trial.train, trial.backbone, seeded, unlabelled=trial.unlabelled)

    return ModuleMethod(make, _decided(chosen, given_by_the_grid="seed"), REVISIONS["strong"])


METHODS: Mapping[str, MethodOf] = {"module": module_method, "paper": paper_method, "strong": strong_method}
"""By the name that a grid uses."""


def _with_adapter(options: Mapping[str, object]) -> Mapping[str, object]:
    """Options with the adapter as a mapping, LoRA's rank and alpha within it.

    Raises:
        InputError: Rank or alpha stand beside an adapter that does not take them from there.
    """
    adapter = options.get("adapter")
    if adapter is None:
        return options
    own = {name: options[name] for name in _OF_LORA if name in options}
    if adapter != "lora" and own:
        raise InputError(
            f"option {min(own)!r} belongs to 'adapter: lora' alone: drop it, or write it into '{{kind: lora, …}}'"
        )
    others = {name: value for name, value in options.items() if name not in own}
    return others | {"adapter": {"kind": adapter, **own} if isinstance(adapter, str) else adapter}


def _chosen(kind: type[_Options], options: Mapping[str, object], *, given_by_the_grid: str) -> _Options:
    """Options of a preset from the values of a grid, each checked against its type."""
    hints = get_type_hints(kind)
    known = [field.name for field in fields(kind) if field.name != given_by_the_grid]
    values: dict[str, Any] = {}
    for name, value in options.items():
        if name not in known:
            raise InputError(f"there is no option {name!r}: choose among {', '.join(known)}")
        try:
            values[name] = TypeAdapter(hints[name]).validate_python(value)
        except ValidationError as error:
            raise InputError(f"option {name!r}: {first_problem(error)}") from error
        if isinstance(value, Mapping):
            _check_keys(name, value, values[name])
    return kind(**values)


def _check_keys(name: str, given: Mapping[object, object], made: Any) -> None:  # noqa: ANN401 (any choice)
    """Refuse keys of an option that it does not have; pydantic passes over those of dataclasses."""
    known = [field.name for field in fields(made)]
    if unknown := [key for key in given if key not in known]:
        raise InputError(f"option {name!r} has no {unknown[0]!r}: choose among {', '.join(known)}")


def _decided(chosen: _Options, *, given_by_the_grid: str) -> dict[str, object]:
    """Every choice by name but the one that the grid makes."""
    return {name: value for name, value in asdict(chosen).items() if name != given_by_the_grid}


def _predict(trial: Trial, directory: Path) -> tuple[npt.NDArray[np.float32], float]:
    """Log-probabilities [N, L] of the saved module, and the seconds that answering took."""
    with Engine(trial.backbone) as engine:
        engine.load(directory, _ALIAS)
        started = time.perf_counter()
        predictions = engine.predict([(_ALIAS, text) for text in trial.test])
        seconds = time.perf_counter() - started
    names = trial.task.label_names
    rows = [[prediction.probabilities[name] for name in names] for prediction in predictions]
    smallest = np.finfo(np.float32).tiny  # a probability that float32 rounds to 0
    return np.log(np.maximum(np.asarray(rows, dtype=np.float32), smallest)), seconds


def _details(trained: TrainedModule) -> dict[str, str | int | float | bool]:
    return {
        "adapter": trained.adapter.kind,
        "parameters": trained.adapter.parameters + trained.head.parameters,
        "preset": trained.training.preset,
    }
