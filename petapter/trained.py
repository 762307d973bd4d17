"""The value between training, saving, opening and running: one module in memory, bound to nothing yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from petapter.task.verbalizer import Verbalizer
from petapter_schemas.adapter_spec import AdapterSpec
from petapter_schemas.errors import InputError
from petapter_schemas.golden import Golden
from petapter_schemas.manifest import BackboneSpec, CalibrationSpec, HeadSpec, TrainingSpec
from petapter_schemas.profile import Profile
from petapter_schemas.task import TaskSpec

_LABEL_BIAS = "labels.bias"
"""The one tensor of head.safetensors that has a row per pattern."""


@dataclass(frozen=True)
class TrainedModule:
    """A module's facts and tensors.

    Attributes:
        task: Labels, words, patterns.
        backbone: What it was trained on.
        adapter: What was added inside the backbone.
        head: How hidden states become scores.
        training: How it came to be.
        calibration: How logits become probabilities, if that was measured.
        golden: Probe texts and what the module says of them.
        adapter_config: peft's configuration as JSON values; None without an adapter.
        adapter_tensors: Adapter weights under peft's names, on the CPU.
        head_tensors: Trained head parts under the names of head.safetensors, on the CPU.
        profile: What the training texts were like, in counts of many; None where it was not made.
    """

    task: TaskSpec
    backbone: BackboneSpec
    adapter: AdapterSpec
    head: HeadSpec
    training: TrainingSpec
    calibration: CalibrationSpec | None
    golden: Golden
    adapter_config: Mapping[str, object] | None
    adapter_tensors: Mapping[str, Tensor]
    head_tensors: Mapping[str, Tensor]
    profile: Profile | None = None

    @property
    def verbalizer(self) -> Verbalizer:
        """Token ids of the label words."""
        return Verbalizer(self.backbone.verbalizer_ids)


def with_patterns(module: TrainedModule, chosen: Sequence[int]) -> TrainedModule:
    """The same module asked in some of its patterns only: its scores are the mean over these.

    To be run, not saved: its golden outputs remain those of all patterns. So do temperature, biases and thresholds,
    which were fitted to all of them; the error rate that abstaining promises is dropped, as nothing vouches for it now.

    Args:
        module: Checked against its backbone before, since the words are read in its first pattern.
        chosen: Numbers of patterns, from 0, each once; their order is kept.

    Raises:
        InputError: There is no such pattern, none is chosen, or one is chosen twice.
    """
    patterns = module.task.patterns
    if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(range(len(patterns))):
        raise InputError(
            f"patterns {list(chosen)} cannot be chosen: the module has {len(patterns)}, numbered from 0; "
            "name some of them, each once"
        )
    tensors = dict(module.head_tensors)
    if _LABEL_BIAS in tensors:  # [P, L]
        tensors[_LABEL_BIAS] = tensors[_LABEL_BIAS][list(chosen)]
    count = sum(tensor.numel() for tensor in tensors.values())
    calibration = module.calibration and module.calibration.model_copy(update={"abstain_error_rate": None})
    return replace(
        module,
        task=module.task.model_copy(update={"patterns": tuple(patterns[number] for number in chosen)}),
        head=module.head.model_copy(update={"parameters": count}),
        calibration=calibration,
        head_tensors=tensors,
    )
