r"""The bottleneck adapter as a peft method: a small network of two layers after the blocks of a transformer layer.

    A(x) = up(relu(down(x))),  down [H // reduction, H], up [H, H // reduction], both with biases

Houlsby et al. 2019 (arXiv 1902.00751) put one after the attention block and one after the feed-forward block. It reads
the block's output h, after the block's dropout and before the residual r is added:

    houlsby   LayerNorm(r + h + A(h))

Pfeiffer et al. 2021 (arXiv 2005.00247) keep the second alone. It reads what the layer would have given, and its output
goes through the layer's own LayerNorm again (AdapterHub's `pfeiffer`: original_ln_before, original_ln_after and
residual_before_ln):

    pfeiffer  LayerNorm(r + h + A(LayerNorm(r + h)))

So `pfeiffer` wraps the LayerNorm and `houlsby` the last module of a block. ModernBERT normalises before its blocks, so
there both are r + h + A(h).

Down starts at N(0, 0.02) as in AdapterHub, up at zero, so that a new adapter changes nothing, or likewise at random.

Importing this file makes the method known to peft under the type PETAPTER_BOTTLENECK; a module with such an adapter is
opened by `peft.PeftModel.from_pretrained` after `import petapter.adapters`. peft's own `register_peft_method` takes
only names of its closed enum of types. What it does with them is to fill three dictionaries, which are looked up by
the plain text of adapter_config.json; they are filled here likewise.
"""

from dataclasses import dataclass, field
from typing import Any, cast

import torch
from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING, PeftConfig, PeftType
from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import Tensor, nn

from petapter_schemas.adapter_files import PEFT_TYPES

_DOWN_STD = 0.02


@dataclass
class BottleneckConfig(PeftConfig):
    """peft's configuration of a bottleneck adapter.

    Attributes:
        target_modules: Regular expression for the whole names of the wrapped modules.
        reduction: The bottleneck has the backbone's hidden size divided by this, rounded down.
        up_std: Standard deviation of up's weights at the start.
    """

    target_modules: str | None = field(default=None)
    reduction: int = field(default=16)
    up_std: float = field(default=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[no-untyped-call]
        self.peft_type = PEFT_TYPES["bottleneck"]


class _Bottleneck(nn.Module, BaseTunerLayer):
    """A wrapped module that returns [..., H], and the adapters after it by name."""

    adapter_layer_names = ("bottleneck_down", "bottleneck_up")
    other_param_names = ()

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.bottleneck_down = nn.ModuleDict()
        self.bottleneck_up = nn.ModuleDict()
        self._disable_adapters = False
        self.merged_adapters: list[str] = []

    def add(self, name: str, config: BottleneckConfig, hidden_size: int, like: Tensor) -> None:
        """A new adapter on the device and of the dtype of a given tensor."""
        neurons = hidden_size // config.reduction
        down = nn.Linear(hidden_size, neurons, device=like.device, dtype=like.dtype)
        up = nn.Linear(neurons, hidden_size, device=like.device, dtype=like.dtype)
        nn.init.normal_(down.weight, std=_DOWN_STD)
        nn.init.normal_(up.weight, std=config.up_std)
        for bias in (down.bias, up.bias):
            nn.init.zeros_(bias)
        self.bottleneck_down[name], self.bottleneck_up[name] = down, up

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401 (whatever the module takes)
        """What the wrapped module gives, adapted by the active adapters one after the other."""
        result: Tensor = self.base_layer(hidden, *args, **kwargs)
        if self.disable_adapters:
            return result
        for name in self.active_adapters:
            if name in self.bottleneck_down:
                result = self._adapted(name, hidden, result)
        return result

    def _adapted(self, name: str, _hidden: Tensor, result: Tensor) -> Tensor:
        return result + self._adapter(name, result)

    def _adapter(self, name: str, hidden: Tensor) -> Tensor:
        down, up = self.bottleneck_down[name], self.bottleneck_up[name]
        adapted: Tensor = up(torch.relu(down(hidden)))
        return adapted


class _NormBottleneck(_Bottleneck):
    """A wrapped LayerNorm: its input r + h gets what the adapter makes of its output, and goes through it again."""

    def _adapted(self, name: str, hidden: Tensor, result: Tensor) -> Tensor:
        adapted: Tensor = self.base_layer(hidden + self._adapter(name, result))
        return adapted


class BottleneckModel(BaseTuner):
    """peft's tuner of bottleneck adapters; it cannot merge them into the backbone, since they are not linear."""

    prefix = "bottleneck_"
    tuner_layer_cls = _Bottleneck

    def _prepare_adapter_config(self, peft_config: PeftConfig, _model_config: dict[str, Any]) -> PeftConfig:
        return peft_config

    def _create_and_replace(  # noqa: PLR0913, PLR0917 (peft's signature)
        self,
        peft_config: PeftConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,  # noqa: ARG002
        parameter_name: str | None = None,  # noqa: ARG002
    ) -> None:
        config = cast("BottleneckConfig", peft_config)
        if not isinstance(target, _Bottleneck):
            base, target = target, (_NormBottleneck if isinstance(target, nn.LayerNorm) else _Bottleneck)(target)
            target.train(base.training)
            setattr(parent, target_name, target)
        like = next(cast("nn.Module", self.model).parameters())
        target.add(adapter_name, config, int(self.model.config.hidden_size), like)
        target.set_adapter(self.active_adapters, inference_mode=config.inference_mode)
        if adapter_name not in self.active_adapters:
            target.set_requires_grad(adapter_name, requires_grad=False)


_TYPE = cast("PeftType", PEFT_TYPES["bottleneck"])  # as far as a dictionary can tell
PEFT_TYPE_TO_CONFIG_MAPPING[_TYPE] = BottleneckConfig
PEFT_TYPE_TO_TUNER_MAPPING[_TYPE] = BottleneckModel
PEFT_TYPE_TO_PREFIX_MAPPING[_TYPE] = BottleneckModel.prefix
