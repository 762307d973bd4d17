"""What a manifest says about a training run, whichever preset it was."""

import platform
import resource
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import torch

from petapter.backbone import Backbone
from petapter.task import Example, rows_digest
from petapter_schemas.manifest import TrainingSpec
from petapter_schemas.task import TaskSpec


@dataclass(frozen=True)
class Outcome:
    """What a run measured about itself."""

    steps: int
    seconds: float
    peak_memory_bytes: int


def training_spec(  # noqa: PLR0913 (the fields of a record)
    task: TaskSpec,
    examples: Sequence[Example],
    backbone: Backbone,
    outcome: Outcome,
    *,
    preset: str,
    seed: int,
    hyperparameters: Mapping[str, bool | int | float | str],
) -> TrainingSpec:
    """The manifest's record of a run."""
    counts = Counter(name for example in examples for name in example.label_names)
    return TrainingSpec(
        preset=preset,
        examples_per_class=tuple(counts[name] for name in task.label_names),
        rows_sha256=rows_digest(examples),
        seeds=(seed,),
        steps=outcome.steps,
        seconds=round(outcome.seconds, 3),
        peak_memory_bytes=outcome.peak_memory_bytes,
        hardware=_hardware(backbone),
        libraries={name: version(name) for name in ("torch", "transformers", "peft")},
        hyperparameters=dict(hyperparameters),
    )


def peak_memory_bytes(backbone: Backbone) -> int:
    """Most memory the process, or on a GPU torch, has held so far."""
    if backbone.device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(backbone.device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def _hardware(backbone: Backbone) -> str:
    if backbone.device.type == "cuda":
        return torch.cuda.get_device_name(backbone.device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
