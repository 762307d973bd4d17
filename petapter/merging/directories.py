"""Saves an ensemble as a directory: ensemble.json and a whole module directory for each member."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from petapter.merging.members import check_alike
from petapter.module import ModuleInfo
from petapter.runtime.ensembles import shares
from petapter_schemas.digests import sha256_file
from petapter_schemas.durable import appear, new_directory, write_file_durably
from petapter_schemas.ensemble import (
    ENSEMBLE_FILE,
    MEMBERS_FOLDER,
    EnsembleBackbone,
    EnsembleMember,
    EnsembleSpec,
    ensemble_bytes,
    verify_ensemble,
)
from petapter_schemas.errors import InputError
from petapter_schemas.manifest import MANIFEST_FILE, EvaluationSpec, LineageSpec, Manifest
from petapter_schemas.messages import first_problem
from petapter_schemas.module_files import verify_directory


@dataclass(frozen=True)
class EnsembleParts:
    """What an ensemble is made of.

    Attributes:
        members: Module directories.
        weights: What each counts; None counts all alike.
        thresholds: By label, of a multi-label task.
        tuned_on: The digest of the rows that thresholds or weights were chosen on.
        trained_from: References of members that were pulled.
    """

    members: Sequence[Path]
    weights: Sequence[float] | None = None
    thresholds: tuple[float, ...] | None = None
    tuned_on: str | None = None
    trained_from: tuple[str, ...] = ()


def save_ensemble(
    parts: EnsembleParts, directory: Path, info: ModuleInfo, *, evaluation: tuple[EvaluationSpec, ...] = ()
) -> EnsembleSpec:
    """Write an ensemble directory: members into a scratch directory beside it, ensemble.json last, then one rename.

    Raises:
        InputError: The directory exists and is not empty, the members do not go together, or `info` breaks the rules.
        ModuleError: A member must not be used.
    """
    with new_directory(directory) as scratch:
        manifests = [verify_directory(member) for member in parts.members]
        check_alike(manifests, [manifest.name for manifest in manifests])
        for number, (member, manifest) in enumerate(zip(parts.members, manifests, strict=True)):
            _copy(member, manifest, scratch / MEMBERS_FOLDER / str(number))
        ensemble = _described(parts, scratch, manifests, info, evaluation)
        write_file_durably(scratch / ENSEMBLE_FILE, ensemble_bytes(ensemble))
        verify_ensemble(scratch)
        appear(scratch, directory)
    return ensemble


def _copy(member: Path, manifest: Manifest, into: Path) -> None:
    for path in (*(file.path for file in manifest.files), MANIFEST_FILE):
        (into / path).parent.mkdir(parents=True, exist_ok=True)
        write_file_durably(into / path, (member / path).read_bytes())


def _described(
    parts: EnsembleParts,
    scratch: Path,
    manifests: Sequence[Manifest],
    info: ModuleInfo,
    evaluation: tuple[EvaluationSpec, ...],
) -> EnsembleSpec:
    task = manifests[0].task
    weights = shares(parts.weights, len(manifests))
    members = tuple(
        EnsembleMember(
            path=(path := f"{MEMBERS_FOLDER}/{number}"),
            name=manifest.name,
            version=manifest.version,
            manifest_sha256=sha256_file(scratch / path / MANIFEST_FILE),
            weight=weight,
        )
        for number, (manifest, weight) in enumerate(zip(manifests, weights, strict=True))
    )
    try:
        return EnsembleSpec(
            name=info.name,
            version=info.version,
            description=info.description,
            license=info.license,
            languages=info.languages,
            type=task.type,
            labels=task.label_names,
            backbone=EnsembleBackbone.of(manifests[0].backbone),
            members=members,
            thresholds=parts.thresholds,
            tuned_on=parts.tuned_on,
            evaluation=evaluation,
            lineage=LineageSpec(trained_from=parts.trained_from),
        )
    except ValidationError as error:
        raise InputError(f"the ensemble cannot be described: {first_problem(error)}") from error
