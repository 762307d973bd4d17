"""Saves a trained module as a directory and opens one, with every check before a weight is used."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import Tensor

from petapter.adapters import check_config
from petapter.backbone import Backbone
from petapter.task.verbalizer import read_verbalizer
from petapter.trained import TrainedModule
from petapter_schemas.card import render_card
from petapter_schemas.card_plots import draw_plots
from petapter_schemas.digests import sha256_bytes
from petapter_schemas.durable import appear, new_directory, write_file_durably
from petapter_schemas.errors import DigestMismatchError, InputError, TensorFileError
from petapter_schemas.golden import GOLDEN_FILE, parse_golden
from petapter_schemas.manifest import (
    MANIFEST_FILE,
    EvaluationSpec,
    FileSpec,
    LineageSpec,
    Manifest,
    manifest_bytes,
    read_manifest,
)
from petapter_schemas.messages import first_problem
from petapter_schemas.module_files import (
    ADAPTER_CONFIG_FILE,
    ADAPTER_FILE,
    CARD_FILE,
    HEAD_FILE,
    verify_directory,
)
from petapter_schemas.plot_data import PLOT_DATA_FILE, PlotData
from petapter_schemas.profile import PROFILE_FILE, parse_profile, profile_bytes

_NO_LINEAGE = LineageSpec()


@dataclass(frozen=True)
class ModuleInfo:
    """What the author says about a module."""

    name: str
    version: str = "0.1.0"
    description: str = ""
    license: str | None = None
    languages: tuple[str, ...] = ()


def save_module(
    trained: TrainedModule,
    directory: Path,
    info: ModuleInfo,
    *,
    evaluation: tuple[EvaluationSpec, ...] = (),
    lineage: LineageSpec = _NO_LINEAGE,
    plot_data: PlotData | None = None,
) -> Manifest:
    """Write a module directory: files into a scratch directory beside it, manifest last, then one rename.

    Args:
        trained: The module.
        directory: To be made.
        info: What the author says.
        evaluation: Its figures.
        lineage: Where it comes from.
        plot_data: What the card's plots show besides the figures.

    Raises:
        InputError: The directory exists and is not empty, `info` breaks the format's rules, or a weight is no number.
    """
    with new_directory(directory) as scratch:
        draft = _draft(trained, info, evaluation).model_copy(update={"lineage": lineage})
        files = _files(trained)
        if plot_data is not None:
            files[PLOT_DATA_FILE] = plot_data.model_dump_json(indent=None).encode() + b"\n"
        plots = draw_plots(draft, plot_data)
        files |= {plot.path: plot.svg.encode() for plot in plots}
        files[CARD_FILE] = render_card(draft, plots=plots).encode()
        listed = tuple(_listed(path, data) for path, data in sorted(files.items()))
        manifest = draft.model_copy(update={"files": listed})
        for path, data in {**files, MANIFEST_FILE: manifest_bytes(manifest)}.items():
            write_file_durably(scratch / path, data)
        verify_directory(scratch)
        appear(scratch, directory)
    return manifest


def open_module(directory: Path, backbone: Backbone) -> TrainedModule:
    """Open a module directory for a backbone.

    Checked in this order, before any weight is used: manifest, file digests, strict safetensors headers, backbone
    fingerprint, tokenizer fingerprint and verbalizer ids, adapter configuration, finite values. Shapes of adapter
    tensors are checked when they are put into the backbone. `Engine.load(…, check=True)` also reproduces golden.json.

    Raises:
        ModuleError: The directory breaks the format or was changed.
        BackboneMismatchError: The module belongs to another backbone.
    """
    manifest = verify_directory(directory)
    backbone.check_fits(manifest.backbone, read_verbalizer(manifest.task, backbone.tokenizer))
    config: Mapping[str, object] | None = None
    adapter_tensors: Mapping[str, Tensor] = {}
    if manifest.adapter.kind != "none":
        config = json.loads(_read(directory, manifest, ADAPTER_CONFIG_FILE))
        check_config(manifest.adapter, config or {})
        adapter_tensors = _tensors(directory, manifest, ADAPTER_FILE)
    return TrainedModule(
        task=manifest.task,
        backbone=manifest.backbone,
        adapter=manifest.adapter,
        head=manifest.head,
        training=manifest.training,
        calibration=manifest.calibration,
        golden=parse_golden(_read(directory, manifest, GOLDEN_FILE)),
        adapter_config=config,
        adapter_tensors=adapter_tensors,
        head_tensors=_tensors(directory, manifest, HEAD_FILE) if manifest.head.parts else {},
        profile=parse_profile(_read(directory, manifest, PROFILE_FILE)) if _lists(manifest, PROFILE_FILE) else None,
    )


def _draft(trained: TrainedModule, info: ModuleInfo, evaluation: tuple[EvaluationSpec, ...]) -> Manifest:
    try:
        return Manifest(
            name=info.name,
            version=info.version,
            description=info.description,
            license=info.license,
            languages=info.languages,
            task=trained.task,
            backbone=trained.backbone,
            adapter=trained.adapter,
            head=trained.head,
            calibration=trained.calibration,
            training=trained.training,
            evaluation=evaluation,
            files=(),
        )
    except ValidationError as error:
        raise InputError(f"the module cannot be described: {first_problem(error)}") from error


def _files(trained: TrainedModule) -> dict[str, bytes]:
    _check_finite(trained.head_tensors, "head")
    _check_finite(trained.adapter_tensors, "adapter")
    files = {GOLDEN_FILE: trained.golden.model_dump_json(indent=2).encode() + b"\n"}
    if trained.profile is not None:
        files[PROFILE_FILE] = profile_bytes(trained.profile)
    if trained.head.parts:
        files[HEAD_FILE] = safetensors.torch.save(dict(trained.head_tensors))
    if trained.adapter_config is not None:
        files[ADAPTER_FILE] = safetensors.torch.save(dict(trained.adapter_tensors), metadata={"format": "pt"})
        files[ADAPTER_CONFIG_FILE] = json.dumps(trained.adapter_config, indent=2).encode() + b"\n"
    return files


def _check_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise InputError(
                f"the {what}'s tensor {name} holds NaN or infinity: train again with a lower learning rate"
            )


def _listed(path: str, data: bytes) -> FileSpec:
    return FileSpec(path=path, size=len(data), sha256=sha256_bytes(data))


def _lists(manifest: Manifest, path: str) -> bool:
    return any(file.path == path for file in manifest.files)


def _read(directory: Path, manifest: Manifest, path: str) -> bytes:
    """The bytes of a listed file, hashed again: what is used is what was checked, whatever happens to the directory."""
    data = (directory / path).read_bytes()
    promised = next(file.sha256 for file in manifest.files if file.path == path)
    if sha256_bytes(data) != promised:
        raise DigestMismatchError(f"{directory / path} was changed while it was read: pull the module again")
    return data


def _tensors(directory: Path, manifest: Manifest, path: str) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(_read(directory, manifest, path))
    except SafetensorError as error:
        raise TensorFileError(f"{directory / path} is no safetensors file: {error}") from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise TensorFileError(f"{directory / path}: tensor {name} holds NaN or infinity: train the module again")
    return tensors


__all__ = ["ModuleInfo", "open_module", "read_manifest", "save_module"]
