"""A result is an in-toto test-result about a manifest; what differs by more than the tolerance fails."""

import json
from dataclasses import dataclass

import pytest

from petapter_schemas.ed25519 import new_key_pem, read_private_key, sign_payload
from petapter_schemas.errors import SignatureError
from petapter_schemas.evaluation_result import (
    EXTENSION,
    PREDICATE_TYPE,
    EvaluationDetail,
    EvaluationStatement,
    are_within,
    parse_evaluation,
)
from petapter_schemas.manifest import EvaluationSet, EvaluationSpec, Interval, Manifest
from petapter_schemas.measurement import Measurement
from petapter_schemas.signature import Envelope
from tests.schemas.tiny_module import tiny_manifest

DIGEST, ROWS, OTHER_ROWS = "1" * 64, "2" * 64, "3" * 64


@dataclass(frozen=True)
class Figure:
    metric: str
    value: float
    rows: str = ROWS

    @property
    def spec(self) -> EvaluationSpec:
        rows = EvaluationSet(name="reviews", sha256=self.rows, split="test", n=100)
        interval = Interval(low=0.0, high=1.0)
        return EvaluationSpec(
            metric=self.metric, value=self.value, interval=interval, evaluation_set=rows, seeds=(0,), status="verified"
        )


def declaring(*figures: Figure) -> Manifest:
    return tiny_manifest().model_copy(update={"evaluation": tuple(figure.spec for figure in figures)})


def measured(*figures: Figure) -> Measurement:
    return Measurement(
        module_sha256=DIGEST,
        figures=tuple(figure.spec for figure in figures),
        labels=("a", "b"),
        confusion=((60, 0), (10, 30)),
        hardware="a processor",
        libraries={"torch": "2"},
        seconds=1.0,
    )


def statement(manifest: Manifest, *figures: Figure, tolerance: float = 0.002) -> EvaluationStatement:
    detail = EvaluationDetail.of(measured(*figures), manifest, repository="team/tickets", tolerance=tolerance)
    return EvaluationStatement.about(manifest, DIGEST, detail)


def test_payload_has_the_fields_of_in_toto() -> None:
    manifest = declaring(Figure("accuracy", 0.9))
    payload = json.loads(statement(manifest, Figure("accuracy", 0.9), Figure("ece", 0.1)).to_bytes())
    assert payload["_type"] == "https://in-toto.io/Statement/v1"
    assert payload["subject"] == [{"name": "petapter.json", "digest": {"sha256": DIGEST}}]
    assert payload["predicateType"] == PREDICATE_TYPE
    predicate = payload["predicate"]
    assert (predicate["result"], predicate["passedTests"], predicate["warnedTests"]) == (
        "PASSED",
        ["accuracy"],
        ["ece"],
    )
    named = {each["name"]: each["digest"]["sha256"] for each in predicate["configuration"]}
    assert named == {
        "evaluation-set": ROWS,
        "backbone-config": manifest.backbone.config_sha256,
        "backbone-weights": manifest.backbone.weights_sha256,
        "backbone-tokenizer": manifest.backbone.tokenizer_sha256,
    }
    assert predicate[EXTENSION]["confusion"] == [[60, 0], [10, 30]]


@pytest.mark.parametrize(
    ("declared", "found", "result"),
    [
        (Figure("accuracy", 0.9), 0.9, "PASSED"),
        (Figure("accuracy", 0.9), 0.8981, "PASSED"),
        (Figure("accuracy", 0.9), 0.897, "FAILED"),
        (Figure("accuracy", 0.9), 0.95, "FAILED"),
        (Figure("accuracy", 0.9, OTHER_ROWS), 0.1, "WARNED"),
        (Figure("macro_f1", 0.9), 0.1, "WARNED"),
    ],
)
def test_result_follows_from_what_was_declared_on_the_same_rows(declared: Figure, found: float, result: str) -> None:
    """A better figure than the declared one differs too."""
    said = statement(declaring(declared), Figure("accuracy", found))
    assert said.predicate.result == result
    verdict = {"PASSED": True, "FAILED": False, "WARNED": None}[result]
    assert are_within(said.detail.figures, said.detail.tolerance) is verdict


def test_one_figure_that_differs_fails_the_whole() -> None:
    manifest = declaring(Figure("accuracy", 0.9), Figure("macro_f1", 0.8))
    said = statement(manifest, Figure("accuracy", 0.9), Figure("macro_f1", 0.7))
    assert (said.predicate.result, said.predicate.passed_tests, said.predicate.failed_tests) == (
        "FAILED", ("accuracy",), ("macro_f1",),
    )  # fmt: skip


def test_envelope_of_a_result_is_read_back() -> None:
    said = statement(declaring(), Figure("accuracy", 0.9))
    envelope = sign_payload(said.to_bytes(), read_private_key(new_key_pem(), source="key"))
    assert parse_evaluation(envelope, source="it") == said


def test_envelope_of_something_else_is_refused() -> None:
    for payload in (b"{}", b'{"_type":"https://in-toto.io/Statement/v1"}', b"[1]", b"\xff"):
        with pytest.raises(SignatureError, match=r"^it "):
            parse_evaluation(Envelope.of(payload, (("", b"x"),)), source="it")
