"""Opens a stack for use: everything as stack.lock says, or an error."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from petapter_hub_client.backbones import ResolvedBackbone
from petapter_hub_client.fetching import OnFile, PulledModule
from petapter_hub_client.stacks.bringing import BroughtModule
from petapter_hub_client.stacks.reading import read_stack
from petapter_hub_client.stacks.syncing import sync_frozen
from petapter_schemas.manifest import Manifest


@dataclass(frozen=True)
class StackModule:
    """A module of a stack on this machine, verified.

    Attributes:
        alias: What it goes by.
        directory: Its files; of a pulled module the cache's own copy, not to be changed.
        manifest: Its manifest.
        digest: sha256 of petapter.json, which names the module version.
        reference: `remote:namespace/name@revision`; None for a directory.
        commit: 40 hex digits; None for a directory.
        patterns: Numbers of the patterns to ask, from 0, ascending; None for all. `Engine.load` takes them as they are.
    """

    alias: str
    directory: Path
    manifest: Manifest
    digest: str
    reference: str | None
    commit: str | None
    patterns: tuple[int, ...] | None

    @classmethod
    def of(cls, alias: str, pulled: PulledModule, patterns: tuple[int, ...] | None = None) -> Self:
        """A pulled module under an alias."""
        return cls(
            alias=alias,
            directory=pulled.directory,
            manifest=pulled.manifest,
            digest=pulled.digest,
            reference=pulled.reference,
            commit=pulled.commit,
            patterns=patterns,
        )


@dataclass(frozen=True)
class OpenStack:
    """A stack on this machine, exactly as locked.

    Attributes:
        backbone: The one that all modules share.
        modules: In the order of stack.yaml.
    """

    backbone: ResolvedBackbone
    modules: tuple[StackModule, ...]


def open_stack(path: Path, *, on_file: OnFile | None = None) -> OpenStack:
    """Bring this machine to what the lock of a stack.yaml says; locks nothing and changes no lock.

    Args:
        path: The stack.yaml; its lock lies beside it.
        on_file: Hears of every file that is fetched.

    Raises:
        StackError: stack.yaml or stack.lock cannot be read.
        StackDriftError: There is no lock, or something is not as it says.
        RemoteError: A remote does not answer.
        BackboneError: The backbone cannot be had.
    """
    brought = sync_frozen(read_stack(path), on_file=on_file).brought
    return OpenStack(brought.backbone, tuple(map(_opened, brought.modules)))


def _opened(module: BroughtModule) -> StackModule:
    locked = module.locked
    return StackModule(
        alias=locked.alias,
        directory=module.directory,
        manifest=module.manifest,
        digest=locked.digest,
        reference=locked.reference,
        commit=locked.commit,
        patterns=locked.patterns,
    )
