"""What a benchmark asks of a method, and the one place that turns an entry of a grid into a method."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from petapter.backbone import Backbone
from petapter.task import Example
from petapter.task.encoding import Fields
from petapter_schemas.errors import InputError
from petapter_schemas.frozen import Frozen
from petapter_schemas.task import TaskSpec

Options = Mapping[str, object]
"""Options of a method by name, with the types that YAML gives them."""


@dataclass(frozen=True)
class Trial:
    """What a method is given: labelled rows to learn from, and texts without their labels to answer.

    Attributes:
        task: Labels, words and patterns.
        train: The labelled rows of one sample.
        test: Texts to answer, by field. Their labels stay with the runner.
        backbone: The resident backbone; a method leaves it as it was.
        seed: Of everything the method draws; it must draw from no other source.
        unlabelled: Further texts of the same kind, none of them among the test texts.
    """

    task: TaskSpec
    train: tuple[Example, ...]
    test: tuple[Fields, ...]
    backbone: Backbone
    seed: int
    unlabelled: tuple[Fields, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What a method gives back.

    Attributes:
        log_probabilities: float32 [N, L], a distribution over the task's labels for each test text, in their order.
        train_seconds: From the rows to a ready classifier, search included.
        predict_seconds: For all test texts, from text to log-probabilities.
        module_bytes: Size on disk of what has to be kept beside the backbone; None where nothing sensible is kept.
        steps: Optimiser steps; 0 where there is no optimiser.
        details: Anything else worth a line in the results.
    """

    log_probabilities: npt.NDArray[np.float32]
    train_seconds: float
    predict_seconds: float
    module_bytes: int | None
    steps: int
    details: Mapping[str, str | int | float | bool] = field(default_factory=dict)


Method = Callable[[Trial], Answer]
"""A method with its options. One whose answer is the same for every seed has an attribute `uses_seed = False`; one
that has options holds all of them, defaults too, as `options`, and may count changes of its code as `revision`."""

MethodOf = Callable[..., Method]
"""Makes a method from options given by keyword; raises InputError for options it does not know or cannot use."""


def uses_seed(method: Method) -> bool:
    """Whether another seed may give another answer; a deterministic method runs once per sample."""
    return bool(getattr(method, "uses_seed", True))


def decided_by(method: Method) -> dict[str, object]:
    """What a method's answer depends on beside its rows: every option, given or default, and the state of its code."""
    options = getattr(method, "options", {})
    values = options.model_dump(mode="json") if isinstance(options, Frozen) else dict(options)
    return {"options": values, "revision": getattr(method, "revision", 1)}


def method_names() -> tuple[str, ...]:
    """Every name that a grid may use."""
    return tuple(_registered())


def resolve_method(name: str, options: Options) -> Method:
    """Make the method that an entry of a grid names.

    Raises:
        InputError: There is no such method, or it does not take these options.
    """
    registered = _registered()
    if name not in registered:
        raise InputError(f"there is no method {name!r}: choose among {', '.join(sorted(registered))}")
    try:
        return registered[name](**options)
    except TypeError as error:  # Python's own message names the option
        raise InputError(f"method {name!r}: {error}") from error


def _registered() -> dict[str, MethodOf]:
    """Methods by name; imported here, because their files import this one."""
    from petapter.benchmark.baselines import BASELINES  # noqa: PLC0415
    from petapter.benchmark.module_methods import METHODS  # noqa: PLC0415

    return {**METHODS, **BASELINES}
