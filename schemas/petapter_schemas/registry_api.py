"""The answers of a registry's native API, `/api/petapter/v1`, as server and client both read them."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from petapter_schemas.digests import Sha256
from petapter_schemas.frozen import Frozen
from petapter_schemas.module_facts import Known, MetricFacts, ModuleFacts

API = "/api/petapter/v1"
"""Where the routes begin."""

API_HEADER = "X-Petapter-Api"
"""Header of every answer, by which clients tell a registry from another hub; older registries left it off problems."""

API_VERSION = "1"
"""What the header says."""

MAX_COMPARED = 100
"""Modules of one question about compatibility."""

Date = str
"""`YYYY-MM-DDTHH:MM:SS.fffZ`."""


class Problem(Known):
    """An error as RFC 9457 writes it, `application/problem+json`."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str


class FoundModule(Known):
    """A module in a list, at the version that search shows; without any version, at the head of main."""

    id: str
    version: str | None
    revision: str
    commit: str
    updated: Date
    private: bool
    facts: ModuleFacts


class FacetValue(Known):
    """How many of the counted modules have a value."""

    value: str
    modules: int


class ModulePage(Known):
    """One page of a search.

    Attributes:
        modules: In the order asked for.
        next: What the next page asks for as `cursor`; None on the last page.
        facets: By property, the commonest values first; empty unless asked for.
        counted: How many modules the facets count.
        complete: Whether these are all that match; else the first ones in the order of the search.
    """

    modules: tuple[FoundModule, ...]
    next: str | None = None
    facets: dict[str, tuple[FacetValue, ...]] = Field(default_factory=dict)
    counted: int | None = None
    complete: bool | None = None


class Yank(Known):
    """Why, when and by whom a version was withdrawn."""

    reason: str
    at: Date
    by: str


class VersionState(Known):
    """A published version."""

    version: str
    tag: str
    commit: str
    digest: Sha256 | None
    published: Date
    by: str
    yanked: Yank | None
    metrics: tuple[MetricFacts, ...]


class ChannelState(Known):
    """A channel, the version it points to, and the last step that led there; `latest` is derived and has none."""

    name: str
    version: str
    moved: Date | None = None
    by: str | None = None


class ChannelStep(Known):
    """One step in the history of a channel; `version` None ended it."""

    name: str
    version: str | None
    at: Date
    by: str


class ChannelList(Known):
    """The channels of a module, and how they came there, newest step first."""

    channels: tuple[ChannelState, ...]
    history: tuple[ChannelStep, ...]


class ModuleDetail(Known):
    """All about one module: its versions, the highest first, its channels, and what it is at the shown version."""

    id: str
    private: bool
    latest: str | None
    shown: FoundModule | None
    versions: tuple[VersionState, ...]
    channels: tuple[ChannelState, ...]


class Relative(Known):
    """A module that another one comes from or led to; of one that is not here or not visible, the digest alone."""

    digest: Sha256
    id: str | None = None
    version: str | None = None


class Lineage(Known):
    """Where a module comes from, and what was made from it as far as search shows."""

    id: str
    version: str | None
    digest: Sha256 | None
    backbone: str | None
    parent: Relative | None
    trained_from: tuple[str, ...]
    merged_from: tuple[Relative, ...]
    children: tuple[Relative, ...]


class FieldChange(Known):
    """A value of the manifest that differs; None on the side that lacks it, as JSON text else."""

    path: str
    before: str | None
    after: str | None


class FileChange(Known):
    """A file that differs; None on the side that lacks it."""

    path: str
    size_before: int | None
    size_after: int | None
    sha256_before: Sha256 | None
    sha256_after: Sha256 | None


class MetricChange(Known):
    """A figure on the same rows in both versions, or in one of them alone."""

    metric: str
    evaluation_set: str
    sha256: Sha256
    before: float | None
    after: float | None


class ModuleDiff(Known):
    """What differs between two revisions of a module; what is the same is left out, except for figures."""

    id: str
    before: str
    after: str
    fields: tuple[FieldChange, ...]
    files: tuple[FileChange, ...]
    metrics: tuple[MetricChange, ...]


class LocalBackbone(Frozen):
    """The fingerprint of the backbone that somebody has; the digests are those of schemas/README.md."""

    repo: Annotated[str, StringConstraints(max_length=300)] | None = None
    config_sha256: Sha256
    tokenizer_sha256: Sha256
    weights_sha256: Sha256 | None = None


class CompatibilityQuestion(Frozen):
    """Which of some modules run on a backbone: `namespace/name` or `namespace/name@revision`."""

    backbone: LocalBackbone
    modules: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_COMPARED)]


class CompatibilityReason(Known):
    """One thing that was compared and is not the same, or cannot be known."""

    verdict: Literal["warn", "refuse"]
    field: str
    expected: str | None
    found: str | None
    detail: str


class Compatibility(Known):
    """Whether a module runs on a backbone, before any weight is fetched."""

    module: str
    commit: str
    verdict: Literal["ok", "warn", "refuse"]
    reasons: tuple[CompatibilityReason, ...]


class CompatibilityAnswer(Known):
    """One verdict for each module, in the order asked."""

    modules: tuple[Compatibility, ...]


class YankRequest(Frozen):
    """Why a version is withdrawn."""

    reason: str


class ChannelTarget(Frozen):
    """The version that a channel shall point to."""

    version: str
