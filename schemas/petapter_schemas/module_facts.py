"""What a registry derives from a module's verified files; search, comparison and compatibility rest on these facts."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from petapter_schemas.digests import Sha256
from petapter_schemas.manifest import BackboneSpec, EvaluationSpec, Manifest

ModuleKind = Literal["petapter", "peft"]


class Known(BaseModel):
    """A frozen value in a registry's answer; readers pass over fields that a later registry adds."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class BackboneFacts(Known):
    """The backbone that a module needs. Of a plain peft adapter nothing but the name is known."""

    repo: str
    revision: str | None = None
    architecture: str | None = None
    config_sha256: Sha256 | None = None
    weights_sha256: Sha256 | None = None
    tokenizer_sha256: Sha256 | None = None

    @classmethod
    def of(cls, backbone: BackboneSpec) -> Self:
        """The facts of a manifest's backbone."""
        return cls.model_validate(backbone.model_dump(include=set(cls.model_fields)))


class MetricFacts(Known):
    """A measured figure with its interval, and the rows it was measured on."""

    metric: str
    value: float
    low: float
    high: float
    level: float
    evaluation_set: str
    split: str
    sha256: Sha256
    n: int
    status: Literal["declared", "reproduced", "verified", "disputed"]

    @classmethod
    def of(cls, measured: EvaluationSpec) -> Self:
        """The facts of one entry of a manifest's evaluation."""
        rows, interval = measured.evaluation_set, measured.interval
        return cls(
            metric=measured.metric,
            value=measured.value,
            low=interval.low,
            high=interval.high,
            level=interval.level,
            evaluation_set=rows.name,
            split=rows.split,
            sha256=rows.sha256,
            n=rows.n,
            status=measured.status,
        )


class ModuleFacts(Known):
    """A module, or a plain peft adapter, at one commit.

    Attributes:
        digest: Of petapter.json; None for a plain peft adapter, as all that only a manifest says.
        labels: In the module's order, as it writes them.
        size_bytes: Of all files of the module.
        parent: Digest of the manifest that the module was trained on from.
        merged_from: Digests of the manifests of the modules it was merged from.
    """

    kind: ModuleKind
    digest: Sha256 | None = None
    version: str | None = None
    description: str = ""
    license: str | None = None
    languages: tuple[str, ...] = ()
    task_type: Literal["single-label", "multi-label"] | None = None
    labels: tuple[str, ...] = ()
    patterns: int = 0
    backbone: BackboneFacts | None = None
    adapter_kind: str = "none"
    parameters: int | None = None
    size_bytes: int
    metrics: tuple[MetricFacts, ...] = ()
    parent: Sha256 | None = None
    trained_from: tuple[str, ...] = ()
    merged_from: tuple[Sha256, ...] = ()


def facts_of_manifest(manifest: Manifest, *, digest: str, manifest_bytes: int) -> ModuleFacts:
    """The facts of a verified module.

    Args:
        manifest: Verified against the module's files.
        digest: sha256 of petapter.json.
        manifest_bytes: Its size; the manifest lists those of the other files.
    """
    lineage = manifest.lineage
    return ModuleFacts(
        kind="petapter",
        digest=digest,
        version=manifest.version,
        description=manifest.description,
        license=manifest.license,
        languages=manifest.languages,
        task_type=manifest.task.type,
        labels=manifest.task.label_names,
        patterns=len(manifest.task.patterns),
        backbone=BackboneFacts.of(manifest.backbone),
        adapter_kind=manifest.adapter.kind,
        parameters=manifest.adapter.parameters + manifest.head.parameters,
        size_bytes=manifest_bytes + sum(file.size for file in manifest.files),
        metrics=tuple(map(MetricFacts.of, manifest.evaluation)),
        parent=lineage.parent,
        trained_from=lineage.trained_from,
        merged_from=tuple(member.manifest_sha256 for member in lineage.merge.members) if lineage.merge else (),
    )
