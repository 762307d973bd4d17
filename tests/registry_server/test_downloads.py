"""What counts as a download, and what lists show of it."""

import pytest

from petapter_registry_server.services import downloads as counting
from petapter_registry_server.services.callers import ANONYMOUS
from petapter_registry_server.services.downloads import Downloads
from tests.registry_server.conftest import Caller, Registry, running
from tests.registry_server.module_bytes import module_files


def downloads(registry: Registry, repo_id: str = "team/tickets") -> int:
    registry.app.state.services.downloads.write()
    count: int = registry.admin.get(f"/api/models/{repo_id}").json()["downloads"]
    return count


def test_reading_the_manifest_is_a_download(registry: Registry, team: Caller) -> None:
    team.published("team/tickets", module_files())
    for caller in (registry.anonymous, registry.caller("grace")):
        for path in ("petapter.json", "head.safetensors"):
            caller.get(f"/team/tickets/resolve/main/{path}")
    assert downloads(registry) == 2


def test_same_commit_for_the_same_client_is_counted_once_an_hour(
    registry: Registry, team: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    team.published("team/tickets", module_files())
    now = [7200.0]
    monkeypatch.setattr(counting.time, "time", lambda: now[0])

    def read(*callers: Caller) -> int:
        for caller in callers:
            assert caller.get("/team/tickets/resolve/main/petapter.json").status_code == 200
        return downloads(registry)

    assert read(registry.anonymous, registry.anonymous, registry.caller("eve"), registry.caller("eve")) == 2
    now[0] += 3599
    assert read(registry.anonymous) == 2
    now[0] += 1
    assert read(registry.anonymous, registry.anonymous) == 3
    team.published("team/tickets", {"notes.txt": b"another commit"})
    assert read(registry.anonymous) == 4


def test_addresses_and_users_are_told_apart_and_memory_is_bounded(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Downloads(registry.app.state.database)
    for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "192.0.2.1"):
        counted.count(1, "a" * 40, ANONYMOUS, address)
    assert counted._counted[1] == 3
    monkeypatch.setattr(counting, "_MOST_REMEMBERED", 3)
    for number in range(10):
        counted.count(2, f"{number:040}", ANONYMOUS, "192.0.2.1")
    assert (counted._counted[2], len(counted._seen) <= 3) == (10, True)


def test_looking_and_going_on_after_a_break_are_none(registry: Registry, team: Caller) -> None:
    team.published("team/tickets", module_files())
    registry.anonymous.call("HEAD", "/team/tickets/resolve/main/petapter.json")
    registry.anonymous.get("/team/tickets/resolve/main/petapter.json", headers={"Range": "bytes=5-"})
    assert downloads(registry) == 0


def test_adapter_without_a_manifest_is_counted_by_its_configuration(registry: Registry, team: Caller) -> None:
    team.published("team/tickets", {"adapter_config.json": b'{"peft_type": "LORA"}'})
    registry.anonymous.get("/team/tickets/resolve/main/adapter_config.json")
    assert downloads(registry) == 1


def test_list_is_sorted_by_downloads_and_paged(registry: Registry, team: Caller) -> None:
    wanted = {"team/tickets": 1, "team/b": 3, "team/c": 2, "team/d": 0}
    for repo_id, times in wanted.items():
        team.create(repo_id)
        team.published(repo_id, {"adapter_config.json": b'{"peft_type": "LORA"}'})
        for number in range(times):
            registry.caller(f"reader{number}").get(f"/{repo_id}/resolve/main/adapter_config.json")
    registry.app.state.services.downloads.write()
    first = team.get("/api/models?sort=downloads&limit=3")
    second = team.get(first.links["next"]["url"])
    found = [(model["id"], model["downloads"]) for model in first.json() + second.json()]
    assert found == [("team/b", 3), ("team/c", 2), ("team/tickets", 1), ("team/d", 0)]


def test_counts_are_written_down_when_the_server_stops(registry: Registry, team: Caller) -> None:
    team.published("team/tickets", {"adapter_config.json": b'{"peft_type": "LORA"}'})
    team.get("/team/tickets/resolve/main/adapter_config.json")
    registry.app.state.services.downloads.stop()
    with running(registry.settings) as again:
        assert again.client.get("/api/models/team/tickets").json()["downloads"] == 1


def test_own_repositories_are_listed_with_what_they_take(registry: Registry, team: Caller) -> None:
    team.create("team/secret", private=True)
    registry.caller("grace").create("lab/other")
    rows = team.get("/api/settings/repositories").json()
    assert [(row["id"], row["visibility"], row["type"]) for row in rows] == [
        ("team/secret", "private", "model"),
        ("team/tickets", "public", "model"),
    ]
    assert sum(row["storagePercent"] for row in rows) == 100
    assert [row["id"] for row in team.get("/api/organizations/lab/settings/repositories").json()] == []
    assert registry.anonymous.get("/api/settings/repositories").status_code == 401
