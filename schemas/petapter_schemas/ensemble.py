"""`ensemble.json`, format version 1: modules that answer together, and the directory that holds them."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from petapter_schemas import strict_json
from petapter_schemas.digests import Sha256, sha256_file
from petapter_schemas.documents import parse_document
from petapter_schemas.errors import DigestMismatchError, ManifestError
from petapter_schemas.frozen import Frozen
from petapter_schemas.manifest import (
    MANIFEST_FILE,
    BackboneSpec,
    Description,
    EvaluationSpec,
    Language,
    License,
    LineageSpec,
    Manifest,
    RequiredText,
    ShortText,
)
from petapter_schemas.merge_spec import MAX_MEMBERS, Weight, check_shares
from petapter_schemas.module_files import verify_directory
from petapter_schemas.names import LabelName, ModuleName
from petapter_schemas.sem_ver import SemVer

ENSEMBLE_FILE = "ensemble.json"
MEMBERS_FOLDER = "members"

Threshold = Annotated[float, Field(ge=0, le=1)]


class EnsembleBackbone(Frozen):
    """The backbone that all members share, by the names and digests of `BackboneSpec`."""

    repo: RequiredText
    revision: ShortText | None = None
    architecture: ShortText
    config_sha256: Sha256
    weights_sha256: Sha256
    tokenizer_sha256: Sha256

    @classmethod
    def of(cls, backbone: BackboneSpec) -> Self:
        """What a module's manifest says of its backbone, without its label words."""
        return cls.model_validate(backbone.model_dump(include=set(cls.model_fields)))

    @property
    def digests(self) -> tuple[Sha256, Sha256, Sha256]:
        """What decides whether two backbones are the same."""
        return self.config_sha256, self.weights_sha256, self.tokenizer_sha256


class EnsembleMember(Frozen):
    """A module directory inside the ensemble's; `manifest_sha256` names every byte of it."""

    path: Annotated[str, Field(pattern=rf"^{MEMBERS_FOLDER}/[0-9]{{1,4}}$")]
    name: ModuleName
    version: SemVer
    manifest_sha256: Sha256
    weight: Weight


class EnsembleSpec(Frozen):
    """The whole ensemble.json. The probability of a label is the weighted mean of what the members say.

    `thresholds` by label are those of a multi-label task, 0.5 without them; `tuned_on` names the rows they were chosen
    on, as `rows_sha256` does.
    """

    schema_version: Literal[1] = 1  # written always; `parse_ensemble` refuses a file without it
    name: ModuleName
    version: SemVer
    description: Description = ""
    license: License | None = None
    languages: tuple[Language, ...] = ()
    type: Literal["single-label", "multi-label"]
    labels: Annotated[tuple[LabelName, ...], Field(min_length=2, max_length=4096)]
    backbone: EnsembleBackbone
    members: Annotated[tuple[EnsembleMember, ...], Field(min_length=2, max_length=MAX_MEMBERS)]
    thresholds: tuple[Threshold, ...] | None = None
    tuned_on: Sha256 | None = None
    evaluation: tuple[EvaluationSpec, ...] = ()
    lineage: LineageSpec = LineageSpec()

    @property
    def weights(self) -> tuple[float, ...]:
        """What each member counts."""
        return tuple(member.weight for member in self.members)

    def member_directories(self, directory: Path) -> dict[str, Path]:
        """Where the members of an ensemble's directory lie, by the last part of their path."""
        return {member.path.rpartition("/")[2]: directory / member.path for member in self.members}

    @field_validator("members")
    @classmethod
    def _fit_together(cls, members: tuple[EnsembleMember, ...]) -> tuple[EnsembleMember, ...]:
        check_shares([member.weight for member in members])
        if len({member.path for member in members}) < len(members):
            raise ValueError("two members have the same path: give each a directory of its own")
        return members

    @model_validator(mode="after")
    def _thresholds_fit(self) -> Self:
        if self.thresholds is not None and (self.type, len(self.thresholds)) != ("multi-label", len(self.labels)):
            raise ValueError("thresholds belong to multi-label tasks and have one number per label")
        return self


def is_ensemble(directory: Path) -> bool:
    """Whether a directory holds an ensemble, or claims to."""
    return (directory / ENSEMBLE_FILE).is_file()


def parse_ensemble(data: bytes) -> EnsembleSpec:
    """Read an ensemble from the bytes of ensemble.json.

    Raises:
        ManifestError: The bytes are no ensemble of format version 1.
    """
    return parse_document(EnsembleSpec, data, source=ENSEMBLE_FILE, what="ensemble")


def ensemble_bytes(ensemble: EnsembleSpec) -> bytes:
    """The bytes of ensemble.json: indented for readers, with a newline at the end.

    Raises:
        ManifestError: They are more than a reader accepts.
    """
    data = ensemble.model_dump_json(indent=2).encode() + b"\n"
    if len(data) > strict_json.MAX_JSON_BYTES:
        raise ManifestError(
            f"{ENSEMBLE_FILE} would have {len(data)} bytes, more than a reader accepts: use fewer members"
        )
    return data


def read_ensemble(directory: Path) -> EnsembleSpec:
    """Read the ensemble.json of a directory; its members are not looked at.

    Raises:
        ManifestError: There is none, or it breaks the format.
    """
    location = directory / ENSEMBLE_FILE
    if location.is_symlink():
        raise ManifestError(f"{location} is a link: copy the file itself there")
    try:
        with location.open("rb") as stream:
            data = stream.read(strict_json.MAX_JSON_BYTES + 1)
    except OSError as error:
        raise ManifestError(f"{directory} is no ensemble: it has no readable {ENSEMBLE_FILE}") from error
    return parse_ensemble(data)


def verify_ensemble(directory: Path) -> tuple[EnsembleSpec, tuple[Manifest, ...]]:
    """Check an ensemble directory completely: its file, then each member as `verify_directory` does.

    Returns:
        The ensemble, and the manifests of its members in their order.

    Raises:
        ManifestError: A JSON file breaks the format, a member is missing, a link, or not the module it is said to be.
        DigestMismatchError: A member's manifest, or a file that it lists, was changed.
        TensorFileError: A member's tensors break the rules.
    """
    ensemble = read_ensemble(directory)
    return ensemble, tuple(_verify_member(directory, ensemble, member) for member in ensemble.members)


def _verify_member(directory: Path, ensemble: EnsembleSpec, member: EnsembleMember) -> Manifest:
    inside = directory / member.path
    if (directory / MEMBERS_FOLDER).is_symlink() or inside.is_symlink():
        raise ManifestError(f"{inside} is or goes through a link: copy the module itself there")
    location = inside / MANIFEST_FILE
    if not location.is_file() or location.is_symlink():
        raise ManifestError(f"{inside} is listed in {ENSEMBLE_FILE} but holds no module: make the ensemble again")
    if (found := sha256_file(location)) != member.manifest_sha256:
        raise DigestMismatchError(
            f"{location} was changed: its sha256 is {found[:12]}…, {ENSEMBLE_FILE} says "
            f"{member.manifest_sha256[:12]}…; make the ensemble again"
        )
    manifest = verify_directory(inside)
    said = (member.name, member.version, ensemble.type, ensemble.labels, ensemble.backbone.digests)
    task = manifest.task
    if said != (manifest.name, manifest.version, task.type, task.label_names, manifest.backbone.digests):
        raise ManifestError(
            f"{inside} is not what {ENSEMBLE_FILE} says: name, version, labels or backbone differ; make it again"
        )
    return manifest
