"""Opens a stack for use: everything as stack.lock says, or an error."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Self

from petapter_hub_client.backbones import ResolvedBackbone
from petapter_hub_client.ensembles import Members, manifest_of_all, members_of
from petapter_hub_client.fetching import OnProgress, PulledModule
from petapter_hub_client.stacks.bringing import BroughtModule
from petapter_hub_client.stacks.reading import read_stack
from petapter_hub_client.stacks.syncing import sync_frozen
from petapter_schemas.manifest import Manifest
from petapter_schemas.strict_json import canonical_sha256


@dataclass(frozen=True)
class StackModule:
    """A module of a stack on this machine, or several that answer together; verified.

    Attributes:
        alias: What it goes by.
        directory: Its files; of a pulled module the cache's own copy, not to be changed. Of an ensemble that stack.yaml
            lists, that of stack.yaml.
        manifest: Its manifest; of an ensemble, `manifest_of_all` of its members.
        digest: sha256 of petapter.json, which names the module version; of an ensemble's directory, of ensemble.json;
            of one that stack.yaml lists, of the canonical JSON of its members' digests and weights.
        reference: `remote:namespace/name@revision`; None for a directory.
        commit: 40 hex digits; None for a directory.
        patterns: Numbers of the patterns to ask, from 0, ascending; None for all. `Engine.load` takes them as they are.
        members: Of an ensemble; `Engine.load_ensemble` takes what they are. None for a module that answers alone.
    """

    alias: str
    directory: Path
    manifest: Manifest
    digest: str
    reference: str | None
    commit: str | None
    patterns: tuple[int, ...] | None
    members: Members | None = None

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
        modules: In the order of stack.yaml, one for each alias.
    """

    backbone: ResolvedBackbone
    modules: tuple[StackModule, ...]


def open_stack(path: Path, *, on_progress: OnProgress | None = None) -> OpenStack:
    """Bring this machine to what the lock of a stack.yaml says; locks nothing and changes no lock.

    Args:
        path: The stack.yaml; its lock lies beside it.
        on_progress: Hears of the bytes that arrive.

    Raises:
        StackError: stack.yaml or stack.lock cannot be read.
        StackDriftError: There is no lock, or something is not as it says.
        RemoteError: A remote does not answer.
        BackboneError: The backbone cannot be had.
    """
    brought = sync_frozen(read_stack(path), on_progress=on_progress).brought
    by_alias = [list(group) for _, group in groupby(brought.modules, key=lambda module: module.locked.alias)]
    modules = [_opened(group[0]) if len(group) == 1 else _joined(group, path.parent) for group in by_alias]
    return OpenStack(brought.backbone, tuple(modules))


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
        members=members_of(module.directory),
    )


def _joined(modules: Sequence[BroughtModule], folder: Path) -> StackModule:
    weights = tuple(module.locked.weight or 0.0 for module in modules)
    digests = [module.locked.digest for module in modules]
    return StackModule(
        alias=modules[0].locked.alias,
        directory=folder,
        manifest=manifest_of_all([module.manifest for module in modules]),
        digest=canonical_sha256([list(each) for each in zip(digests, weights, strict=True)]),
        reference=None,
        commit=None,
        patterns=None,
        members=Members({str(module.locked.member): module.directory for module in modules}, weights),
    )
