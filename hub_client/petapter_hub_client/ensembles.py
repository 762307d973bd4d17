"""Modules that answer together, from an ensemble's directory or a stack: where they lie, and what they are as one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from petapter_schemas.digests import Sha256, sha256_file
from petapter_schemas.ensemble import ENSEMBLE_FILE, is_ensemble, read_ensemble, verify_ensemble
from petapter_schemas.errors import StackError
from petapter_schemas.manifest import MANIFEST_FILE, Manifest
from petapter_schemas.module_files import verify_directory
from petapter_schemas.task import TaskSpec


@dataclass(frozen=True)
class Members:
    """How modules answer together, as `Engine.load_ensemble` takes it.

    Attributes:
        directories: Of the modules, by what they go by in the ensemble.
        weights: What each counts, in their order.
        thresholds: By label, of a multi-label task; None is 0.5.
    """

    directories: Mapping[str, Path]
    weights: tuple[float, ...]
    thresholds: tuple[float, ...] | None = None


def members_of(directory: Path) -> Members | None:
    """The members of an ensemble's directory, which are not looked at; None if it holds no ensemble.

    Raises:
        ManifestError: Its ensemble.json breaks the format.
    """
    if not is_ensemble(directory):
        return None
    ensemble = read_ensemble(directory)
    return Members(ensemble.member_directories(directory), ensemble.weights, ensemble.thresholds)


def verify_any(directory: Path) -> Manifest:
    """Check the directory of a module or an ensemble completely; of an ensemble, `manifest_of_all` of its members.

    Raises:
        ModuleError: It must not be used.
    """
    return manifest_of_all(verify_ensemble(directory)[1]) if is_ensemble(directory) else verify_directory(directory)


def name_file(directory: Path) -> Path:
    """The file of a module's or an ensemble's directory whose digest names every byte of it."""
    return directory / (ENSEMBLE_FILE if is_ensemble(directory) else MANIFEST_FILE)


def digest_of(directory: Path) -> Sha256:
    """Digest of that file.

    Raises:
        OSError: It cannot be read.
    """
    return sha256_file(name_file(directory))


def task_of_all(manifests: Sequence[Manifest]) -> TaskSpec:
    """The task of the first of modules that have the same labels, with the text fields that all together need."""
    fields = dict.fromkeys(field for manifest in manifests for field in manifest.task.fields)
    return manifests[0].task.model_copy(update={"fields": tuple(fields)})


def manifest_of_all(manifests: Sequence[Manifest]) -> Manifest:
    """The manifest of the first of them, with the text fields that all together need."""
    return manifests[0].model_copy(update={"task": task_of_all(manifests)})


def check_together(members: Mapping[str, Manifest]) -> None:
    """Refuse modules, by name, that cannot answer together: type of task and labels in their order must be the same.

    Raises:
        StackError: They are not.
    """
    (first, shown), *others = members.items()
    for name, manifest in others:
        for what, here, there in (
            ("types of task", manifest.task.type, shown.task.type),
            ("labels (or their order)", manifest.task.label_names, shown.task.label_names),
        ):
            if here != there:
                raise StackError(f"{first} and {name} have different {what}: such modules cannot answer together")
