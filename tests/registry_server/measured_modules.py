"""A module, an evaluation set with rows, and a worker, as tests of evaluations need them; rows are put behind the API.

The worker is a real one with a real confined process; what measures there is a program of a few lines, so that a test
takes no seconds. tests/registry_server/test_worker_process.py has the real one measure.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from petapter_registry_server.db import accounts, blobs
from petapter_registry_server.db.evaluation_set_tables import EvaluationSet, EvaluationSetVersion
from petapter_registry_server.services.evaluation_queue import EvaluationQueue
from petapter_registry_server.services.worker_keys import WorkerKeys, read_worker_key
from petapter_registry_server.worker.backbones import LocalBackbones
from petapter_registry_server.worker.confinement import Confinement, Limits
from petapter_registry_server.worker.preparing import Sources
from petapter_registry_server.worker.running import Tools, Worker
from petapter_schemas.digests import sha256_bytes
from petapter_schemas.evaluation_rows import rows_bytes
from petapter_schemas.evaluation_set import EvaluationSetSpec
from petapter_schemas.fingerprints import rows_sha256
from tests.registry_server.conftest import Caller, Registry
from tests.registry_server.varied_modules import Figure, Varied

SET = "team/reviews"
ROWS = [{"text": f"text {number}", "label": "very good" if number % 3 else "poor"} for number in range(20)]
DIGEST = rows_sha256(ROWS)

FIGURES = {"accuracy": 0.9, "macro_f1": 0.85}
"""What the program below measures, unless it is told otherwise."""

_PROGRAM = """
import json, pathlib, sys
figures, directory = json.loads(sys.argv[1]), pathlib.Path(sys.argv[2])
task = json.loads((directory / "measure.json").read_text())
assert (directory / "rows.jsonl").is_file() and (directory / "module" / "petapter.json").is_file()
print(json.dumps({
    "schema_version": 1, "module_sha256": task["module_sha256"], "labels": ["very good", "poor"],
    "confusion": [[13, 0], [2, 5]], "hardware": "a processor", "libraries": {"torch": "2"}, "seconds": 0.5,
    "figures": [{
        "metric": metric, "value": value, "interval": {"low": value - 0.1, "high": value + 0.1},
        "evaluation_set": task["evaluation_set"], "seeds": [0],
    } for metric, value in figures.items()],
}))
"""


def program(figures: Mapping[str, float] = FIGURES) -> tuple[str, ...]:
    """What measures so in the place of the core."""
    return (sys.executable, "-I", "-c", _PROGRAM, json.dumps(dict(figures)))


def spec_of(rows: Sequence[Mapping[str, str]], *, name: str) -> EvaluationSetSpec:
    """The document of some rows."""
    labels = sorted({row["label"] for row in rows})
    return EvaluationSetSpec(
        name=name,
        version="1.0.0",
        labels=tuple(labels),
        counts=tuple(sum(row["label"] == label for row in rows) for label in labels),
        split="test",
        n=len(rows),
        rows_sha256=rows_sha256(rows),
    )


@dataclass(frozen=True)
class NewSet:
    """An evaluation set to be put into a registry."""

    full_name: str = SET
    rows: Sequence[Mapping[str, str]] = tuple(ROWS)
    private: bool = False
    has_rows: bool = True
    stored: bytes | None = None

    def put(self, registry: Registry) -> int:
        """The id of its version; `stored` are the bytes of its rows where they shall not be what they should."""
        data = rows_bytes(self.rows) if self.stored is None else self.stored
        blob = sha256_bytes(data) if self.has_rows else None
        if blob is not None:
            with registry.store.scratch() as scratch:
                (scratch / "rows").write_bytes(data)
                registry.store.promote({blob: scratch / "rows"})
        namespace, _, name = self.full_name.partition("/")
        spec = spec_of(self.rows, name=name)
        with registry.app.state.database.write() as session:
            if blob is not None:
                blobs.hold(session, {blob: len(data)})
            owner = accounts.find_namespace(session, namespace)
            of = EvaluationSet(
                namespace_id=owner.id, full_name=self.full_name, lookup=self.full_name, key=self.full_name,
                private=self.private, newest=spec.version, search_text=name, created_ms=1, updated_ms=1,
            )  # fmt: skip
            session.add(of)
            session.flush()
            version = EvaluationSetVersion(
                evaluation_set_id=of.id, version=spec.version, digest=spec.digest, rows_sha256=spec.rows_sha256,
                document=spec.model_dump(mode="json"), rows_blob=blob, rows_bytes=len(data) if blob else None,
                published_ms=1, published_by="ada",
            )  # fmt: skip
            session.add(version)
            session.flush()
            return version.id


def declaring(**figures: float) -> dict[str, bytes]:
    """The files of a module that declares figures on `ROWS`."""
    files = Varied(figures=tuple(Figure(metric, value, "reviews") for metric, value in figures.items())).files()
    manifest = json.loads(files["petapter.json"])
    for entry in manifest["evaluation"]:
        entry["evaluation_set"]["sha256"] = DIGEST
    return files | {"petapter.json": json.dumps(manifest).encode()}


def published(ada: Caller, repo_id: str = "team/tickets", **figures: float) -> str:
    """Publish a module as 1.0.0, by default one that declares what is measured; its digest."""
    files = declaring(**(figures or FIGURES))
    assert ada.create(repo_id).status_code in {200, 409}
    ada.published(repo_id, files)
    assert ada.call("POST", f"/api/models/{repo_id}/tag/main", json={"tag": "v1.0.0"}).status_code == 200
    return sha256_bytes(files["petapter.json"])


def asked(caller: Caller, repo_id: str = "team/tickets", evaluation_set: str = SET) -> int:
    """Ask for an evaluation; the number of its job."""
    answer = caller.call(
        "POST", f"/api/petapter/v1/modules/{repo_id}/evaluation-jobs", json={"evaluation_set": evaluation_set}
    )
    assert answer.status_code == 202, answer.text
    number: int = answer.json()["id"]
    return number


class AnyBackbone(LocalBackbones):
    """Says that it has every backbone: what measures here looks at none."""

    def __init__(self) -> None:
        super().__init__(Path("/"))

    def find(self, wanted: object) -> Path | None:
        del wanted
        return Path("/nowhere")


@dataclass(frozen=True)
class Crew:
    """Workers over a registry, with one key."""

    registry: Registry
    key_file: Path

    @classmethod
    def of(cls, registry: Registry, folder: Path) -> "Crew":
        WorkerKeys(registry.app.state.database).create("bench", folder / "worker.pem")
        return cls(registry, folder / "worker.pem")

    def tools(self, measure: tuple[str, ...] = program(), *, seconds: float = 60, memory: int = 1 << 30) -> Tools:
        sources = Sources(self.registry.app.state.database, self.registry.store, AnyBackbone())
        confinement = Confinement(Limits(seconds, memory), beat_s=0.1)
        return Tools(sources, confinement, read_worker_key(self.key_file), measure)

    def worker(self, tools: Tools | None = None, *, name: str = "bench@here", lease_s: float = 60) -> Worker:
        return Worker(EvaluationQueue(self.registry.app.state.database, name, lease_s=lease_s), tools or self.tools())

    def queue(self, name: str = "bench@here", *, lease_s: float = 60) -> EvaluationQueue:
        return EvaluationQueue(self.registry.app.state.database, name, lease_s=lease_s)


def with_backbones(tools: Tools, root: Path) -> Tools:
    """The same with the backbones of a directory."""
    return replace(tools, sources=replace(tools.sources, backbones=LocalBackbones(root)))


def lease_over(registry: Registry) -> None:
    """Let every lease end now."""
    registry.change("update evaluation_jobs set lease_ms = 1 where status = 'running'")
