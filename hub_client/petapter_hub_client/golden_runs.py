# ruff: noqa: PLC0415 (torch is imported when there is something to compute)
"""Computes the golden outputs of a module that has none, where torch and its backbone are on this machine."""

import math
from importlib.util import find_spec
from pathlib import Path

from petapter_hub_client.local_backbones import ResolvedBackbone, find_here
from petapter_schemas.digests import sha256_bytes
from petapter_schemas.durable import write_file_durably
from petapter_schemas.errors import ManifestError
from petapter_schemas.golden import GOLDEN_FILE, Golden, Probe
from petapter_schemas.manifest import MANIFEST_FILE, FileSpec, Manifest, manifest_bytes, read_manifest
from petapter_schemas.module_files import verify_directory


def complete_golden(directory: Path) -> Manifest:
    """Let a module answer the probe texts and write what it says into its directory.

    Args:
        directory: A module that lacks golden.json alone; it may be written.

    Returns:
        The new manifest.

    Raises:
        ModuleError: Something else is wrong with it, or torch or the backbone is not on this machine.
        BackboneError: What is here under the backbone's name is another one.
    """
    manifest = read_manifest(directory)
    backbone = _backbone_of(manifest)
    from petapter.golden import probe_texts

    texts = probe_texts(manifest.task.fields)
    even = (-math.log(len(manifest.task.labels)),) * len(manifest.task.labels)
    nothing = Golden(probes=tuple(Probe(fields=text, log_probabilities=even) for text in texts))
    _write(directory, nothing)  # so that all else can be checked before a weight is used
    verify_directory(directory)
    return _write(directory, _answers(directory, manifest, backbone, texts))


def _backbone_of(manifest: Manifest) -> ResolvedBackbone:
    why = f"{manifest.name} has no golden outputs ({GOLDEN_FILE}), which show others that it answers as it did here"
    if any(find_spec(library) is None for library in ("torch", "transformers", "peft")):
        raise ManifestError(f"{why}: they are computed where torch is, so pip install 'petapter[train]' and push again")
    if (found := find_here(manifest.backbone.repo, revision=manifest.backbone.revision)) is None:
        raise ManifestError(
            f"{why}: they are computed on its backbone {manifest.backbone.repo}, which is not on this machine; "
            "push from one that has it, or run 'petapter evaluate' with it first"
        )
    return found


def _answers(directory: Path, manifest: Manifest, backbone: ResolvedBackbone, texts: list[dict[str, str]]) -> Golden:
    from petapter.golden import record_golden
    from petapter.runtime import Engine
    from petapter_hub_client.local_runs import load_backbone

    with Engine(load_backbone(backbone, device="cpu")) as engine:
        engine.load(directory, manifest.name)
        return record_golden(texts, engine.score([(manifest.name, text) for text in texts])[manifest.name])


def _write(directory: Path, golden: Golden) -> Manifest:
    data = golden.model_dump_json(indent=2).encode() + b"\n"
    write_file_durably(directory / GOLDEN_FILE, data)
    manifest = read_manifest(directory)
    listed = FileSpec(path=GOLDEN_FILE, size=len(data), sha256=sha256_bytes(data))
    others = [file for file in manifest.files if file.path != GOLDEN_FILE]
    files = tuple(sorted([*others, listed], key=lambda file: file.path))
    completed = manifest.model_copy(update={"files": files})
    write_file_durably(directory / MANIFEST_FILE, manifest_bytes(completed))
    return completed
