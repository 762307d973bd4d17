"""What a service starts with: modules named on the command line, or a stack."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from petapter.backbone import Precision
from petapter_hub_client.fetching import is_local_module, pull
from petapter_hub_client.local_runs import load_backbone, locate_modules, shared_backbone
from petapter_hub_client.serving.service import Opened
from petapter_hub_client.stacks.opening import StackModule, open_stack
from petapter_schemas.errors import InputError
from petapter_schemas.names import check_name
from petapter_schemas.references import Reference


@dataclass(frozen=True)
class Wanted:
    """What was asked for: modules with, if it was given, their backbone; or a stack.

    Attributes:
        precision: Of the backbone's layers.
        device: Where it runs.
    """

    modules: Sequence[str] = ()
    backbone: str | None = None
    stack: Path | None = None
    precision: Precision = "float32"
    device: str | None = None

    def __post_init__(self) -> None:
        if self.stack is not None and (self.modules or self.backbone):
            raise InputError("a stack names its modules and their backbone: give --stack alone, or --module")
        if self.stack is None and not self.modules and self.backbone is None:
            raise InputError(
                "there is nothing to serve: give --stack or --module, or --backbone to load modules later over HTTP"
            )


def open_wanted(wanted: Wanted) -> Opened:
    """Bring it all to this machine.

    Raises:
        PetapterError: Something cannot be had, or two modules would go by one alias.
    """
    if wanted.stack is not None:
        stack = open_stack(wanted.stack)
        return Opened(load_backbone(stack.backbone, wanted.precision, device=wanted.device), stack.modules)
    modules = [_named(name) for name in wanted.modules]
    aliases = [module.alias for module in modules]
    if twice := sorted({alias for alias in aliases if aliases.count(alias) > 1}):
        raise InputError(f"two modules would answer to {twice[0]!r}: give them aliases in a stack.yaml")
    backbone = shared_backbone(wanted.backbone, [module.manifest for module in modules])
    return Opened(load_backbone(backbone, wanted.precision, device=wanted.device), modules)


def _named(name: str) -> StackModule:
    """A module by directory or reference, under the short name that `petapter predict` gives it."""
    if not is_local_module(name):
        return StackModule.of(Reference.parse(name).repo_id.rpartition("/")[2], pull(name))
    (found,) = locate_modules([name])
    return StackModule(
        alias=check_name(found.alias, what="module alias"),
        directory=found.directory,
        manifest=found.manifest,
        digest=found.answers_sha256,
        reference=None,
        commit=None,
        patterns=None,
        members=found.members,
    )
