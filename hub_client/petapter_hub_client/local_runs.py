# ruff: noqa: PLC0415 (torch is imported when a run starts, not before)
"""Runs modules on this machine: finds the one backbone they share, measures them, and asks them about texts."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from petapter_hub_client.backbones import ResolvedBackbone, resolve_backbone
from petapter_hub_client.fetching import locate_module
from petapter_schemas.digests import sha256_file
from petapter_schemas.errors import BackboneError, InputError
from petapter_schemas.manifest import MANIFEST_FILE, EvaluationSpec, Manifest, read_manifest
from petapter_schemas.references import Reference

if TYPE_CHECKING:
    from petapter.backbone import Backbone
    from petapter.runtime import Engine, Prediction
    from petapter.runtime.files import FileModule, FileReport, FileRun, OnProgress
    from petapter.task import Example
    from petapter.trained import TrainedModule


@dataclass(frozen=True)
class LocalModule:
    """A module directory and the short name its answers go by."""

    alias: str
    directory: Path
    manifest: Manifest


def locate_modules(names: Sequence[str]) -> list[LocalModule]:
    """Find directories and pull references; two modules of one name go by what was typed.

    Raises:
        PetapterError: A module cannot be had, or was named twice.
    """
    if len(set(names)) < len(names):
        raise InputError("a --module was given twice: name each module once")
    directories = [locate_module(name) for name in names]
    short = [_short_name(name, directory) for name, directory in zip(names, directories, strict=True)]
    aliases = [alias if short.count(alias) == 1 else name for alias, name in zip(short, names, strict=True)]
    return [
        LocalModule(alias, directory, read_manifest(directory))
        for alias, directory in zip(aliases, directories, strict=True)
    ]


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


def load_backbone(resolved: ResolvedBackbone) -> "Backbone":
    """Load a backbone's files.

    Raises:
        BackboneError: They hold no masked language model.
    """
    from petapter.backbone import Backbone

    return Backbone.load(resolved.directory, repo=resolved.repo, revision=resolved.revision)


def measure(
    backbone: "Backbone", module: "Path | TrainedModule", examples: "Sequence[Example]", *, name: str, split: str
) -> tuple[EvaluationSpec, ...]:
    """Accuracy, macro-F1 and the worth of the probabilities of a module on labelled rows.

    Raises:
        PetapterError: The module does not fit the backbone, or there are no rows.
    """
    from petapter.runtime import Engine

    with Engine(backbone) as engine:
        engine.load(module, name)
        return engine.evaluate(name, examples, name=name, split=split)


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

    return tuple(
        FileModule(module.alias, module.manifest.task, sha256_file(module.directory / MANIFEST_FILE))
        for module in modules
    )


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


@contextmanager
def _loaded(backbone: "Backbone", modules: Sequence[LocalModule], *, check: bool) -> "Iterator[Engine]":
    from petapter.runtime import Engine

    with Engine(backbone) as engine:
        for module in modules:
            engine.load(module.directory, module.alias, check=check)
        yield engine


def _short_name(name: str, directory: Path) -> str:
    """A pulled module lies in a directory named by its commit, so its reference gives the name."""
    if Path(name) == directory:
        return directory.resolve().name
    return Reference.parse(name).repo_id.rpartition("/")[2]
