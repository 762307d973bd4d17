"""Brings this machine to what a lock says: every module at its commit, and the one backbone, all bytes compared."""

from dataclasses import dataclass, replace

from petapter_hub_client.backbones import ResolvedBackbone
from petapter_hub_client.fetching import OnProgress
from petapter_hub_client.stacks.bringing import BroughtStack, bring
from petapter_hub_client.stacks.fitting import check_fits, difference, identify, resolve_named
from petapter_hub_client.stacks.lock_files import read_lock, staleness, write_lock
from petapter_hub_client.stacks.locking import make_lock
from petapter_hub_client.stacks.reading import Stack
from petapter_schemas.errors import StackDriftError
from petapter_schemas.stack import LockedBackbone, StackLock, is_directory_name


@dataclass(frozen=True)
class SyncedStack:
    """A stack on this machine, and what became of its lock.

    Attributes:
        brought: The stack, exactly as locked.
        relocked: Why the lock was made anew first, as half a sentence; None if it was not.
    """

    brought: BroughtStack
    relocked: str | None


def sync(stack: Stack, *, on_progress: OnProgress | None = None) -> SyncedStack:
    """Bring this machine to the lock, which is made or brought up to date first; locked modules keep their commits.

    Raises:
        StackDriftError: What is locked is gone, or something here is not the locked one.
        PetapterError: A module or the backbone cannot be had, or they do not fit.
    """
    lock = read_lock(stack)
    reason = staleness(stack, lock)
    if lock is not None and reason is None:
        return SyncedStack(_brought(stack, lock, on_progress), None)
    made = make_lock(stack, lock, on_progress=on_progress)
    write_lock(stack, made.lock)
    return SyncedStack(made, reason)


def sync_frozen(stack: Stack, *, on_progress: OnProgress | None = None) -> SyncedStack:
    """Bring this machine to the lock as it is; neither stack.yaml nor anything here may differ from it.

    Raises:
        StackDriftError: There is no lock, stack.yaml was changed since, or something is not as locked.
        PetapterError: A module or the backbone cannot be had.
    """
    lock = read_lock(stack)
    reason = staleness(stack, lock)
    if lock is None or reason is not None:
        raise StackDriftError(f"{reason}: run 'petapter stack lock {stack.path}'")
    return SyncedStack(_brought(stack, lock, on_progress), None)


def _brought(stack: Stack, lock: StackLock, on_progress: OnProgress | None) -> BroughtStack:
    modules = tuple(bring(stack, module, on_progress=on_progress) for module in lock.modules)
    for module in modules:
        check_fits(module.locked.name, module.manifest.backbone, lock.backbone)
    return BroughtStack(lock, _backbone(stack, lock.backbone), modules)


def _backbone(stack: Stack, locked: LockedBackbone) -> ResolvedBackbone:
    named = stack.spec.backbone
    at_home = named is not None and is_directory_name(named)
    resolved = resolve_named(stack, named if named is not None and at_home else locked.repo, locked.revision)
    here = identify(resolved, locked.architecture)
    if (found := difference(here, locked)) is not None:
        raise StackDriftError(
            f"the backbone in {resolved.directory} has another {found.what} ({found.found}) than {stack.lock_path} "
            f"says ({found.expected}): restore the files of {locked.repo!r}, or lock modules that fit this one"
        )
    return replace(resolved, digests=(here.config_sha256, here.weights_sha256, here.tokenizer_sha256))
