# ruff: noqa: PLC0415 (torch is imported when a run starts, not before)
"""What `--init-from` names: a module whose adapter training begins with, and what a manifest says of that."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from petapter_hub_client.fetching import is_local_module
from petapter_hub_client.local_runs import locate_modules
from petapter_schemas.adapter_files import ADAPTER_FILE
from petapter_schemas.errors import InputError
from petapter_schemas.manifest import LineageSpec

if TYPE_CHECKING:
    from petapter.backbone import Backbone
    from petapter.training.warm_start import AdapterStart


@dataclass(frozen=True)
class Beginning:
    """A module to begin with.

    Attributes:
        start: Its adapter.
        lineage: Of what begins there: the module is its parent, and stands by its reference where it was pulled.
    """

    start: "AdapterStart"
    lineage: LineageSpec


def begin_at(name: str, backbone: "Backbone") -> Beginning:
    """Read a module's adapter, for the backbone that it was trained on.

    Args:
        name: A directory or a reference.
        backbone: On which training is to begin.

    Raises:
        InputError: It is an ensemble, or has no adapter that can be trained further.
        BackboneMismatchError: It belongs to another backbone.
        PetapterError: It cannot be had, or its files are broken.
    """
    from petapter.module import open_module
    from petapter.training.warm_start import start_of

    (found,) = locate_modules([name])
    if found.members is not None:
        raise InputError(f"{name} is an ensemble: begin with one of its members")
    module = open_module(found.directory, backbone)
    digests = {file.path: file.sha256 for file in found.manifest.files}
    start = start_of(module, name, digests.get(ADAPTER_FILE, ""), backbone)
    references = () if is_local_module(name) else (name,)
    return Beginning(start, LineageSpec(parent=found.digest, trained_from=references))
