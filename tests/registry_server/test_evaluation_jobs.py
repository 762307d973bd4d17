"""The queue of evaluations: each job is one worker's at a time, and ends once, whatever becomes of workers."""

import json
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from petapter_registry_server.services.evaluation_queue import MOST_ATTEMPTS
from petapter_registry_server.worker.running import Tools
from petapter_schemas.errors import InputError
from petapter_schemas.evaluation_rows import rows_bytes
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
    lease_over,
    program,
    published,
    with_backbones,
)

JOBS = "/api/petapter/v1/modules/team/tickets/evaluation-jobs"
EVALUATIONS = "/api/petapter/v1/modules/team/tickets/evaluations"


@pytest.fixture
def ada(registry: Registry) -> Caller:
    member = member_of_team(registry)
    published(member)
    NewSet().put(registry)
    return member


@pytest.fixture
def crew(registry: Registry, tmp_path: Path) -> Crew:
    return Crew.of(registry, tmp_path)


def job(caller: Caller, number: int) -> dict[str, Any]:
    answer = caller.get(f"{JOBS}/{number}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_job_is_measured_and_tells_what_came_out(ada: Caller, crew: Crew) -> None:
    number = asked(ada)
    assert (job(ada, number)["status"], job(ada, number)["attempts"]) == ("queued", 0)
    assert crew.worker().run_one()
    assert not crew.worker().run_one()
    told = job(ada, number)
    assert (told["status"], told["attempts"], told["problem"]) == ("done", 1, None)
    (evaluation,) = ada.get(EVALUATIONS).json()["evaluations"]
    assert (evaluation["id"], evaluation["status"], evaluation["by"]) == (told["evaluation"], "verified", "bench")
    assert (evaluation["rows_sha256"], evaluation["n"], evaluation["evaluation_set"]) == (DIGEST, len(ROWS), SET)
    assert [(each["metric"], each["value"], each["is_within"]) for each in evaluation["figures"]] == [
        ("accuracy", 0.9, True), ("macro_f1", 0.85, True),
    ]  # fmt: skip
    assert (evaluation["labels"], evaluation["confusion"]) == (["very good", "poor"], [[13, 0], [2, 5]])


def test_figure_that_differs_is_disputed_and_the_other_verified(ada: Caller, crew: Crew) -> None:
    asked(ada)
    crew.worker(crew.tools(program({"accuracy": 0.9, "macro_f1": 0.7}))).run_one()
    (evaluation,) = ada.get(EVALUATIONS).json()["evaluations"]
    assert evaluation["status"] == "disputed"
    detail = ada.get("/api/petapter/v1/modules/team/tickets").json()
    assert {each["metric"]: each["status"] for each in detail["versions"][0]["metrics"]} == {
        "accuracy": "verified", "macro_f1": "disputed",
    }  # fmt: skip


def test_last_result_of_a_worker_counts(ada: Caller, crew: Crew) -> None:
    for value in (0.7, 0.9):
        asked(ada)
        crew.worker(crew.tools(program({"accuracy": value, "macro_f1": 0.85}))).run_one()
    newest, older = ada.get(EVALUATIONS).json()["evaluations"]
    assert [(each["status"], each["counts"]) for each in (newest, older)] == [("verified", True), ("disputed", False)]
    metrics = ada.get("/api/petapter/v1/modules").json()["modules"][0]["facts"]["metrics"]
    assert [each["status"] for each in metrics] == ["verified", "verified"]


def test_search_asks_for_verified_figures(ada: Caller, crew: Crew, registry: Registry) -> None:
    published(ada, "team/boaster", accuracy=0.99, macro_f1=0.99)
    asked(ada)
    crew.worker(crew.tools(program({"accuracy": 0.9, "macro_f1": 0.7}))).run_one()

    def found(query: str) -> list[str]:
        answer = ada.get(f"/api/petapter/v1/modules?{query}")
        assert answer.status_code == 200, answer.text
        return [each["id"] for each in answer.json()["modules"]]

    assert found("where=accuracy>=0.8&sort=metric") == ["team/boaster", "team/tickets"]
    assert found("where=accuracy>=0.8&sort=metric&status=verified") == ["team/tickets"]
    assert found("where=accuracy>=0.8&status=verified") == ["team/tickets"]
    assert found("where=macro_f1>=0.8&status=verified") == []
    assert found("where=macro_f1>=0.8&status=disputed") == ["team/tickets"]
    assert found("status=declared") == ["team/boaster"]
    assert found("status=verified&status=declared&sort=name") == ["team/boaster", "team/tickets"]
    facets = ada.get("/api/petapter/v1/modules?facet=status").json()["facets"]["status"]
    assert {each["value"]: each["modules"] for each in facets} == {"declared": 1, "disputed": 1, "verified": 1}
    assert ada.get("/api/petapter/v1/modules?status=best").status_code == 400
    registry.app.state.services.worker_keys.revoke("bench")
    assert found("status=verified") == []


def test_registry_of_before_learns_what_its_figures_are_worth(ada: Caller, crew: Crew, registry: Registry) -> None:
    asked(ada)
    crew.worker(crew.tools(program({"accuracy": 0.9, "macro_f1": 0.7}))).run_one()
    registry.change(
        "drop table identities",
        "drop index ix_module_metrics_status",
        "alter table module_metrics drop column status",
        "update alembic_version set version_num = '0010'",
    )
    registry.app.state.database.migrate()
    assert sorted(registry.rows("select metric, status from module_metrics")) == [
        ("accuracy", "verified"), ("macro_f1", "disputed"),
    ]  # fmt: skip


def test_result_by_a_key_that_was_revoked_since_counts_no_more(ada: Caller, crew: Crew, registry: Registry) -> None:
    asked(ada)
    crew.worker().run_one()
    registry.app.state.services.worker_keys.revoke("bench")
    (evaluation,) = ada.get(EVALUATIONS).json()["evaluations"]
    assert (evaluation["status"], evaluation["counts"]) == ("verified", False)
    metrics = ada.get("/api/petapter/v1/modules").json()["modules"][0]["facts"]["metrics"]
    assert [each["status"] for each in metrics] == ["declared", "declared"]


def test_worker_whose_key_is_revoked_in_the_middle_ends_nothing(ada: Caller, crew: Crew, registry: Registry) -> None:
    number = asked(ada)
    tools = crew.tools()
    registry.app.state.services.worker_keys.revoke("bench")
    with pytest.raises(InputError, match=r"the worker's key [0-9a-f]{16} \(bench\) was revoked"):
        crew.worker(tools).run_one()
    assert (job(ada, number)["status"], ada.get(EVALUATIONS).json()["evaluations"]) == ("running", [])


def test_status_that_a_manifest_claims_counts_for_nothing(registry: Registry) -> None:
    ada = member_of_team(registry)
    files = declaring(**FIGURES)
    manifest = json.loads(files["petapter.json"])
    for entry in manifest["evaluation"]:
        entry["status"] = "verified"
    ada.published("team/tickets", files | {"petapter.json": json.dumps(manifest).encode()})
    metrics = ada.get("/api/petapter/v1/modules").json()["modules"][0]["facts"]["metrics"]
    assert [each["status"] for each in metrics] == ["declared", "declared"]


def test_evaluation_is_asked_for_once(ada: Caller, crew: Crew, registry: Registry) -> None:
    first = asked(ada)
    assert asked(ada) == first
    crew.queue().take()
    assert asked(ada) == first
    crew.queue("other").take()
    assert registry.rows("select count(*) from evaluation_jobs") == [(1,)]


def test_of_workers_at_once_exactly_one_takes_each_job(ada: Caller, crew: Crew) -> None:
    for number in range(5):
        published(ada, f"team/number-{number}")
        asked(ada, f"team/number-{number}")
    barrier = threading.Barrier(4)

    def take_all(name: str) -> list[int]:
        queue, taken = crew.queue(name), []
        barrier.wait()
        while (one := queue.take()) is not None:
            taken.append(one.id)
        return taken

    with ThreadPoolExecutor(4) as threads:
        taken = [number for done in threads.map(take_all, "abcd") for number in done]
    assert (len(taken), len(set(taken))) == (5, 5)


def test_job_of_a_worker_that_is_gone_is_taken_again(ada: Caller, crew: Crew, registry: Registry) -> None:
    number = asked(ada)
    lost = crew.queue("gone").take()
    assert lost is not None
    assert not crew.worker().run_one()
    lease_over(registry)
    assert crew.worker().run_one()
    told = job(ada, number)
    assert (told["status"], told["attempts"]) == ("done", 2)
    assert not crew.queue("gone").keep(lost)
    assert not crew.queue("gone").fail(lost, "too late")
    assert job(ada, number)["status"] == "done"


def test_heartbeat_keeps_a_job(ada: Caller, crew: Crew, registry: Registry) -> None:
    asked(ada)
    queue = crew.queue("slow")
    held = queue.take()
    assert held is not None
    lease_over(registry)
    assert queue.keep(held)
    assert crew.queue("other").take() is None


def test_job_that_workers_die_of_is_given_up(ada: Caller, crew: Crew, registry: Registry) -> None:
    number = asked(ada)
    for _ in range(MOST_ATTEMPTS):
        assert crew.queue("gone").take() is not None
        lease_over(registry)
    assert crew.queue("gone").take() is None
    told = job(ada, number)
    assert (told["status"], told["attempts"]) == ("failed", MOST_ATTEMPTS)
    assert "its worker was ended 3 times in the middle of it" in told["problem"]


def test_worker_that_loses_its_job_ends_the_process_and_says_nothing(
    ada: Caller, crew: Crew, registry: Registry, tmp_path: Path
) -> None:
    number = asked(ada)
    worker = crew.worker(crew.tools((sys.executable, "-I", "-c", "import time; time.sleep(60)")), name="slow")
    with ThreadPoolExecutor(1) as threads:
        working = threads.submit(worker.run_one)
        _until(lambda: job(ada, number)["status"] == "running")
        registry.change("update evaluation_jobs set claim = 'of another worker'")
        assert working.result(timeout=30)
    assert job(ada, number)["status"] == "running"
    assert ada.get(EVALUATIONS).json() == {"evaluations": []}


def test_worker_that_is_told_to_stop_gives_its_job_back(ada: Caller, crew: Crew) -> None:
    number = asked(ada)
    worker = crew.worker(crew.tools((sys.executable, "-I", "-c", "import time; time.sleep(60)")))
    with ThreadPoolExecutor(1) as threads:
        working = threads.submit(worker.run, poll_s=0.05)
        _until(lambda: job(ada, number)["status"] == "running")
        worker.stop()
        working.result(timeout=30)
    assert (job(ada, number)["status"], job(ada, number)["attempts"]) == ("queued", 0)


def failed(ada: Caller, crew: Crew, tools: Tools) -> str:
    """The problem of a job that a worker with these tools cannot do."""
    number = asked(ada)
    assert crew.worker(tools).run_one()
    told = job(ada, number)
    assert (told["status"], told["attempts"]) == ("failed", 1)
    problem: str = told["problem"]
    return problem


def python(script: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-c", script)


CONNECT = "import socket; socket.create_connection(('127.0.0.1', {port}), timeout=3)"


def test_job_that_times_out_fails(ada: Caller, crew: Crew) -> None:
    tools = crew.tools(python("import time; time.sleep(60)"), seconds=0.5)
    assert failed(ada, crew, tools) == "it took longer than the 0.5 seconds that a worker gives it"


def test_job_that_eats_memory_fails(ada: Caller, crew: Crew) -> None:
    eating = "import sys\ntry: x = bytearray(2 << 30)\nexcept MemoryError: sys.exit(4)"
    problem = failed(ada, crew, crew.tools(python(eating), memory=512 << 20))
    assert problem == "it needs more memory than the 512 MiB that a worker gives it"


def test_job_that_tries_the_network_fails(ada: Caller, crew: Crew) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        problem = failed(ada, crew, crew.tools(python(CONNECT.format(port=listener.getsockname()[1]))))
    assert problem == "the measuring process ended with exit code 1: OSError: [Errno 101] Network is unreachable"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("", "the measuring process did not say what it measured: "),
        ("print('x' * (2 << 20))", "the measuring process wrote more than a measurement can be"),
        ("import sys; sys.stderr.write('why\\n'); sys.exit(3)", "why"),
        ("import ctypes; ctypes.string_at(0)", "the system ended the measuring process (SIGSEGV)"),
    ],
)
def test_job_whose_process_says_nothing_that_counts_fails(ada: Caller, crew: Crew, script: str, said: str) -> None:
    assert failed(ada, crew, crew.tools(python(script))).startswith(said)


