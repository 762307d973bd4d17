"""The one backbone of a stack: finds it, says what it is, and compares it with what modules and locks ask for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from petapter_hub_client.backbones import ResolvedBackbone, resolve_backbone
from petapter_hub_client.stacks.reading import Stack
from petapter_schemas.errors import BackboneError, BackboneMismatchError
from petapter_schemas.fingerprints import backbone_digests
from petapter_schemas.manifest import BackboneSpec
from petapter_schemas.stack import LockedBackbone, is_directory_name

_COMPARED = {
    "weights_sha256": "weights",
    "config_sha256": "configuration",
    "tokenizer_sha256": "tokenizer",
    "architecture": "architecture",
}
_SHOWN = 12


class _Identity(Protocol):
    """What manifests and locks say of a backbone."""

    @property
    def architecture(self) -> str: ...
    @property
    def config_sha256(self) -> str: ...
    @property
    def weights_sha256(self) -> str: ...
    @property
    def tokenizer_sha256(self) -> str: ...


@dataclass(frozen=True)
class Difference:
    """In what two backbones differ, and how, in digits."""

    what: str
    found: str
    expected: str


def difference(found: _Identity, expected: _Identity) -> Difference | None:
    """The first in which two backbones differ; None if they are the same."""
    for field, what in _COMPARED.items():
        here, there = str(getattr(found, field)), str(getattr(expected, field))
        if here != there:
            return Difference(what, here[:_SHOWN], there[:_SHOWN])
    return None


def find_backbone(stack: Stack, specs: Mapping[str, BackboneSpec]) -> ResolvedBackbone:
    """The backbone that a stack names, or the one that all its modules name; fetched or built if need be.

    Args:
        stack: The stack.
        specs: What the modules' manifests say of their backbone, by alias.

    Raises:
        BackboneError: The modules name several, or it cannot be had.
    """
    first = next(iter(specs.values()))
    if (named := stack.spec.backbone) is not None:
        return resolve_named(stack, named, first.revision if first.repo == named else None)
    _check_one(specs)
    try:
        return resolve_backbone(first.repo, revision=first.revision)
    except BackboneError as error:
        raise BackboneError(f"{error}; {stack.path} may say where it is: 'backbone: ./DIRECTORY'") from error


def resolve_named(stack: Stack, name: str, revision: str | None) -> ResolvedBackbone:
    """A backbone by the name that a stack or a lock has for it.

    Raises:
        BackboneError: It cannot be had.
    """
    if not is_directory_name(name):
        return resolve_backbone(name, revision=revision)
    directory = stack.directory(name)
    if not directory.is_dir():
        raise BackboneError(f"{stack.path}: the backbone {name} is no directory: correct it, or name a Hub id")
    return resolve_backbone(str(directory))


def identify(resolved: ResolvedBackbone, architecture: str) -> LockedBackbone:
    """What a backbone on this machine is; all its bytes are hashed.

    Args:
        resolved: The backbone.
        architecture: As manifests name it, which follows from the configuration.

    Raises:
        BackboneError: A file is missing or broken.
    """
    config_sha256, weights_sha256, tokenizer_sha256 = backbone_digests(resolved.directory)
    return LockedBackbone(
        repo=resolved.repo,
        revision=resolved.revision,
        architecture=architecture,
        config_sha256=config_sha256,
        weights_sha256=weights_sha256,
        tokenizer_sha256=tokenizer_sha256,
    )


def check_fits(alias: str, spec: BackboneSpec, backbone: LockedBackbone) -> None:
    """Refuse a module that was trained on another backbone.

    Raises:
        BackboneMismatchError: It was.
    """
    if (found := difference(spec, backbone)) is not None:
        raise BackboneMismatchError(
            f"{alias} was trained on {spec.repo!r} with another {found.what} than {backbone.repo!r} has "
            f"({found.found} against {found.expected}): take it out of the stack, or name its backbone"
        )


def _check_one(specs: Mapping[str, BackboneSpec]) -> None:
    first, *others = specs.items()
    for alias, spec in others:
        if (found := difference(spec, first[1])) is not None:
            raise BackboneMismatchError(
                f"{first[0]} ({first[1].repo}) and {alias} ({spec.repo}) were trained on different backbones, which "
                f"differ in {found.what} ({found.expected} against {found.found}): a stack has one, so make two stacks"
            )
