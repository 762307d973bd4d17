"""Who may change a model: one owner at a time, since two would switch each other's adapters."""

import weakref

from torch import nn

from petapter_schemas.errors import BackboneError

_OWNER = "_petapter_owner"
"""Attribute of a claimed model: a weak reference to its owner, so that one who was dropped does not block it."""


class Claim:
    """A claim to a model on behalf of an owner, until `release` or until the owner is gone."""

    def __init__(self, model: nn.Module, owner: object) -> None:
        """Claim a model.

        Raises:
            BackboneError: Another has it.
        """
        self._model = model
        self._owner = weakref.ref(owner)
        self.renew()

    def renew(self) -> None:
        """Claim it again, which an owner does before each change: a released model may have been taken.

        Raises:
            BackboneError: Another has it.
        """
        owner = self._holder()
        if owner is not None and owner is not self._owner():
            raise BackboneError("another Engine has this backbone: close it or load the backbone again")
        setattr(self._model, _OWNER, self._owner)

    def release(self) -> None:
        """Give the model back."""
        if self._holder() is self._owner():
            delattr(self._model, _OWNER)

    def _holder(self) -> object:
        reference = getattr(self._model, _OWNER, None)
        return reference() if reference is not None else None
