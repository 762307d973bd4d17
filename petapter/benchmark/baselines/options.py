"""Reads the options of a baseline, and how the ones that are trained by steps are optimised."""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import Field, ValidationError

from petapter_schemas.errors import InputError
from petapter_schemas.frozen import Frozen
from petapter_schemas.messages import first_problem

_Options = TypeVar("_Options", bound=Frozen)


class Optimisation(Frozen):
    """How a baseline is trained: AdamW, its rate linearly up over the warm-up and then down to 0.

    Attributes:
        lr: Peak learning rate.
        weight_decay: Of matrices; biases and norms never decay.
        warmup: Share of the steps in which the rate rises.
        epochs: How often every row is read.
        steps: Optimiser steps instead of epochs.
        batch_size: Rows per step.
        clip_norm: Largest norm of the gradient.
    """

    lr: float = Field(default=2e-5, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: float = Field(default=0.1, ge=0, le=1)
    epochs: int = Field(default=30, ge=1)
    steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=8, ge=1)
    clip_norm: float = Field(default=1.0, gt=0)

    def steps_for(self, rows: int) -> int:
        """Steps that a number of rows takes."""
        return self.steps or self.epochs * -(-rows // self.batch_size)


def parse_options(kind: type[_Options], values: Mapping[str, object]) -> _Options:
    """Check the options of a baseline.

    Raises:
        InputError: An option is unknown or has a wrong value.
    """
    known = list(kind.model_fields)
    for name in values:
        if name not in known:
            raise InputError(f"there is no option {name!r}: choose among {', '.join(known) or 'none'}")
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise InputError(f"option {first_problem(error)}") from error
