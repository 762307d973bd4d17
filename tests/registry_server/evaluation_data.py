"""Evaluation sets for tests of the registry, how they are sent, and evaluations as a worker leaves them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from petapter_registry_server.db import repositories
from petapter_registry_server.db.evaluation_set_tables import EvaluationSet, EvaluationSetVersion
from petapter_registry_server.db.evaluation_tables import Evaluation
from petapter_registry_server.db.tables import ManifestRow
from petapter_schemas import strict_json
from petapter_schemas.evaluation_rows import rows_bytes
from petapter_schemas.evaluation_set import EvaluationSetSpec
from petapter_schemas.fingerprints import rows_sha256
from tests.registry_server.conftest import Caller, Registry

Rows = Sequence[Mapping[str, str]]

ROWS: Rows = tuple(
    {"text": text, "label": label}
    for text, label in (
        ("The app crashes when I open it.", "poor"), ("I was charged twice this month.", "poor"),
        ("Nobody answers my mails.", "poor"), ("The invoice is wrong again.", "poor"), ("It is slow.", "poor"),
        ("Great support, answered in minutes.", "very good"), ("Works as described.", "very good"),
        ("Fast and friendly.", "very good"),
    )
)  # fmt: skip
NATIVE = "/api/petapter/v1/evalsets"


def spec_of(rows: Rows = ROWS, **others: Any) -> EvaluationSetSpec:
    """The document of a set of some rows."""
    counts = Counter(row["label"] for row in rows)
    facts = {
        "name": "tickets-2024",
        "version": "1.0.0",
        "description": "Helpdesk tickets of the year 2024",
        "license": "CC-BY-4.0",
        "languages": ("en",),
        "labels": tuple(sorted(counts)),
        "counts": tuple(counts[label] for label in sorted(counts)),
        "split": "test",
        "n": len(rows),
        "rows_sha256": rows_sha256(rows),
    }
    return EvaluationSetSpec.model_validate(facts | others)


def body_of(spec: EvaluationSetSpec, rows: Rows | bytes | None = None) -> bytes:
    """What a client sends."""
    sent = rows if isinstance(rows, bytes) else rows_bytes(rows or ())
    return strict_json.canonical(spec.model_dump(mode="json")) + b"\n" + sent


def send_set(
    caller: Caller, namespace: str, spec: EvaluationSetSpec, rows: Rows | bytes | None = None, *, private: bool = False
) -> Any:
    """Publish a set; the answer."""
    query = "?private=true" if private else ""
    return caller.call("POST", f"{NATIVE}/{namespace}{query}", content=body_of(spec, rows))


def published_set(caller: Caller, namespace: str, rows: Rows = ROWS, **others: Any) -> EvaluationSetSpec:
    """Publish a set with its rows; its document."""
    spec = spec_of(rows, **others)
    answer = send_set(caller, namespace, spec, rows)
    assert answer.status_code == 200, answer.text
    return spec


def measure(registry: Registry, repo_id: str, rows_sha256: str, status: str, **metrics: float) -> None:
    """Leave the evaluation of what search shows of a module as a worker would; intervals are ± 0.02."""
    with registry.app.state.database.write() as session:
        repository = repositories.find_repository(session, repo_id)
        version = session.query(EvaluationSetVersion).filter_by(rows_sha256=rows_sha256).first()
        assert repository is not None
        assert version is not None
        (oid,) = registry.rows(f"SELECT commit_oid FROM module_index WHERE repository_id = {repository.id}")[0]  # noqa: S608
        session.add(
            Evaluation(
                repository_id=repository.id,
                commit_oid=oid,
                manifest_sha256=session.get_one(ManifestRow, oid).digest,
                evaluation_set_version_id=version.id,
                rows_sha256=rows_sha256,
                evaluation_set=session.get_one(EvaluationSet, version.evaluation_set_id).full_name,
                split=version.document["split"],
                n=version.document["n"],
                status=status,
                by_worker=status != "reproduced",
                measured_by="grace" if status == "reproduced" else "worker-1",
                key_sha256="0" * 64,
                tolerance=0.002,
                metrics=[
                    {"metric": name, "value": value, "low": value - 0.02, "high": value + 0.02, "level": 0.95,
                     "declared": value + 0.09 * (status == "disputed"), "is_within": status != "disputed"}
                    for name, value in metrics.items()
                ],
                confusion=None,
                envelope="{}",
                measured_ms=1_700_000_000_000,
            )
        )  # fmt: skip
