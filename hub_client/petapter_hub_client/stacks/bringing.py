"""Brings locked modules to this machine: exactly the locked bytes, or an error that says what differs."""

from dataclasses import dataclass
from pathlib import Path

from petapter_hub_client.backbones import ResolvedBackbone
from petapter_hub_client.ensembles import digest_of, verify_any
from petapter_hub_client.fetching import OnProgress, pull
from petapter_hub_client.stacks.reading import Stack
from petapter_schemas.errors import InputError, ModuleError, RemoteNotFoundError, StackDriftError
from petapter_schemas.manifest import Manifest
from petapter_schemas.stack import LockedModule, StackLock

_SHOWN = 12


@dataclass(frozen=True)
class BroughtModule:
    """A locked module on this machine, every byte of which was hashed.

    Attributes:
        locked: What the lock says of it.
        directory: Its files.
        manifest: Its manifest; of an ensemble's directory, `manifest_of_all` of its members.
        was_here: Whether nothing had to be fetched.
    """

    locked: LockedModule
    directory: Path
    manifest: Manifest
    was_here: bool


@dataclass(frozen=True)
class BroughtStack:
    """A stack on this machine, exactly as locked.

    Attributes:
        lock: What it is.
        backbone: The one of all modules, all bytes of which were hashed.
        modules: In the order of stack.yaml.
    """

    lock: StackLock
    backbone: ResolvedBackbone
    modules: tuple[BroughtModule, ...]


def bring(stack: Stack, module: LockedModule, *, on_progress: OnProgress | None = None) -> BroughtModule:
    """Fetch a module at its locked commit unless it is here, or find its directory.

    Raises:
        StackDriftError: The commit is gone, or the module is not the locked one.
        RemoteError: The remote does not answer.
        ModuleError: What came breaks the format; nothing of it was kept.
    """
    if module.exact_reference is None:
        return _directory(stack, module)
    try:
        pulled = pull(str(module.exact_reference), on_progress=on_progress)
    except RemoteNotFoundError as error:
        raise StackDriftError(
            f"{module.name}: {module.reference} is locked at commit {str(module.commit)[:_SHOWN]}, which is gone from "
            f"{module.url}: run 'petapter stack lock {stack.path} --upgrade-module {module.alias}'"
        ) from error
    except InputError as error:
        raise InputError(f"{error} ({module.name} was locked from {module.url})") from error
    if pulled.digest != module.digest:
        raise StackDriftError(
            f"{module.name}: {pulled.directory} holds another module ({pulled.digest[:_SHOWN]}) than "
            f"{stack.lock_path} says ({module.digest[:_SHOWN]}): delete that directory and try again"
        )
    return BroughtModule(module, pulled.directory, pulled.manifest, pulled.was_cached)


def _directory(stack: Stack, module: LockedModule) -> BroughtModule:
    directory = stack.directory(module.asked)
    try:
        manifest = verify_any(directory)
    except ModuleError as error:
        raise StackDriftError(f"{module.name}: {error}; restore it, or take it out of {stack.path}") from error
    if (digest := digest_of(directory)) != module.digest:
        raise StackDriftError(
            f"{module.name}: {directory} is another module ({digest[:_SHOWN]}) than {stack.lock_path} says "
            f"({module.digest[:_SHOWN]}): restore it, or run 'petapter stack lock {stack.path}'"
        )
    return BroughtModule(module, directory, manifest, was_here=True)