def test_measurement_of_something_else_fails(ada: Caller, crew: Crew) -> None:
    words = list(program())
    words[3] = words[3].replace('task["module_sha256"]', '"0" * 64')
    problem = failed(ada, crew, crew.tools(tuple(words)))
    assert problem == "the measuring process measured something else than it was asked to"


def test_module_whose_backbone_the_worker_lacks_fails(ada: Caller, crew: Crew, tmp_path: Path) -> None:
    problem = failed(ada, crew, with_backbones(crew.tools(), tmp_path))
    assert problem.startswith("this worker has no backbone tiny/bert with weights 000000000000…: put its directory")


def test_module_with_a_damaged_file_fails(ada: Caller, crew: Crew, registry: Registry) -> None:
    data = declaring(**FIGURES)["head.safetensors"]
    registry.damage(data, data[:-1] + b"!")
    problem = failed(ada, crew, crew.tools())
    assert problem.endswith(" is damaged: 'petapter-registry scrub' tells what is damaged and heals it")


def test_damaged_manifest_fails(ada: Caller, crew: Crew, registry: Registry) -> None:
    registry.damage(declaring(**FIGURES)["petapter.json"], b"{}")
    assert " is damaged: " in failed(ada, crew, crew.tools())


def test_rows_that_are_damaged_fail(ada: Caller, crew: Crew, registry: Registry) -> None:
    registry.damage(rows_bytes(ROWS), b'{"label":"poor","text":"other"}\n')
    assert " is damaged: " in failed(ada, crew, crew.tools())


