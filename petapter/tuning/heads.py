"""A convex head on frozen features, added to what a trained module says.

Half of the vote is such a head, which errs elsewhere than trained modules do; what a student learns of it by a few rows
is little. It is linear, so a module's label map can say it itself, as the delta of preset `strong` does
(petapter/training/trial.py): it was found on frozen features, and still reads them after so small a training.
"""

from dataclasses import replace

from petapter.backbone import Backbone
from petapter.trained import TrainedModule
from petapter.training.evidence import pool_layers
from petapter.tuning.frozen import FrozenHead


def with_frozen_head(module: TrainedModule, frozen: FrozenHead, times: float, backbone: Backbone) -> TrainedModule:
    """The module, whose logits are from now on its own and so many times those of a convex head.

    Its golden outputs remain those of before: `with_calibration` makes them anew.

    Args:
        module: With a head from the masked LM and without a label map.
        frozen: Of the module's patterns, in their order.
        times: 1 where both are believed alike; for a student of softened targets 1 / temperature, as its own logits
            are fainter by that.
        backbone: That of both.
    """
    convex, spec = frozen.convex, module.head
    weight, bias = convex.raw(frozen.prior, convex.trust)
    tensors = {
        **module.head_tensors,
        "labels.weight": (times * weight).float(),
        "labels.bias": (times * bias).float(),
    }
    head = spec.model_copy(
        update={
            "parts": (*spec.parts, "labels"),
            "reads": "both",
            "pool_layers": pool_layers(backbone.layers),
            "words": spec.words + times * convex.trust,
            "parameters": sum(tensor.numel() for tensor in tensors.values()),
        }
    )
    return replace(module, head=head, head_tensors=tensors)
