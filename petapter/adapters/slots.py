"""Adapters inside one backbone's model, by name: at most one acts at a time, and all can be taken out again.

peft keeps adapters of one kind in one `PeftModel`, as layers around the model's own. Layers of two kinds around the
same module would wrap each other and change its name, so each kind has a `PeftModel` of its own, and only the layers
of the kind that acts are in the model: the others wait outside with their adapters and are set in when they are
called. So an adapter computes exactly what it computes alone, and a model in which none acts is the bare one.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from peft import PeftConfig, PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import PreTrainedModel

from petapter.adapters.claim import Claim
from petapter_schemas.adapter_files import PEFT_PREFIX
from petapter_schemas.errors import BackboneError, TensorFileError

_CONFIG = "peft_config"
"""Attribute that peft leaves on a model with adapters."""


@dataclass(frozen=True)
class _Layer:
    """A layer of peft around one of the model's own, and which of its attributes hold adapters by name."""

    around: nn.Module
    own: nn.Module
    groups: tuple[str, ...]


@dataclass
class _Bay:
    """The adapters of one kind: peft's model of them, and its layers by the whole names of the places they take."""

    peft: PeftModel
    layers: dict[str, _Layer] = field(default_factory=dict)


class AdapterSlots:
    """Owns the adapters of a model; two owners of one model are refused, since they would switch each other's.

    The model is changed in place and is as before after `close`.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        """Claim a model.

        Raises:
            BackboneError: The model has an owner or carries adapters.
        """
        self._model = model
        self._bays: dict[str, _Bay] = {}
        self._kind_of: dict[str, str] = {}
        self._mounted: str | None = None
        self._active: str | None = None
        self._claim = Claim(model, self)
        self._renew()

    def add(self, name: str, config: PeftConfig) -> None:
        """Put a new adapter into the model and make it the active one."""
        self._renew()
        kind = str(getattr(config.peft_type, "value", config.peft_type))
        self._mount(kind if kind in self._bays else None)
        with warnings.catch_warnings():
            # peft 0.21 reads a property that transformers 5.23 deprecates; drop when peft reads the new name
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
            if kind in self._bays:
                self._bays[kind].peft.add_adapter(name, config)
            else:
                self._bays[kind] = _Bay(PeftModel(self._model, config, adapter_name=name))
                self._mounted = kind
        self._bays[kind].layers = _tuner_layers(self._model)
        self._kind_of[name] = kind
        self.activate(name)

    def activate(self, name: str | None) -> None:
        """Make one adapter act, or none."""
        self._renew()
        self._mount(None if name is None else self._kind_of[name])
        if name is not None:
            self._bays[self._kind_of[name]].peft.set_adapter(name)
        self._active = name

    def read(self, name: str) -> dict[str, Tensor]:
        """The tensors of an adapter under the names peft saves them by, detached copies on the CPU."""
        parameters = sorted(self._parameters(name).items())
        return {key: value.detach().cpu().clone().contiguous() for key, value in parameters}

    def write(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Give an adapter its tensors.

        Raises:
            TensorFileError: Names or shapes are not those of the adapter.
        """
        parameters = self._parameters(name)
        expected = {key: tuple(value.shape) for key, value in parameters.items()}
        found = {key: tuple(value.shape) for key, value in tensors.items()}
        if expected != found:
            wrong = sorted(set(expected.items()) ^ set(found.items()))
            raise TensorFileError(f"the adapter's tensors do not fit this backbone, for example {wrong[0][0]}")
        with torch.no_grad():
            for key, parameter in parameters.items():
                parameter.copy_(tensors[key])

    def remove(self, name: str) -> None:
        """Take an adapter out; none acts if it did."""
        if name not in self._kind_of:
            return
        kind = self._kind_of.pop(name)
        staying = self._active if self._active != name else None
        self._mount(kind)
        if others := [other for other, its_kind in self._kind_of.items() if its_kind == kind]:
            self._bays[kind].peft.set_adapter(others[0])  # peft warns when the active one is deleted
            self._bays[kind].peft.delete_adapter(name)
        else:
            self._mount(None)
            del self._bays[kind]
        self.activate(staying)

    def close(self) -> None:
        """Take all adapters out and give the model back; a later call claims it anew."""
        self._mount(None)
        self._bays.clear()
        self._kind_of.clear()
        self._active = None
        self._model.requires_grad_(False)  # noqa: FBT003 (torch's signature)
        self._claim.release()

    def _parameters(self, name: str) -> dict[str, nn.Parameter]:
        """The tensors of an adapter in use, under the names peft saves them by: without the adapter's own."""
        found: dict[str, nn.Parameter] = {}
        for path, layer in self._bays[self._kind_of[name]].layers.items():
            for group in layer.groups:  # such as lora_A
                part = dict(getattr(layer.around, group).items()).get(name)
                key = f"{PEFT_PREFIX}{path}.{group}"
                if isinstance(part, nn.Parameter):
                    found[key] = part
                elif isinstance(part, nn.Module):
                    found |= {f"{key}.{inner}": parameter for inner, parameter in part.named_parameters()}
        return found

    def _mount(self, kind: str | None) -> None:
        """Set in the layers of one kind, or leave the model bare."""
        if kind == self._mounted:
            return
        if self._mounted is not None:
            for path, layer in self._bays[self._mounted].layers.items():
                _set_in(self._model, path, layer.own)
            delattr(self._model, _CONFIG)
        if kind is not None:
            for path, layer in self._bays[kind].layers.items():
                layer.around.train(layer.own.training)
                _set_in(self._model, path, layer.around)
            setattr(self._model, _CONFIG, self._bays[kind].peft.peft_config)
        self._mounted = kind

    def _renew(self) -> None:
        """Make sure that nobody else switches adapters: an owner whose modules have none must not see another's."""
        if self._mounted is None and getattr(self._model, _CONFIG, None):
            raise BackboneError("another Engine has this backbone: close it or load the backbone again")
        self._claim.renew()


def _tuner_layers(model: nn.Module) -> dict[str, _Layer]:
    found: dict[str, _Layer] = {}
    for name, module in model.named_modules():
        groups = module.adapter_layer_names if isinstance(module, BaseTunerLayer) else ()
        if groups:
            found[name] = _Layer(module, module.get_submodule("base_layer"), tuple(groups))
    return found


def _set_in(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)
