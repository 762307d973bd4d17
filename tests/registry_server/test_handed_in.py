"""Results that others hand in: signed by a key of theirs, compared with the manifest, and never before a worker's."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from petapter_registry_server.services.accounts import TokenLimits
from petapter_schemas.digests import sha256_bytes
from petapter_schemas.ed25519 import (
    is_signed_by,
    new_key_pem,
    public_pem,
    read_private_key,
    read_public_key,
    sign_payload,
)
from petapter_schemas.evaluation_result import EvaluationDetail, EvaluationStatement, parse_evaluation
from petapter_schemas.fingerprints import rows_sha256
from petapter_schemas.manifest import EvaluationSet, EvaluationSpec, Interval, parse_manifest
from petapter_schemas.measurement import Measurement
from petapter_schemas.signature import Envelope
from tests.registry_server.conftest import Caller, Registry, member_of_team
from tests.registry_server.measured_modules import (
    DIGEST,
    FIGURES,
    ROWS,
    SET,
    Crew,
    NewSet,
    asked,
    declaring,
    published,
)

EVALUATIONS = "/api/petapter/v1/modules/team/tickets/evaluations"


@pytest.fixture
def ada(registry: Registry) -> Caller:
    member = member_of_team(registry)
    published(member)
    NewSet().put(registry)
    return member


@dataclass(frozen=True)
class Result:
    """What somebody measured."""

    figures: tuple[tuple[str, float], ...] = tuple(FIGURES.items())
    rows: str = DIGEST
    digest: str | None = None
    repository: str = "team/tickets"
    tolerance: float = 1.0

    def statement(self) -> EvaluationStatement:
        data = declaring(**FIGURES)["petapter.json"]
        manifest = parse_manifest(data)
        of = EvaluationSet(name="my rows", sha256=self.rows, split="test", n=len(ROWS))
        interval = Interval(low=0.0, high=1.0)
        figures = tuple(
            EvaluationSpec(metric=metric, value=value, interval=interval, evaluation_set=of, seeds=(0,))
            for metric, value in self.figures
        )
        digest = self.digest or sha256_bytes(data)
        measured = Measurement(
            module_sha256=digest, figures=figures, labels=("very good", "poor"), hardware="x", libraries={}, seconds=1
        )
        detail = EvaluationDetail.of(measured, manifest, repository=self.repository, tolerance=self.tolerance)
        return EvaluationStatement.about(manifest, digest, detail)

    def signed(self) -> dict[str, str]:
        """The body of a request."""
        key = read_private_key(new_key_pem(), source="key")
        envelope = sign_payload(self.statement().to_bytes(), key)
        return {"envelope": envelope.to_bytes().decode(), "public_key": public_pem(key.public_key()).decode()}


def hand_in(caller: Caller, body: dict[str, str]) -> Any:
    return caller.call("POST", EVALUATIONS, json=body)


def statuses(caller: Caller) -> list[str]:
    facts = caller.get("/api/petapter/v1/modules").json()["modules"][0]["facts"]
    return [each["status"] for each in facts["metrics"]]


def test_result_that_says_the_same_reproduces(ada: Caller, registry: Registry) -> None:
    grace = registry.caller("grace")
    answer = hand_in(grace, Result().signed())
    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert (told["status"], told["by"], told["by_worker"], told["counts"]) == ("reproduced", "grace", False, True)
    assert statuses(ada) == ["reproduced", "reproduced"]
    lines = registry.admin.get("/api/petapter/v1/audit?limit=1000").json()
    assert [(row["actor"], row["subject"]) for row in lines if row["action"] == "evaluation.hand_in"] == [
        ("grace", "team/tickets")
    ]


def test_result_that_differs_disputes_whatever_tolerance_it_claims(ada: Caller, registry: Registry) -> None:
    told = hand_in(registry.caller("grace"), Result((("accuracy", 0.9), ("macro_f1", 0.7))).signed()).json()
    assert (told["status"], told["tolerance"]) == ("disputed", 0.002)
    assert statuses(ada) == ["reproduced", "disputed"]


def test_worker_counts_before_somebody_else(ada: Caller, registry: Registry, tmp_path: Path) -> None:
    asked(ada)
    Crew.of(registry, tmp_path).worker().run_one()
    told = hand_in(registry.caller("grace"), Result((("accuracy", 0.1), ("macro_f1", 0.1))).signed()).json()
    assert (told["status"], told["counts"]) == ("disputed", False)
    assert statuses(ada) == ["verified", "verified"]


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (Result(rows="9" * 64), "no evaluation set that you may see has rows of sha256 999999999999…"),
        (Result(digest="9" * 64), "team/tickets has no version whose manifest has the digest 999999999999…"),
        (Result(repository="team/other"), "the result is of team/other, not of team/tickets"),
        (Result((("accuracy", 0.9),)), "the module also declares macro_f1 on these rows: measure all of it"),
    ],
)
def test_result_of_something_else_is_refused(ada: Caller, result: Result, said: str) -> None:
    answer = hand_in(ada, result.signed())
    assert (answer.status_code, answer.json()["detail"].startswith(said)) == (400, True), answer.text


def test_result_on_rows_of_which_nothing_is_declared_is_refused(ada: Caller, registry: Registry) -> None:
    rows = [{**row, "text": row["text"] + "!"} for row in ROWS]
    NewSet("team/others", rows).put(registry)

    answer = hand_in(ada, Result(rows=rows_sha256(rows)).signed())
    assert (answer.status_code, "declares no figure on these rows" in answer.json()["detail"]) == (400, True)


def test_tampered_result_is_refused(ada: Caller) -> None:
    body = Result((("accuracy", 0.1), ("macro_f1", 0.1))).signed()
    envelope = json.loads(body["envelope"])
    payload = base64.b64decode(envelope["payload"]).replace(b'"value":0.1', b'"value":0.9')
    envelope["payload"] = base64.b64encode(payload).decode()
    answer = hand_in(ada, body | {"envelope": json.dumps(envelope)})
    assert (answer.status_code, answer.json()["detail"]) == (
        400, "the envelope was not signed by that key, or was changed afterwards",
    )  # fmt: skip
    assert statuses(ada) == ["declared", "declared"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"envelope": "{}"}, "the envelope is no signature of a module: "),
        ({"envelope": "no JSON"}, "the envelope is no strict JSON"),
        ({"public_key": "-----BEGIN"}, "that is no public key in PEM"),
        ({"envelope": 1}, "the body breaks the protocol: envelope"),
    ],
)
def test_body_that_is_no_result_is_refused_in_one_line(ada: Caller, changed: dict[str, Any], said: str) -> None:
    answer = hand_in(ada, Result().signed() | changed)
    assert (answer.status_code, answer.json()["detail"].startswith(said)) == (400, True), answer.text


def test_signature_of_a_module_is_no_result(ada: Caller) -> None:
    key = read_private_key(new_key_pem(), source="key")
    envelope = sign_payload(b'{"_type":"https://in-toto.io/Statement/v1"}', key).to_bytes().decode()
    answer = hand_in(ada, {"envelope": envelope, "public_key": public_pem(key.public_key()).decode()})
    assert answer.json()["detail"].startswith("the envelope is no result of an evaluation: ")


def test_stranger_of_a_private_module_and_reading_token_are_refused(ada: Caller, registry: Registry) -> None:
    assert hand_in(registry.anonymous, Result().signed()).status_code == 401
    assert hand_in(registry.caller("grace", "read"), Result().signed()).status_code == 403
    assert ada.call("PUT", "/api/models/team/tickets/settings", json={"private": True}).status_code == 200
    assert hand_in(registry.caller("grace"), Result().signed()).status_code == 404


def test_statement_of_a_worker_is_verified_by_what_the_api_publishes(
    ada: Caller, registry: Registry, tmp_path: Path
) -> None:
    asked(ada)
    Crew.of(registry, tmp_path).worker().run_one()
    (told,) = registry.anonymous.get(EVALUATIONS).json()["evaluations"]
    (published_key,) = registry.anonymous.get("/api/petapter/v1/worker-keys").json()["keys"]
    assert (published_key["name"], published_key["fingerprint"]) == ("bench", told["key"])
    key = read_public_key(published_key["public_key"].encode())
    envelope = Envelope.model_validate(told["envelope"])
    assert is_signed_by(envelope, key)
    said = parse_evaluation(envelope, source="it")
    assert (said.manifest_sha256, said.detail.evaluation_set.sha256) == (told["digest"], DIGEST)
    changed = envelope.model_copy(update={"payload": base64.b64encode(said.to_bytes() + b" ").decode()})
    assert not is_signed_by(changed, key)


def test_request_is_refused_where_it_cannot_succeed(ada: Caller, registry: Registry) -> None:
    NewSet("team/kept", [{**row, "text": "kept " + row["text"]} for row in ROWS], has_rows=False).put(registry)
    NewSet("team/odd", [{**row, "label": row["label"] + "s"} for row in ROWS]).put(registry)
    path = "/api/petapter/v1/modules/team/tickets/evaluation-jobs"
    for body, status, said in (
        ({"evaluation_set": "team/nothing"}, 404, "there is no evaluation set team/nothing, or none"),
        ({"evaluation_set": f"{SET}@9.0.0"}, 404, "there is no evaluation set team/reviews@9.0.0"),
        ({"evaluation_set": "team/kept"}, 404, "the rows of team/kept 1.0.0 are not here: "),
        ({"evaluation_set": "team/odd"}, 400, "the rows have the label 'poors', which the module does not give"),
        ({"evaluation_set": SET, "revision": "v9.9.9"}, 404, "Invalid rev id: v9.9.9"),
        ({"evaluation_set": SET, "more": 1}, 400, "the body breaks the protocol: more"),
        ({}, 400, "the body breaks the protocol: evaluation_set"),
    ):
        answer = ada.call("POST", path, json=body)
        assert (answer.status_code, answer.json()["detail"][: len(said)]) == (status, said)
    assert registry.rows("select count(*) from evaluation_jobs") == [(0,)]


def test_evaluation_on_a_private_set_is_for_those_who_see_it(ada: Caller, registry: Registry, tmp_path: Path) -> None:
    rows = [{**row, "text": "private " + row["text"]} for row in ROWS]
    NewSet("team/secret", rows, private=True).put(registry)
    number = asked(ada, evaluation_set="team/secret")
    Crew.of(registry, tmp_path).worker().run_one()
    jobs = "/api/petapter/v1/modules/team/tickets/evaluation-jobs"
    assert len(ada.get(EVALUATIONS).json()["evaluations"]) == len(ada.get(jobs).json()["jobs"]) == 1
    for other in (registry.anonymous, registry.caller("grace")):
        assert other.get(EVALUATIONS).json() == {"evaluations": []}
        assert other.get(jobs).json() == {"jobs": []}
        assert other.get(f"{jobs}/{number}").status_code == 404


def test_token_for_reading_asks_for_nothing(ada: Caller, registry: Registry) -> None:
    del ada
    limits = TokenLimits("ci", None, "write", None)
    secret = registry.app.state.services.accounts.issue_token("ada", "write", limits).secret
    answer = Caller(registry.client, secret).call(
        "POST", "/api/petapter/v1/modules/team/tickets/evaluation-jobs", json={"evaluation_set": SET}
    )
    assert (answer.status_code, "may only write" in answer.json()["detail"]) == (403, True)
