"""What operators ask a server: readiness and metrics."""

import shutil
from pathlib import Path

import httpx
import pytest

from petapter_registry_server.db.engine import Database
from petapter_registry_server.serving import server_config
from petapter_registry_server.settings import Settings
from tests.registry_server.conftest import Registry, running


def test_registry_is_ready(registry: Registry) -> None:
    answer = registry.anonymous.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


def test_idle_connections_outlast_those_of_clients_and_balancers(registry: Registry) -> None:
    kept_s = server_config(registry.app).timeout_keep_alive
    assert kept_s > (httpx.Limits().keepalive_expiry or 0)
    assert kept_s > 60  # nginx: keepalive_timeout of an upstream; AWS: idle timeout of a balancer


def test_registry_whose_files_cannot_be_written_is_not_ready(tmp_path: Path) -> None:
    with running(Settings(data=tmp_path / "data")) as registry:
        shutil.rmtree(registry.data / "scratch")
        (registry.data / "scratch").touch()
        answer = registry.anonymous.get("/readyz")
    assert (answer.status_code, answer.json()["problems"]) == (503, ["files cannot be written"])


@pytest.mark.parametrize(
    ("change", "status"),
    [("update alembic_version set version_num = '9999'", 200), ("delete from alembic_version", 503)],
)
def test_tables_of_a_newer_version_are_ready_and_those_of_an_older_one_are_not(
    registry: Registry, change: str, status: int
) -> None:
    database: Database = registry.app.state.database
    with database.write() as session:
        session.connection().exec_driver_sql(change)
    assert registry.anonymous.get("/readyz").status_code == status


def test_metrics_count_by_route_and_name_nobody(registry: Registry) -> None:
    team = registry.caller("ada")
    team.create("team/tickets")
    for path in ("/api/models/team/tickets", "/api/models/team/nothing", "/nowhere/at/all"):
        team.get(path)
    text = registry.anonymous.get("/metrics").text
    route = 'method="GET",route="/api/models/{namespace}/{name}"'
    for line in (
        f'petapter_registry_requests_total{{{route},status="200"}} 1.0',
        f'petapter_registry_requests_total{{{route},status="404"}} 1.0',
        f"petapter_registry_request_seconds_count{{{route}}} 2.0",
        "petapter_registry_database_connections_in_use 0.0",
    ):
        assert line in text.splitlines()
    assert not [name for name in ("tickets", "team", "nothing", "nowhere", "ada") if name in text]


def test_method_that_nobody_knows_makes_no_label_of_its_own(registry: Registry) -> None:
    registry.anonymous.call("BREW", "/health")
    assert 'method="other"' in registry.anonymous.get("/metrics").text
    assert "BREW" not in registry.anonymous.get("/metrics").text
