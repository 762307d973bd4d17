"""What somebody found who measured a module again: an in-toto Statement v1 with the predicate test-result.

https://github.com/in-toto/attestation, spec/predicates/test-result.md, version 0.1. It binds figures to the digest of a
module's manifest, to that of the rows, and to those of the backbone; it travels in a DSSE envelope as signatures do.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints

from petapter_schemas import strict_json
from petapter_schemas.digests import Sha256
from petapter_schemas.manifest import EvaluationSet, EvaluationSpec, Interval, Manifest, RequiredText, ShortText
from petapter_schemas.measurement import Measurement
from petapter_schemas.module_facts import Known
from petapter_schemas.names import ModuleName
from petapter_schemas.sem_ver import SemVer
from petapter_schemas.signature import DigestSet, Envelope, Instant, Subject, parse_payload, write_instant

PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"
EXTENSION = "urn:petapter:evaluation:1"
"""The field of the predicate that holds what in-toto has no words for."""

DEFAULT_TOLERANCE = 0.002
"""By how much a figure may differ unless something else is declared: processors differ in how they round sums."""

EVALUATION_SET = "evaluation-set"
BACKBONE_CONFIG, BACKBONE_WEIGHTS, BACKBONE_TOKENIZER = "backbone-config", "backbone-weights", "backbone-tokenizer"
"""Names in `configuration`."""

Tolerance = Annotated[float, Field(ge=0, le=1)]


class ResourceDescriptor(Known):
    """in-toto's ResourceDescriptor, of which name and sha256 count here."""

    name: ShortText
    digest: DigestSet


class ComparedFigure(Known):
    """A measured figure, and the one that the module's manifest declares on the same rows, if it does."""

    metric: RequiredText
    value: float
    interval: Interval
    declared: float | None = None

    def is_within(self, tolerance: float) -> bool | None:
        """Whether it is what was declared; None where nothing was."""
        return None if self.declared is None else abs(self.value - self.declared) <= tolerance


class EvaluationDetail(Known):
    """What in-toto's predicate has no words for.

    Attributes:
        repository: `namespace/name` that was measured.
        module: Its name, as in the manifest.
        version: Its version, likewise.
        evaluation_set: The rows.
        tolerance: By how much a figure may differ from the declared one.
        figures: What was measured.
        labels: In the module's order.
        confusion: Rows of each label by the label they were given; None where there are too many labels or several.
        hardware: What it ran on.
        libraries: Versions.
        measured: When, by the clock of who measured.
    """

    repository: Annotated[str, StringConstraints(max_length=300)]
    module: ModuleName
    version: SemVer
    evaluation_set: EvaluationSet
    tolerance: Tolerance
    figures: Annotated[tuple[ComparedFigure, ...], Field(min_length=1, max_length=100)]
    labels: tuple[RequiredText, ...] = ()
    confusion: tuple[tuple[int, ...], ...] | None = None
    hardware: ShortText = ""
    libraries: dict[ShortText, ShortText] = Field(default_factory=dict)
    measured: Instant

    @classmethod
    def of(cls, measured: Measurement, manifest: Manifest, *, repository: str, tolerance: float) -> Self:
        """What a measurement says beside what the manifest declares, as of now."""
        return cls(
            repository=repository,
            module=manifest.name,
            version=manifest.version,
            evaluation_set=measured.evaluation_set,
            tolerance=tolerance,
            figures=compared(measured, manifest.evaluation),
            labels=measured.labels if measured.confusion is not None else (),
            confusion=measured.confusion,
            hardware=measured.hardware,
            libraries=measured.libraries,
            measured=write_instant(datetime.now(UTC)),
        )


