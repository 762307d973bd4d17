"""Versions that never change, yanks, and channels; the registry in process."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from petapter_registry_server.app import create_app
from petapter_registry_server.settings import Settings
from tests.registry_server.conftest import Caller, Registry, member_of_team, running
from tests.registry_server.module_bytes import module_files

MODELS = "/api/models/team/tickets"
NATIVE = "/api/petapter/v1/modules/team/tickets"


def tag(caller: Caller, version: str, revision: str = "main") -> Any:
    return caller.call("POST", f"{MODELS}/tag/{revision}", json={"tag": f"v{version}"})


def publish(caller: Caller, version: str, *, fill: float = 0.5) -> str:
    oid = caller.published("team/tickets", module_files(version=version, fill=fill))
    answer = tag(caller, version)
    assert answer.status_code == 200, answer.text
    return oid


def yank(caller: Caller, version: str, reason: str = "wrong labels") -> Any:
    return caller.call("PUT", f"{NATIVE}/versions/{version}/yank", json={"reason": reason})


def sha(caller: Caller, revision: str) -> str:
    found: str = caller.get(f"{MODELS}/revision/{revision}").json().get("sha", "")
    return found


def test_published_version_cannot_be_deleted(team: Caller) -> None:
    oid = publish(team, "1.0.0")
    answer = team.call("DELETE", f"{MODELS}/tag/v1.0.0")
    assert (answer.status_code, answer.json()["error"][:43]) == (400, "Cannot delete refs/tags/v1.0.0: a published")
    assert "petapter yank" in answer.headers["X-Error-Message"]
    assert sha(team, "v1.0.0") == oid


def test_published_version_cannot_be_set_elsewhere(team: Caller) -> None:
    oid = publish(team, "1.0.0")
    team.published("team/tickets", module_files(version="1.0.0", fill=0.1))
    answer = tag(team, "1.0.0")
    assert (answer.status_code, answer.json()["error"]) == (409, "Reference refs/tags/v1.0.0 already exists")
    assert sha(team, "v1.0.0") == oid


def test_tag_must_be_the_version_of_the_manifest(team: Caller) -> None:
    team.published("team/tickets", module_files(version="1.0.0"))
    answer = tag(team, "2.0.0")
    assert answer.status_code == 400
    assert "petapter.json says version 1.0.0" in answer.json()["error"]
    assert team.get(f"{MODELS}/refs").json()["tags"] == []


def test_tag_of_a_version_on_a_commit_without_a_module_stays_ordinary(team: Caller) -> None:
    team.published("team/tickets", {"a.txt": b"1"})
    assert tag(team, "1.0.0").status_code == 200
    assert team.call("DELETE", f"{MODELS}/tag/v1.0.0").status_code == 200


def test_tag_of_a_version_without_a_module_is_refused_beside_versions(team: Caller) -> None:
    first = team.head("team/tickets")
    publish(team, "1.0.0")
    answer = tag(team, "2.0.0", first)
    assert (answer.status_code, "without a module" in answer.json()["error"]) == (400, True)


@pytest.mark.parametrize("version", ["0.9.0", "1.0.0-rc.1", "1.0.0+build", "1.1.9", "0.1.0"])
def test_version_that_is_not_higher_is_refused(team: Caller, version: str) -> None:
    publish(team, "1.0.0")
    publish(team, "1.2.0")
    team.published("team/tickets", module_files(version=version, fill=0.1))
    answer = tag(team, version)
    assert answer.status_code == 400
    assert "is not higher than" in answer.json()["error"]


@pytest.mark.parametrize("version", ["1.0.1", "1.0.1-rc.1", "1.3.0-rc.1", "2.0.0"])
def test_higher_version_and_patch_of_an_older_line_are_published(team: Caller, version: str) -> None:
    publish(team, "1.0.0")
    publish(team, "1.2.0", fill=0.4)
    publish(team, version, fill=0.1)


def test_branch_cannot_be_called_like_a_version_or_channel(team: Caller) -> None:
    for name in ("v1.0.0", "latest", "stable"):
        assert team.call("POST", f"{MODELS}/branch/{name}").status_code == 400, name
    for name in ("latest", "stable"):
        assert team.call("POST", f"{MODELS}/tag/main", json={"tag": name}).status_code == 400, name


def test_deleted_repository_never_gives_its_versions_names_out_again(team: Caller) -> None:
    publish(team, "1.0.0")
    team.delete("team/tickets")
    assert team.create("team/tickets").status_code == 410


def test_yanked_version_is_pulled_with_a_warning(team: Caller) -> None:
    oid = publish(team, "1.0.0")
    assert yank(team, "1.0.0", "labels were swapped").status_code == 200
    expected = "yanked team/tickets@v1.0.0; team/tickets@v1.0.0 was yanked by its maintainers: labels were swapped"
    for path in ("/team/tickets/resolve/v1.0.0/petapter.json", f"/team/tickets/resolve/{oid}/petapter.json"):
        answer = team.get(path)
        assert (answer.status_code, answer.headers["X-HF-Warning"]) == (200, expected)
    assert team.get(f"{MODELS}/revision/v1.0.0").headers["X-HF-Warning"] == expected
    assert team.call("HEAD", "/team/tickets/resolve/v1.0.0/petapter.json").headers["X-HF-Warning"] == expected


def test_version_that_is_not_yanked_has_no_warning(team: Caller) -> None:
    publish(team, "1.0.0")
    assert "X-HF-Warning" not in team.get("/team/tickets/resolve/v1.0.0/petapter.json").headers


def test_latest_is_the_highest_version_that_is_neither_yanked_nor_a_pre_release(team: Caller) -> None:
    first, second = publish(team, "1.0.0"), publish(team, "1.1.0", fill=0.2)
    publish(team, "2.0.0-rc.1", fill=0.3)
    assert sha(team, "latest") == second
    yank(team, "1.1.0")
    assert sha(team, "latest") == first
    team.call("DELETE", f"{NATIVE}/versions/1.1.0/yank")
    assert sha(team, "latest") == second


def test_latest_is_no_revision_where_nothing_is_published(team: Caller) -> None:
    team.published("team/tickets", module_files())
    assert team.get(f"{MODELS}/revision/latest").headers["X-Error-Code"] == "RevisionNotFound"


def test_channel_is_a_revision_and_moves(team: Caller) -> None:
    first, second = publish(team, "1.0.0"), publish(team, "1.1.0", fill=0.2)
    for version, oid in (("1.1.0", second), ("1.0.0", first)):
        answer = team.call("PUT", f"{NATIVE}/channels/stable", json={"version": version})
        assert answer.status_code == 200, answer.text
        assert sha(team, "stable") == oid
    assert [(s["version"], s["by"]) for s in answer.json()["history"]] == [("1.0.0", "ada"), ("1.1.0", "ada")]


def test_channel_is_protected_from_the_routes_of_tags_and_branches(team: Caller) -> None:
    oid = publish(team, "1.0.0")
    team.call("PUT", f"{NATIVE}/channels/edge", json={"version": "1.0.0"})
    answers = [
        team.call("DELETE", f"{MODELS}/tag/edge"),
        team.call("DELETE", f"{MODELS}/branch/edge"),
        team.call("POST", f"{MODELS}/tag/main", json={"tag": "edge"}),
        team.call("POST", f"{MODELS}/branch/edge"),
    ]
    assert [answer.status_code for answer in answers] == [400] * 4
    assert sha(team, "edge") == oid


def test_ended_channel_is_no_revision_and_its_history_stays(team: Caller) -> None:
    publish(team, "1.0.0")
    team.call("PUT", f"{NATIVE}/channels/edge", json={"version": "1.0.0"})
    ended = team.call("DELETE", f"{NATIVE}/channels/edge").json()
    assert [step["version"] for step in ended["history"]] == [None, "1.0.0"]
    assert [channel["name"] for channel in ended["channels"]] == ["latest"]
    assert team.get(f"{MODELS}/revision/edge").status_code == 404


@pytest.mark.parametrize("name", ["latest", "main", "Stable", "1x", "a_b", "v1.0.0", "x" * 33])
def test_channel_name_that_is_not_allowed_is_refused(team: Caller, name: str) -> None:
    publish(team, "1.0.0")
    answer = team.call("PUT", f"{NATIVE}/channels/{name}", json={"version": "1.0.0"})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


def test_channel_named_like_a_branch_is_refused(team: Caller) -> None:
    publish(team, "1.0.0")
    team.call("POST", f"{MODELS}/branch/dev")
    assert team.call("PUT", f"{NATIVE}/channels/dev", json={"version": "1.0.0"}).status_code == 400


def test_channel_cannot_be_set_to_a_yanked_or_missing_version(team: Caller) -> None:
    publish(team, "1.0.0")
    yank(team, "1.0.0")
    assert team.call("PUT", f"{NATIVE}/channels/stable", json={"version": "1.0.0"}).status_code == 400
    assert team.call("PUT", f"{NATIVE}/channels/stable", json={"version": "9.0.0"}).status_code == 404


@pytest.mark.parametrize("reason", ["", "   ", "two\nlines", "x" * 201])
def test_yank_needs_a_reason_of_one_line(team: Caller, reason: str) -> None:
    publish(team, "1.0.0")
    assert yank(team, "1.0.0", reason).status_code == 400


def test_only_maintainers_yank_and_move_channels(registry: Registry, team: Caller) -> None:
    publish(team, "1.0.0")
    for caller, status in ((registry.caller("eve"), 403), (registry.anonymous, 401)):
        assert yank(caller, "1.0.0").status_code == status
        assert caller.call("DELETE", f"{NATIVE}/versions/1.0.0/yank").status_code == status
        put = caller.call("PUT", f"{NATIVE}/channels/stable", json={"version": "1.0.0"})
        assert (put.status_code, caller.call("DELETE", f"{NATIVE}/channels/stable").status_code) == (status, status)


def test_every_deed_leaves_an_audit_row(registry: Registry, team: Caller) -> None:
    publish(team, "1.0.0")
    team.call("PUT", f"{NATIVE}/channels/stable", json={"version": "1.0.0"})
    yank(team, "1.0.0", "broken")
    team.call("DELETE", f"{NATIVE}/versions/1.0.0/yank")
    rows = registry.rows("select action, detail from audit where actor = 'ada' order by id")
    assert rows[-4:-2] == [("version.publish", rows[-4][1]), ("channel.move", "stable 1.0.0")]
    assert rows[-2:] == [("version.yank", "1.0.0 broken"), ("version.unyank", "1.0.0")]


LATER_TABLES = (
    "module_versions", "channel_moves", "module_facts", "module_index", "module_terms", "module_metrics", "scrubs",
    "former_names", "download_totals", "uploads", "upload_parts", "xorbs", "own_values", "gates", "access_requests",
    "webhook_deliveries", "webhooks", "ended_logins", "evaluations", "evaluation_jobs", "worker_keys",
    "evaluation_set_versions", "evaluation_sets", "identities",
)  # fmt: skip
"""Those of the steps after the second."""


def test_tags_of_an_older_registry_become_versions(tmp_path: Path) -> None:
    with running(Settings(data=tmp_path)) as registry:
        team = member_of_team(registry)
        publish(team, "1.0.0")
        team.call("POST", f"{MODELS}/tag/main", json={"tag": "other"})
    with closing(sqlite3.connect(tmp_path / "registry.sqlite")) as database, database:
        for table in LATER_TABLES:
            database.execute(f"drop table {table}")
        for column in ("condemned_ms", "damaged_ms"):
            database.execute(f"alter table blobs drop column {column}")
        database.execute("update alembic_version set version_num = '0002'")
    (tmp_path / "blobs" / "owner").unlink()
    app = create_app(Settings(data=tmp_path))
    with app.state.services.modules._database.read() as session:
        rows = session.connection().exec_driver_sql("select version, published_by from module_versions").all()
        found = session.connection().exec_driver_sql("select name, version from module_index").all()
    assert [tuple(row) for row in rows] == [("1.0.0", "ada")]
    assert [tuple(row) for row in found] == [("team/tickets", "1.0.0")]
