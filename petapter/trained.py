"""The value between training, saving, opening and running: one module in memory, bound to nothing yet."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from petapter.task.verbalizer import Verbalizer
from petapter_schemas.adapter_spec import AdapterSpec
from petapter_schemas.golden import Golden
from petapter_schemas.manifest import BackboneSpec, CalibrationSpec, HeadSpec, TrainingSpec
from petapter_schemas.task import TaskSpec


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

    @property
    def verbalizer(self) -> Verbalizer:
        """Token ids of the label words."""
        return Verbalizer(self.backbone.verbalizer_ids)