class TestResult(Known):
    """The predicate: a test is a figure, which passes where it is what was declared, and warns where nothing was."""

    __test__ = False  # no class of tests, whatever its name

    result: Literal["PASSED", "WARNED", "FAILED"]
    configuration: tuple[ResourceDescriptor, ...]
    passed_tests: tuple[str, ...] = Field(alias="passedTests", default=())
    warned_tests: tuple[str, ...] = Field(alias="warnedTests", default=())
    failed_tests: tuple[str, ...] = Field(alias="failedTests", default=())
    evaluation: EvaluationDetail = Field(alias=EXTENSION)


class EvaluationStatement(Known):
    """An in-toto Statement v1 about what a module version was measured to be."""

    type_: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type", default="https://in-toto.io/Statement/v1")
    subject: Annotated[tuple[Subject, ...], Field(min_length=1, max_length=1)]
    predicate_type: Literal["https://in-toto.io/attestation/test-result/v0.1"] = Field(
        alias="predicateType", default="https://in-toto.io/attestation/test-result/v0.1"
    )
    predicate: TestResult

    @property
    def manifest_sha256(self) -> str:
        """The digest of the manifest of the module that was measured."""
        return self.subject[0].digest.sha256

    @property
    def detail(self) -> EvaluationDetail:
        """What was measured."""
        return self.predicate.evaluation

    @classmethod
    def about(cls, manifest: Manifest, manifest_sha256: Sha256, detail: EvaluationDetail) -> Self:
        """A statement about a module version."""
        within = {figure.metric: figure.is_within(detail.tolerance) for figure in detail.figures}
        failed, passed = _named(within, verdict=False), _named(within, verdict=True)
        predicate = TestResult.model_validate(
            {
                "result": "FAILED" if failed else "PASSED" if passed else "WARNED",
                "configuration": configuration_of(manifest, detail.evaluation_set),
                "passedTests": passed,
                "warnedTests": _named(within, verdict=None),
                "failedTests": failed,
                EXTENSION: detail,
            }
        )
        return cls(subject=(Subject(digest=DigestSet(sha256=manifest_sha256)),), predicate=predicate)

    def to_bytes(self) -> bytes:
        """The payload to sign."""
        return strict_json.canonical(self.model_dump(mode="json", by_alias=True))


def configuration_of(manifest: Manifest, evaluation_set: EvaluationSet) -> tuple[ResourceDescriptor, ...]:
    """What a module is measured with: the rows and the backbone."""
    digests = {
        EVALUATION_SET: evaluation_set.sha256,
        BACKBONE_CONFIG: manifest.backbone.config_sha256,
        BACKBONE_WEIGHTS: manifest.backbone.weights_sha256,
        BACKBONE_TOKENIZER: manifest.backbone.tokenizer_sha256,
    }
    return tuple(ResourceDescriptor(name=name, digest=DigestSet(sha256=sha256)) for name, sha256 in digests.items())


def compared(measured: Measurement, declared: Iterable[EvaluationSpec]) -> tuple[ComparedFigure, ...]:
    """The measured figures, each beside the one that is declared on the same rows."""
    rows = measured.evaluation_set.sha256
    said = {figure.metric: figure.value for figure in declared if figure.evaluation_set.sha256 == rows}
    return tuple(
        ComparedFigure(
            metric=figure.metric, value=figure.value, interval=figure.interval, declared=said.get(figure.metric)
        )
        for figure in measured.figures
    )


def are_within(figures: Sequence[ComparedFigure], tolerance: float) -> bool | None:
    """Whether every figure that was declared is what was measured; None where none was declared."""
    verdicts = [verdict for figure in figures if (verdict := figure.is_within(tolerance)) is not None]
    return all(verdicts) if verdicts else None


def parse_evaluation(envelope: Envelope, *, source: str) -> EvaluationStatement:
    """What an envelope says of a measured module; to be believed only after one of its signatures was verified.

    Raises:
        SignatureError: Its payload is no such statement.
    """
    return parse_payload(EvaluationStatement, envelope, source=source, what="result of an evaluation")


def _named(within: dict[str, bool | None], *, verdict: bool | None) -> tuple[str, ...]:
    return tuple(metric for metric, found in within.items() if found is verdict)
