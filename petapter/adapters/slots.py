"""Adapters inside one backbone's model, by name: at most one acts at a time, and all can be taken out again."""

import warnings
import weakref
from collections.abc import Mapping
from typing import cast

from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTuner
from torch import Tensor
from transformers import PreTrainedModel

from petapter_schemas.errors import BackboneError, TensorFileError

_OWNER = "_petapter_slots"
"""Attribute of a claimed model: a weak reference to its owner, so that one who was dropped does not block it."""


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
        self._peft: PeftModel | None = None
        self._active: str | None = None
        self._claim()

    def add(self, name: str, config: LoraConfig) -> None:
        """Put a new adapter into the model and make it the active one."""
        self._claim()
        with warnings.catch_warnings():
            # peft 0.21 reads a property that transformers 5.23 deprecates; drop when peft reads the new name
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
            if self._peft is None:
                self._peft = PeftModel(self._model, config, adapter_name=name)
            else:
                self._peft.add_adapter(name, config)
        self.activate(name)

    def activate(self, name: str | None) -> None:
        """Make one adapter act, or none."""
        self._claim()
        if self._peft is None:
            return
        if name is None:
            _tuner(self._peft).disable_adapter_layers()
        else:
            _tuner(self._peft).enable_adapter_layers()
            self._peft.set_adapter(name)
        self._active = name

    def read(self, name: str) -> dict[str, Tensor]:
        """The tensors of an adapter under peft's names, detached copies on the CPU."""
        state = get_peft_model_state_dict(self._peft, adapter_name=name, save_embedding_layers=False)
        return {key: value.detach().cpu().clone().contiguous() for key, value in sorted(state.items())}

    def write(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Give an adapter its tensors.

        Raises:
            TensorFileError: Names or shapes are not those of the adapter.
        """
        expected = {key: tuple(value.shape) for key, value in self.read(name).items()}
        found = {key: tuple(value.shape) for key, value in tensors.items()}
        if expected != found:
            wrong = sorted(set(expected.items()) ^ set(found.items()))
            raise TensorFileError(f"the adapter's tensors do not fit this backbone, for example {wrong[0][0]}")
        set_peft_model_state_dict(self._peft, dict(tensors), adapter_name=name)

    def remove(self, name: str) -> None:
        """Take an adapter out; the model is bare again when it was the last."""
        if self._peft is None:
            return
        if len(self._peft.peft_config) == 1:
            self._take_out()
            return
        if self._active == name:
            self.activate(next(other for other in self._peft.peft_config if other != name))
        self._peft.delete_adapter(name)

    def close(self) -> None:
        """Take all adapters out and give the model back; a later call claims it anew."""
        self._take_out()
        if self._owner() is self:
            delattr(self._model, _OWNER)

    def _claim(self) -> None:
        """Make sure that nobody else switches adapters: an owner whose modules have none must not see another's."""
        foreign = self._peft is None and getattr(self._model, "peft_config", None)
        if foreign or self._owner() not in {None, self}:
            raise BackboneError("another Engine has this backbone: close it or load the backbone again")
        setattr(self._model, _OWNER, weakref.ref(self))

    def _owner(self) -> object:
        reference = getattr(self._model, _OWNER, None)
        return reference() if reference is not None else None

    def _take_out(self) -> None:
        if self._peft is not None:
            _tuner(self._peft).unload()
            self._peft = None
            self._active = None
            if hasattr(self._model, "peft_config"):
                del self._model.peft_config
            self._model.requires_grad_(False)  # noqa: FBT003 (torch's signature)


def _tuner(model: PeftModel) -> BaseTuner:
    """Peft's object that holds the layers; its annotation says only that it is a module."""
    return cast("BaseTuner", model.base_model)
