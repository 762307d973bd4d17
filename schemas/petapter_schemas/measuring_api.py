"""The answers of a registry's native API about evaluations, as server and client both read them."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from petapter_schemas.digests import Sha256
from petapter_schemas.frozen import Frozen
from petapter_schemas.module_facts import Known
from petapter_schemas.registry_api import Date
from petapter_schemas.signature import MAX_SIGNATURE_BYTES

_Name = Annotated[str, StringConstraints(min_length=1, max_length=300)]


class EvaluationRequest(Frozen):
    """What to measure: a revision of the module, by default the one that search shows, on an evaluation set.

    Attributes:
        evaluation_set: `namespace/name`, or `namespace/name@version`; without a version the newest.
        revision: A version, channel, branch or commit.
    """

    evaluation_set: _Name
    revision: _Name | None = None


class Reproduction(Frozen):
    """What somebody measured and signed.

    Attributes:
        envelope: The DSSE envelope, as JSON text.
        public_key: The Ed25519 key that verifies it, in PEM.
    """

    envelope: Annotated[str, StringConstraints(max_length=MAX_SIGNATURE_BYTES)]
    public_key: Annotated[str, StringConstraints(max_length=4096)]


class EvaluationJobState(Known):
    """A job in the queue of the workers, or one that has ended.

    Attributes:
        status: `queued`; `running`; `done`, and `evaluation` is what came out; `failed`, and `problem` says why.
        attempts: How often a worker has begun.
        requested_by: Who asked for it.
    """

    id: int
    module: str
    version: str | None
    commit: str
    evaluation_set: str
    evaluation_set_version: str
    rows_sha256: Sha256
    status: Literal["queued", "running", "done", "failed"]
    attempts: int
    problem: str | None = None
    evaluation: int | None = None
    requested_by: str
    requested: Date
    started: Date | None = None
    finished: Date | None = None


class EvaluationJobList(Known):
    """The last jobs of a module, newest first."""

    jobs: tuple[EvaluationJobState, ...]


class MeasuredFigure(Known):
    """A measured figure.

    Attributes:
        declared: What the manifest says on the same rows; None where it says nothing.
        is_within: Whether that is what was measured, within the tolerance; None where nothing was declared.
    """

    metric: str
    value: float
    low: float
    high: float
    level: float
    declared: float | None = None
    is_within: bool | None = None


class EvaluationState(Known):
    """What somebody measured of a module version, and signed.

    Attributes:
        digest: Of the manifest.
        status: `verified` and `disputed` by a worker of the registry, `reproduced` and `disputed` by somebody else.
        counts: Whether this one decides what search and pages say of these rows: the last of a worker, else the last.
        by: The worker's key, or the user.
        key: Fingerprint of the key that signed.
        labels: In the order of `confusion`.
        confusion: Rows of each label by the label they were given.
        envelope: The DSSE envelope of the in-toto statement: `petapter_schemas.evaluation_result` reads it.
    """

    id: int
    module: str
    version: str | None
    commit: str
    digest: Sha256
    evaluation_set: str
    split: str
    rows_sha256: Sha256
    n: int
    status: Literal["verified", "reproduced", "disputed"]
    counts: bool
    by: str
    by_worker: bool
    key: Sha256
    tolerance: float
    figures: tuple[MeasuredFigure, ...]
    labels: tuple[str, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    measured: Date
    envelope: dict[str, Any]


class EvaluationList(Known):
    """What was measured of a module, newest first."""

    evaluations: tuple[EvaluationState, ...]


class WorkerKeyState(Known):
    """A key whose holder measures for the registry; what a revoked one signed no longer counts for careful readers."""

    name: str
    fingerprint: Sha256
    public_key: str = Field(description="SubjectPublicKeyInfo in PEM.")
    created: Date
    revoked: Date | None = None


class WorkerKeyList(Known):
    """All keys of workers, also revoked ones."""

    keys: tuple[WorkerKeyState, ...]
