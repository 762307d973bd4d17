"""The dropout layers of a model while many modules train in it: each module draws for its own tokens.

See petapter/runtime/thinning.py. Attention asks for its dropout by the rate that transformers gives to layers which
train.
"""

from collections.abc import Iterable
from functools import partial

from torch import Tensor, nn

from petapter.runtime.packed import running


class DropoutLayers:
    """The dropout of some layers of a model, which draws as the pass that runs says, until `close`."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        """Take over what drops inside these modules, and let them know that they train."""
        self._layers = list(layers)
        self._taken: list[nn.Module] = []
        for layer in self._layers:
            layer.train()
            for module in layer.modules():
                if isinstance(module, nn.Dropout):
                    self._take(module, module.p)

    def close(self) -> None:
        """Give the dropout back; what else took the place of a `forward` since then may have done so already."""
        for module in self._taken:
            module.__dict__.pop("forward", None)
        for layer in self._layers:
            layer.eval()
        self._taken.clear()

    def _take(self, module: nn.Module, rate: float) -> None:
        module.forward = partial(_forward, rate)
        self._taken.append(module)


def _forward(rate: float, states: Tensor) -> Tensor:
    now = running.get()
    if now is None or now.thinning is None or not rate:
        return states
    return now.thinning.hidden(states, rate)
