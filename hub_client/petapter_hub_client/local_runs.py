# ruff: noqa: PLC0415 (torch is imported when a run starts, not before)
"""Runs modules on this machine: finds the one backbone they share, measures them, and asks them about texts."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from petapter_hub_client.backbones import ResolvedBackbone, resolve_backbone
from petapter_hub_client.ensembles import Members, digest_of, members_of, verify_any
from petapter_hub_client.fetching import locate_module
from petapter_schemas.ensemble import is_ensemble
from petapter_schemas.errors import BackboneError, InputError
from petapter_schemas.manifest import EvaluationSpec, Manifest, read_manifest
from petapter_schemas.references import Reference
from petapter_schemas.strict_json import canonical_sha256

if TYPE_CHECKING:
    from petapter.backbone import Backbone, Precision
    from petapter.runtime import Engine, Prediction
    from petapter.runtime.answers import Examined
    from petapter.runtime.files import FileModule, FileReport, FileRun, OnProgress
    from petapter.runtime.ray_cluster import Cluster
    from petapter.runtime.ray_files import ModuleSet
    from petapter.task import Example
    from petapter.trained import TrainedModule


@dataclass(frozen=True)
class LocalModule:
    """A module, or several that answer together, and the short name its answers go by.

    Attributes:
        directory: Its files; of an ensemble that a stack lists, that of the stack.
        manifest: Its manifest; of an ensemble, `manifest_of_all` of its members.
        digest: Names it byte by byte.
        patterns: Numbers of the patterns that are asked; None for all.
        members: Of an ensemble.
    """

    alias: str
    directory: Path
    manifest: Manifest
    digest: str
    patterns: tuple[int, ...] | None = None
    members: Members | None = None

    @property
    def answers_sha256(self) -> str:
        """Digest of what its answers follow from, the backbone aside: itself and the choice of patterns."""
        return self.digest if self.patterns is None else canonical_sha256([self.digest, list(self.patterns)])

    @property
    def places(self) -> dict[str, Path]:
        """Every directory that has to be read, by a name of its own among those of a run."""
        if self.members is None:
            return {self.alias: self.directory}
        return {f"{self.alias}/{name}": directory for name, directory in self.members.directories.items()}

    def at(self, places: Mapping[str, Path]) -> Self:
        """The same where the directories lie elsewhere."""
        if self.members is None:
            return replace(self, directory=places[self.alias])
        directories = {name: places[f"{self.alias}/{name}"] for name in self.members.directories}
        return replace(self, members=replace(self.members, directories=directories))


def locate_modules(names: Sequence[str]) -> list[LocalModule]:
    """Find directories and pull references; two modules of one name go by what was typed.

    An ensemble's directory is one of them.

    Raises:
        PetapterError: A module cannot be had, or was named twice.
    """
    if len(set(names)) < len(names):
        raise InputError("a --module was given twice: name each module once")
    directories = [locate_module(name) for name in names]
    short = [_short_name(name, directory) for name, directory in zip(names, directories, strict=True)]
    aliases = [alias if short.count(alias) == 1 else name for alias, name in zip(short, names, strict=True)]
    return [
        LocalModule(alias, directory, _manifest(directory), digest_of(directory), members=members_of(directory))
        for alias, directory in zip(aliases, directories, strict=True)
    ]


def _manifest(directory: Path) -> Manifest:
    return verify_any(directory) if is_ensemble(directory) else read_manifest(directory)


def shared_backbone(given: str | None, manifests: Sequence[Manifest]) -> ResolvedBackbone:
    """The backbone that was asked for, or the one all manifests name.

    Raises:
        BackboneError: The manifests name different ones, or it cannot be had.
    """
    if given is not None:
        return resolve_backbone(given)
    specs = {manifest.backbone.weights_sha256: manifest.backbone for manifest in manifests}
    if len(specs) > 1:
        named = ", ".join(f"{m.name}: {m.backbone.repo} ({m.backbone.weights_sha256[:8]}…)" for m in manifests)
        raise BackboneError(f"these modules need different backbones ({named}): predict with one backbone at a time")
    backbone = next(iter(specs.values()))
    return resolve_backbone(backbone.repo, revision=backbone.revision)


def load_backbone(
    resolved: ResolvedBackbone, precision: "Precision" = "float32", *, device: str | None = None
) -> "Backbone":
    """Load a backbone's files; `bfloat16` is for answers alone, and the device is the first GPU if there is one.

    From then on torch uses no more threads than this process has processors, and freed memory stays for the next pass
    (`petapter.process.settle`).

    Raises:
        BackboneError: They hold no masked language model, or this machine has no such device.
    """
    from petapter.backbone import Backbone
    from petapter.process import settle

    settle()
    return Backbone.load(
        resolved.directory,
        repo=resolved.repo,
        revision=resolved.revision,
        device=device,
        precision=precision,
        digests=resolved.digests,
    )


def measure(
    backbone: "Backbone", module: "Path | TrainedModule", examples: "Sequence[Example]", *, name: str, split: str
) -> tuple[EvaluationSpec, ...]:
    """Accuracy, macro-F1 and the worth of the probabilities of a module on labelled rows.

    Raises:
        PetapterError: The module does not fit the backbone, or there are no rows.
    """
    return examine(backbone, module, examples, name=name, split=split).figures


def examine(
    backbone: "Backbone", module: "Path | TrainedModule", examples: "Sequence[Example]", *, name: str, split: str
) -> "Examined":
    """The same figures, and which labels were taken for which.

    Raises:
        PetapterError: As `measure`.
    """
    from petapter.runtime import Engine

    members = members_of(module) if isinstance(module, Path) else None
    with Engine(backbone) as engine:
        if members is None:
            engine.load(module, name)
        else:
            _load_members(engine, members, name)
        return engine.examine(name, examples, name=name, split=split)


def reproduce(directory: Path, manifest: Manifest, backbone: str | None) -> None:
    """Let a module answer its probe texts and compare with what it said when it was trained.

    Args:
        directory: Its files.
        manifest: Its manifest.
        backbone: As `--backbone` takes it; by default the one that the manifest names.

    Raises:
        GoldenMismatchError: The answers differ.
        PetapterError: The backbone cannot be had, or the module does not fit it.
    """
    from petapter.runtime import Engine

    with Engine(load_backbone(shared_backbone(backbone, [manifest]))) as engine:
        engine.load(directory, manifest.name, check=True)


def predict_all(
    backbone: "Backbone", modules: Sequence[LocalModule], texts: Sequence[str | Mapping[str, str]], *, check: bool
) -> "list[dict[str, Prediction]]":
    """The answers of every module to every text: by alias, one mapping per text.

    Raises:
        PetapterError: A module must not be used or does not fit the backbone.
    """
    with _loaded(backbone, modules, check=check) as engine:
        return engine.predict_all(texts)


def file_modules(modules: Sequence[LocalModule]) -> "tuple[FileModule, ...]":
    """Modules as a run over a file knows them."""
    from petapter.runtime.files import FileModule

    return tuple(FileModule(module.alias, module.manifest.task, module.answers_sha256) for module in modules)


def predict_file(
    backbone: "Backbone", modules: Sequence[LocalModule], run: "FileRun", on_progress: "OnProgress", *, check: bool
) -> "FileReport":
    """Answer a file with every module, or go on where an earlier run was stopped.

    Raises:
        PetapterError: A module must not be used or does not fit the backbone, or the files will not do.
    """
    from petapter.runtime.files import predict_file

    with _loaded(backbone, modules, check=check) as engine:
        return predict_file(engine, run, on_progress=on_progress)


def ray_module_set(
    backbone: ResolvedBackbone, modules: Sequence[LocalModule], precision: "Precision", *, check: bool
) -> "ModuleSet":
    """Backbone and modules as the workers of a Ray cluster are told of them."""
    from petapter.runtime.ray_files import ModuleSet

    directories = {name: place for module in modules for name, place in module.places.items()}
    load = partial(_load_all, modules=modules, check=check)
    return ModuleSet(backbone.directory, directories, backbone.repo, backbone.revision, load, precision)


def predict_file_on_ray(
    module_set: "ModuleSet", run: "FileRun", cluster: "Cluster", on_progress: "OnProgress"
) -> "FileReport":
    """Do the same over the workers of a Ray cluster; what Ray prints goes to standard error.

    Raises:
        PetapterError: As `predict_file`, or the cluster cannot be reached or fails.
    """
    from petapter.runtime.ray_files import predict_file_on_ray

    with redirect_stdout(sys.stderr):
        return predict_file_on_ray(module_set, run, cluster, on_progress=on_progress)


@contextmanager
def _loaded(backbone: "Backbone", modules: Sequence[LocalModule], *, check: bool) -> "Iterator[Engine]":
    from petapter.runtime import Engine

    with Engine(backbone) as engine:
        for module in modules:
            _load(engine, module, check=check)
        yield engine


def _load_all(engine: "Engine", places: Mapping[str, Path], *, modules: Sequence[LocalModule], check: bool) -> None:
    for module in modules:
        _load(engine, module.at(places), check=check)


def _load(engine: "Engine", module: LocalModule, *, check: bool) -> None:
    if module.members is None:
        engine.load(module.directory, module.alias, check=check, patterns=module.patterns)
    else:
        _load_members(engine, module.members, module.alias, check=check)


def _load_members(engine: "Engine", members: Members, alias: str, *, check: bool = False) -> None:
    engine.load_ensemble(members.directories, alias, members.weights, thresholds=members.thresholds, check=check)


def _short_name(name: str, directory: Path) -> str:
    """A pulled module lies in a directory named by its commit, so its reference gives the name."""
    if Path(name) == directory:
        return directory.resolve().name
    return Reference.parse(name).repo_id.rpartition("/")[2]
