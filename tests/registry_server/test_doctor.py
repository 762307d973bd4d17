"""The doctor finds what is wrong, names the remedy, and leaves what is right alone."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import NamedTuple

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from petapter_registry_server import data_directory
from petapter_registry_server.data_directory import DataDirectory
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.postgres import PostgreSQL
from petapter_registry_server.db.schema_version import has_log_reset_bug
from petapter_registry_server.errors import DataDirectoryError
from petapter_registry_server.file_systems import is_network, mounted_kind
from petapter_registry_server.services import doctor
from petapter_registry_server.services.doctor import Finding, examine_installation
from petapter_registry_server.settings import Settings
from tests.postgres_cluster import Cluster
from tests.registry_process import run
from tests.registry_server.conftest import Backing, NewBacking, NewBlobs, Registry, fresh_database, running
from tests.registry_server.identity_provider import running_provider

MOUNTS = """/dev/vda / ext4 rw 0 0
server:/export /mnt/team\\040share nfs4 rw 0 0
/dev/vdb /mnt/team\\040share/local xfs rw 0 0
"""


@pytest.fixture(scope="session")
def new_backing() -> NewBacking:
    """A registry in one directory."""
    return lambda: nullcontext(Backing())


class Usage(NamedTuple):
    """As shutil.disk_usage answers."""

    total: int
    used: int
    free: int


def findings(settings: Settings) -> dict[str, Finding]:
    return {finding.subject: finding for finding in examine_installation(settings)}


def test_healthy_directory_has_no_failure(registry: Registry) -> None:
    found = findings(registry.settings)
    assert set(found) == {"reach", "permissions", "file system", "space", "sqlite", "database", "blobs", "belonging"}
    assert "failure" not in {finding.state for finding in found.values()}


def test_missing_directory_is_a_failure(tmp_path: Path) -> None:
    assert findings(Settings(data=tmp_path / "none"))["data"].state == "failure"


def test_directory_that_others_may_read_is_a_warning(registry: Registry) -> None:
    registry.data.chmod(0o755)
    found = findings(registry.settings)["permissions"]
    assert found.state == "warning"
    assert "chmod 700" in found.text


def test_damaged_database_is_a_failure(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "registry.sqlite").write_bytes(b"no database at all" * 100)
    assert findings(Settings(data=tmp_path / "other"))["database"].state == "failure"


@pytest.mark.parametrize(("version", "state"), [("9999", "failure"), ("0001", "warning")])
def test_other_version_of_the_tables_is_named(registry: Registry, version: str, state: str) -> None:
    with closing(sqlite3.connect(registry.data / "registry.sqlite")) as connection, connection:
        connection.execute("update alembic_version set version_num = ?", (version,))
    found = findings(registry.settings)["database"]
    assert found.state == state
    assert version in found.text


def test_full_disk_is_a_failure(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _path: Usage(1 << 40, 1 << 40, 1000))
    assert findings(registry.settings)["space"].state == "failure"


def test_address_that_is_no_bucket_is_a_failure(registry: Registry) -> None:
    found = findings(registry.settings.model_copy(update={"blobs": "nonsense"}))["blobs"]
    assert (found.state, "s3://bucket" in found.text) == ("failure", True)


@pytest.mark.parametrize(
    ("changed", "about", "state", "cause"),
    [
        ({}, {}, "ok", "answers"),
        ({"oidc_client_id": None}, {}, "failure", "oidc_issuer is set without oidc_client_id"),
        ({"oidc_issuer": None}, {}, "failure", "oidc_client_id is set without oidc_issuer"),
        ({}, {"issuer": "https://other.example"}, "failure", "calls itself otherwise"),
        ({}, {"token_endpoint": "http://8.8.8.8/"}, "failure", "must be an https address"),
        ({}, {"code_challenge_methods_supported": ["plain"]}, "warning", "does not do PKCE"),
        ({"oidc_create_users": True}, {}, "warning", "becomes a user by signing in"),
        ({"oidc_create_users": True, "oidc_required_claim": "groups=lab"}, {}, "ok", "answers"),
    ],
)
def test_identity_provider_is_asked_what_it_can_do(
    registry: Registry, changed: dict[str, object], about: dict[str, object], state: str, cause: str
) -> None:
    with running_provider() as provider:
        provider.about |= about
        given = {"oidc_issuer": provider.url, "oidc_client_id": "x", "oidc_loopback": True, **changed}
        found = findings(registry.settings.model_copy(update=given))["sign-in"]
    assert (found.state, cause in found.text) == (state, True), found.text


def test_identity_provider_that_is_down_is_a_failure(registry: Registry) -> None:
    with running_provider() as provider:
        given = {"oidc_issuer": provider.url, "oidc_client_id": "x", "oidc_loopback": True}
    found = findings(registry.settings.model_copy(update=given))["sign-in"]
    assert (found.state, "cannot be used now" in found.text) == ("failure", True)


def test_open_address_is_a_warning(registry: Registry) -> None:
    assert findings(registry.settings.model_copy(update={"host": "0.0.0.0"}))["reach"].state == "warning"  # noqa: S104


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [("/srv/data", "ext4", False), ("/mnt/team share/data", "nfs4", True), ("/mnt/team share/local/x", "xfs", False)],
)
def test_file_system_is_that_of_the_deepest_mount(path: str, kind: str, network: bool) -> None:
    found = mounted_kind(Path(path), MOUNTS)
    assert (found, is_network(found)) == (kind, network)


def test_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_directory, "kind_of", lambda _path: "nfs4")
    with pytest.raises(DataDirectoryError, match="nfs4"):
        DataDirectory(tmp_path / "data").create_for_sqlite()
    DataDirectory(tmp_path / "data").create()


@pytest.mark.parametrize(
    ("version", "bad"), [((3, 6, 23), False), ((3, 40, 1), True), ((3, 51, 2), True), ((3, 51, 3), False)]
)
def test_versions_of_sqlite_with_the_bug(version: tuple[int, int, int], bad: bool) -> None:
    assert has_log_reset_bug(version) is bad


def test_redirects_without_a_bucket_are_a_warning(registry: Registry) -> None:
    assert findings(registry.settings.model_copy(update={"redirect_above_bytes": 1}))["blobs"].state == "warning"


def test_blobs_of_another_registry_are_a_failure_and_stay_unclaimed(registry: Registry) -> None:
    owner = registry.data / "blobs" / "owner"
    owner.write_text("another\n")
    assert findings(registry.settings)["belonging"].state == "failure"
    owner.unlink()
    assert findings(registry.settings)["belonging"].state == "ok"
    assert not owner.exists()


@pytest.fixture
def scaled(cluster: Cluster, new_blobs: NewBlobs, tmp_path: Path) -> Iterator[Settings]:
    """A registry on PostgreSQL and a bucket."""
    with fresh_database(cluster) as url:
        settings = Settings(data=tmp_path / "scaled", database=url, blobs=new_blobs())
        with running(settings):
            yield settings


@pytest.mark.postgres
@pytest.mark.s3
def test_registry_on_postgresql_and_a_bucket_is_examined(scaled: Settings) -> None:
    """The server of these tests runs without what makes it durable, which the doctor must say."""
    found = findings(scaled)
    assert {name: finding.state for name, finding in found.items()} == {
        "reach": "ok",
        "permissions": "ok",
        "file system": "ok",
        "space": "ok",
        "database": "ok",
        "writes": "failure",
        "connections": "ok",
        "clock": "ok",
        "blobs": "ok",
        "direct uploads": "ok",
        "belonging": "ok",
    }
    assert found["writes"].text.startswith("fsync, full_page_writes, synchronous_commit off: ")


@pytest.mark.postgres
@pytest.mark.s3
def test_unfit_postgresql_is_named(scaled: Settings, tmp_path: Path) -> None:
    assert scaled.database is not None
    url = scaled.database.get_secret_value()
    read_only = scaled.model_copy(update={"database": SecretStr(f"{url}&options=-c default_transaction_read_only=on")})
    assert "standby or read-only" in findings(read_only)["writes"].text
    greedy = findings(scaled.model_copy(update={"database_connections": 1000}))["connections"]
    assert (greedy.state, "raise max_connections" in greedy.text) == ("failure", True)
    gone = findings(scaled.model_copy(update={"database": SecretStr("postgresql://ada:secret@127.0.0.1:1/name")}))
    assert gone["database"].state == "failure"
    assert not [finding for finding in gone.values() if "secret" in finding.text or "\n" in finding.text]
    assert findings(scaled.model_copy(update={"data": tmp_path / "none"}))["data"].state == "warning"


@pytest.mark.postgres
@pytest.mark.s3
@pytest.mark.parametrize(("version", "state"), [("0001", "warning"), ("9999", "failure")])
def test_other_version_of_the_tables_in_postgresql_is_named(scaled: Settings, version: str, state: str) -> None:
    assert scaled.database is not None
    with (
        closing(Database(PostgreSQL(scaled.database.get_secret_value(), connections=1))) as database,
        database.write() as session,
    ):
        session.execute(text("update alembic_version set version_num = :version"), {"version": version})
    found = findings(scaled)
    assert (found["database"].state, "belonging" in found) == (state, False)


def test_command_exits_with_1_on_a_failure(registry: Registry, tmp_path: Path) -> None:
    healthy = run("petapter-registry", "doctor", "--data", registry.data)
    assert (healthy.returncode, len(healthy.stdout.splitlines())) == (0, 8)
    failing = run("petapter-registry", "doctor", "--data", tmp_path / "none")
    assert failing.returncode == 1
    assert "failure  data:" in failing.stdout