def test_job_of_a_deleted_module_fails(ada: Caller, crew: Crew, registry: Registry) -> None:
    asked(ada)
    assert ada.delete("team/tickets").status_code == 200
    assert not crew.worker().run_one()
    assert registry.rows("select status, problem from evaluation_jobs") == [("failed", "the module was deleted")]


def test_job_whose_rows_were_taken_back_fails(ada: Caller, crew: Crew, registry: Registry) -> None:
    number = asked(ada)
    registry.change("update evaluation_set_versions set rows_blob = null")
    assert not crew.worker().run_one()
    assert job(ada, number)["problem"] == "the rows of the evaluation set were taken back"


def test_every_step_is_in_the_audit(ada: Caller, crew: Crew, registry: Registry) -> None:
    asked(ada)
    crew.worker().run_one()
    asked(ada)
    crew.worker(crew.tools(python("raise SystemExit(3)"))).run_one()
    lines = registry.admin.get("/api/petapter/v1/audit?limit=1000").json()
    told = [(row["actor"], row["action"], row["subject"]) for row in lines if "evaluation" in row["action"]]
    assert told == [
        ("ada", "evaluation.request", "team/tickets"),
        ("worker bench", "evaluation.finish", "team/tickets"),
        ("ada", "evaluation.request", "team/tickets"),
        ("worker bench@here", "evaluation.fail", "team/tickets"),
    ]


def test_prometheus_sees_the_queue(ada: Caller, crew: Crew) -> None:
    asked(ada)
    text = ada.get("/metrics").text
    assert 'petapter_registry_evaluation_jobs{status="queued"} 1.0' in text
    crew.worker().run_one()
    text = ada.get("/metrics").text
    assert 'petapter_registry_evaluation_jobs{status="done"} 1.0' in text
    assert "petapter_registry_evaluation_oldest_seconds 0.0" in text


def _until(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        threading.Event().wait(0.05)
    raise AssertionError
