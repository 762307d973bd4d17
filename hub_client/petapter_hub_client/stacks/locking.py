"""Makes the lock of a stack: asks the remotes for what is new, keeps what was locked, and checks that all fits."""

import logging
from dataclasses import dataclass
from itertools import groupby

from petapter_hub_client.ensembles import check_together, digest_of, verify_any
from petapter_hub_client.fetching import OnProgress, pull
from petapter_hub_client.remotes import find_remote
from petapter_hub_client.stacks.bringing import BroughtModule, BroughtStack, bring
from petapter_hub_client.stacks.fitting import check_fits, find_backbone, identify
from petapter_hub_client.stacks.reading import Stack
from petapter_hub_client.suggestions import did_you_mean
from petapter_schemas.ensemble import is_ensemble
from petapter_schemas.errors import StackError
from petapter_schemas.manifest import Manifest
from petapter_schemas.references import Reference
from petapter_schemas.stack import LockedModule, StackEntry, StackLock, is_directory_name

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Upgrade:
    """Which modules are asked for anew although they are locked: these, or every one."""

    aliases: tuple[str, ...] = ()
    every: bool = False

    def means(self, alias: str) -> bool:
        """Whether a module is among them."""
        return self.every or alias in self.aliases


KEEP = Upgrade()
"""What is locked stays locked."""


def make_lock(
    stack: Stack, old: StackLock | None, upgrade: Upgrade = KEEP, *, on_progress: OnProgress | None = None
) -> BroughtStack:
    """Resolve the modules of a stack to commits, fetch and verify them, and compare them with the backbone.

    A module whose reference stands in the old lock keeps its commit unless it is to be upgraded; directories are
    locked as they are now. Nothing is written but the cache.

    Args:
        stack: The stack.
        old: Its lock so far.
        upgrade: What is resolved anew.
        on_progress: Hears of the bytes that arrive.

    Raises:
        StackError: An alias to upgrade, or a pattern, does not exist.
        StackDriftError: What was locked and is kept is gone.
        PetapterError: A module or the backbone cannot be had, or they do not fit.
    """
    _check_aliases(stack, upgrade)
    modules = _brought(stack, _kept(stack, old, upgrade), on_progress)
    _check_ensembles(modules)
    specs = {module.locked.name: module.manifest.backbone for module in modules}
    resolved = find_backbone(stack, specs)
    backbone = identify(resolved, modules[0].manifest.backbone.architecture)
    for name, spec in specs.items():
        check_fits(name, spec, backbone)
    locked = tuple(module.locked for module in modules)
    lock = StackLock(stack_sha256=stack.spec.sha256, backbone=backbone, modules=locked)
    return BroughtStack(lock, resolved, modules)


def _brought(stack: Stack, kept: dict[str, LockedModule], on_progress: OnProgress | None) -> tuple[BroughtModule, ...]:
    fresh: dict[str, LockedModule] = {}  # by what stack.yaml asks for, so that it is asked once
    modules: list[BroughtModule] = []
    for entry in stack.spec.modules:
        basis = kept.get(entry.name) or fresh.get(entry.module)
        if basis is None:
            module = _found(stack, entry, on_progress)
            fresh[entry.module] = module.locked
        else:
            module = bring(stack, basis.model_copy(update=_as_asked(entry)), on_progress=on_progress)
        if is_ensemble(module.directory):
            _check_stands_alone(stack, entry)
        _check_patterns(stack, entry, module.manifest)
        modules.append(module)
    return tuple(modules)


def _kept(stack: Stack, old: StackLock | None, upgrade: Upgrade) -> dict[str, LockedModule]:
    """By name, what is locked of references already: under the same name or, where that is new, under another."""
    locked = [module for module in (old.modules if old else ()) if module.commit is not None]
    by_name = {(module.name, module.asked): module for module in locked}
    by_reference = {module.asked: module for module in reversed(locked)}
    found = {
        entry.name: by_name.get((entry.name, entry.module)) or by_reference.get(entry.module)
        for entry in stack.spec.modules
        if not upgrade.means(entry.alias)
    }
    return {name: module for name, module in found.items() if module is not None}


def _found(stack: Stack, entry: StackEntry, on_progress: OnProgress | None) -> BroughtModule:
    """A module as it is now, on its remote or in its directory."""
    if is_directory_name(entry.module):
        directory = stack.directory(entry.module)
        manifest, digest = verify_any(directory), digest_of(directory)
        return BroughtModule(_locked(entry, digest), directory, manifest, was_here=True)
    pulled = pull(entry.module, on_progress=on_progress)
    remote = find_remote(Reference.parse(pulled.reference).remote)
    locked = _locked(entry, pulled.digest, pulled.reference, remote.url, pulled.commit)
    return BroughtModule(locked, pulled.directory, pulled.manifest, pulled.was_cached)


def _locked(
    entry: StackEntry, digest: str, reference: str | None = None, url: str | None = None, commit: str | None = None
) -> LockedModule:
    return LockedModule.model_validate(
        {
            **_as_asked(entry),
            "asked": entry.module,
            "reference": reference,
            "url": url,
            "commit": commit,
            "digest": digest,
        }
    )


def _as_asked(entry: StackEntry) -> dict[str, object]:
    """What a lock takes from stack.yaml as it is."""
    return {"alias": entry.alias, "patterns": entry.patterns, "member": entry.member, "weight": entry.weight}


def _check_aliases(stack: Stack, upgrade: Upgrade) -> None:
    known = list(dict.fromkeys(entry.alias for entry in stack.spec.modules))
    if unknown := [alias for alias in upgrade.aliases if alias not in known]:
        raise StackError(
            f"{stack.path} has no module {unknown[0]!r} to upgrade: its modules are {', '.join(known)}"
            f"{did_you_mean(unknown[0], known)}"
        )


def _check_ensembles(modules: tuple[BroughtModule, ...]) -> None:
    for _, group in groupby(modules, key=lambda module: module.locked.alias):
        if len(together := list(group)) > 1:
            check_together({module.locked.name: module.manifest for module in together})


def _check_stands_alone(stack: Stack, entry: StackEntry) -> None:
    """Refuse what an ensemble's directory cannot be asked for."""
    if entry.member is not None:
        raise StackError(f"{stack.path}: {entry.name} is an ensemble itself: name its members there instead")
    if entry.patterns is not None:
        raise StackError(
            f"{stack.path}: {entry.alias} is an ensemble, whose members are asked in all their patterns: drop "
            f"modules.{entry.alias}.patterns"
        )


def _check_patterns(stack: Stack, entry: StackEntry, manifest: Manifest) -> None:
    known = manifest.task.patterns
    if entry.patterns is not None and entry.patterns[-1] >= len(known):
        listed = ", ".join(f"{number} {pattern.template!r}" for number, pattern in enumerate(known))
        raise StackError(
            f"{stack.path}: modules.{entry.alias}.patterns names {entry.patterns[-1]}, but the module has {listed}: "
            "choose among these"
        )
    calibration = manifest.calibration
    if entry.patterns is not None and calibration is not None and calibration.abstain_error_rate is not None:
        logger.warning(
            "%s abstains by a threshold that was fitted to all its patterns: with %s alone, its error rate of %g is "
            "not promised",
            entry.alias,
            list(entry.patterns),
            calibration.abstain_error_rate,
        )
