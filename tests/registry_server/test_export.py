"""An export can be used with nothing but a shell: plain files, sums that fit, and lists that say what is what."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from petapter_registry_server.errors import DataDirectoryError
from petapter_registry_server.services.export import export
from petapter_registry_server.settings import Settings
from petapter_schemas.digests import sha256_bytes
from petapter_schemas.evaluation_rows import rows_bytes
from petapter_schemas.evaluation_set import evaluation_set_bytes
from tests.registry_process import run
from tests.registry_server.conftest import Registry, member_of_team, running
from tests.registry_server.evaluation_data import ROWS, published_set, send_set, spec_of
from tests.registry_server.module_bytes import module_files
from tests.registry_server.test_versions import publish, yank

FIRST, SECOND = module_files(version="1.0.0", fill=0.1), module_files(version="1.1.0", fill=0.2)


def lines(place: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (place / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def files_in(place: Path) -> dict[str, bytes]:
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def filled(shared_registry: Registry) -> Registry:
    """Two versions, one of them yanked, a channel, a branch, a tag, a deleted and another repository."""
    team = member_of_team(shared_registry)
    publish(team, "1.0.0", fill=0.1)
    publish(team, "1.1.0", fill=0.2)
    assert yank(team, "1.0.0", "wrong «labels»").status_code == 200
    channel = "/api/petapter/v1/modules/team/tickets/channels/stable"
    assert team.call("PUT", channel, json={"version": "1.1.0"}).status_code == 200
    assert team.call("POST", "/api/models/team/tickets/branch/feature%2Fx", json={}).status_code == 200
    team.published("team/tickets", {"notes.txt": "Grüße".encode()}, branch="feature%2Fx")
    assert team.call("POST", "/api/models/team/tickets/tag/feature%2Fx", json={"tag": "seen"}).status_code == 200
    for name in ("team/gone", "team/other"):
        team.create(name, private=True)
    team.published("team/other", {"a/b.txt": b"other"})
    team.delete("team/gone")
    return shared_registry


def exported(registry: Registry, target: Path, only: str | None = None) -> Path:
    export(registry.app.state.database, registry.store, target, only)
    return target


def test_every_version_and_branch_lies_there_under_its_name(filled: Registry, tmp_path: Path) -> None:
    place = exported(filled, tmp_path / "out")
    attributes = {".gitattributes": files_in(place / "repositories/team/other/branches/main")[".gitattributes"]}
    tickets = place / "repositories" / "team" / "tickets"
    assert files_in(tickets / "versions/v1.0.0") == FIRST | attributes
    assert files_in(tickets / "versions/v1.1.0") == SECOND | attributes
    assert files_in(tickets / "branches/feature%2Fx") == SECOND | attributes | {"notes.txt": "Grüße".encode()}
    assert sorted(path.name for path in tickets.iterdir()) == ["branches", "versions"]
    assert files_in(place / "repositories/team/other/branches/main")["a/b.txt"] == b"other"
    assert not (place / "repositories/team/gone").exists()


def test_sums_fit_every_other_file(filled: Registry, tmp_path: Path) -> None:
    place = exported(filled, tmp_path / "out")
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=place, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    listed = {line.split("  ")[1] for line in (place / "SHA256SUMS").read_text().splitlines()}
    assert listed == files_in(place).keys() - {"SHA256SUMS"}


def test_lists_tell_versions_channels_yanks_and_changes(filled: Registry, tmp_path: Path) -> None:
    place = exported(filled, tmp_path / "out", "team")
    named = {line["name"]: line for line in lines(place, "repositories")}
    assert named.keys() == {"team/gone", "team/other", "team/tickets"}
    assert [named[f"team/{name}"]["deleted"] is None for name in ("gone", "other", "tickets")] == [False, True, True]
    assert (named["team/other"]["private"], named["team/tickets"]["gated"]) == (True, False)
    versions = lines(place, "versions")
    assert [(line["version"], line["yanked"], line["published_by"]) for line in versions] == [
        ("1.0.0", True, "ada"),
        ("1.1.0", False, "ada"),
    ]
    assert versions[1]["commit"] == filled.admin.head("team/tickets")
    (withdrawn,) = lines(place, "yanks")
    assert (withdrawn["repository"], withdrawn["version"], withdrawn["reason"]) == (
        "team/tickets",
        "1.0.0",
        "wrong «labels»",
    )
    assert [(line["channel"], line["version"]) for line in lines(place, "channels")] == [("stable", "1.1.0")]
    assert {line["action"] for line in lines(place, "audit")} >= {"version.publish", "version.yank", "channel.move"}
    directories = {(line["repository"], line["kind"], line["name"]): line["directory"] for line in lines(place, "refs")}
    tickets = "repositories/team/tickets"
    assert directories["team/tickets", "branch", "main"] == f"{tickets}/versions/v1.1.0"
    assert directories["team/tickets", "tag", "seen"] == f"{tickets}/branches/feature%2Fx"
    commits = lines(place, "commits")
    assert {line["parent"] for line in commits} - {None} <= {line["commit"] for line in commits}


def test_one_repository_or_namespace_is_exported_alone(filled: Registry, tmp_path: Path) -> None:
    filled.caller("eve").create("eve/own")
    one = exported(filled, tmp_path / "one", "team/tickets")
    assert {line["name"] for line in lines(one, "repositories")} == {"team/tickets"}
    assert {line["subject"] for line in lines(one, "audit")} == {"team/tickets"}
    whole = exported(filled, tmp_path / "whole", "team")
    assert {line["name"] for line in lines(whole, "repositories")} == {"team/gone", "team/other", "team/tickets"}
    with pytest.raises(DataDirectoryError, match="called 'tea'"):
        exported(filled, tmp_path / "place" / "none", "tea")
    assert list((tmp_path / "place").iterdir()) == []


def test_damaged_file_is_named_and_nothing_appears(filled: Registry, tmp_path: Path) -> None:
    filled.admin.create("harm/done")
    filled.admin.published("harm/done", {"a/b.txt": b"good"})
    filled.damage(b"good", b"evil")
    with pytest.raises(DataDirectoryError, match=r"is damaged: repositories/harm/done/branches/main/a/b\.txt cannot"):
        exported(filled, tmp_path / "place" / "out")
    filled.store.delete(sha256_bytes(b"good"))
    with pytest.raises(DataDirectoryError, match=r"is missing: .*petapter-registry scrub"):
        exported(filled, tmp_path / "place" / "out")
    assert list((tmp_path / "place").iterdir()) == []
    filled.admin.delete("harm/done")


def test_command_exports_beside_the_server_and_leaves_what_is_there(filled: Registry, tmp_path: Path) -> None:
    done = run(
        "petapter-registry", "export", *filled.place_with_bytes, "--to", tmp_path / "out", "--only", "team/tickets"
    )
    assert done.stdout.startswith(f"{tmp_path / 'out'} holds 1 repositories with 2 versions: ")
    assert (tmp_path / "out").stat().st_mode & 0o077 == 0
    with pytest.raises(DataDirectoryError, match="is there already"):
        exported(filled, tmp_path / "out")


def test_evaluation_sets_lie_there_with_the_rows_that_are_here(tmp_path: Path) -> None:
    with running(Settings(data=tmp_path / "data")) as registry:
        ada = registry.caller("ada")
        spec = published_set(ada, "lab")
        kept_back = spec_of(name="kept-back")
        assert send_set(ada, "lab", kept_back).status_code == 200
        place = exported(registry, tmp_path / "out", "lab")
    assert files_in(place / "evaluation-sets") == {
        "lab/tickets-2024/1.0.0/evaluation-set.json": evaluation_set_bytes(spec),
        "lab/tickets-2024/1.0.0/rows.jsonl": rows_bytes(ROWS),
        "lab/kept-back/1.0.0/evaluation-set.json": evaluation_set_bytes(kept_back),
    }
    told = {each["name"]: each for each in lines(place, "evaluation_sets")}
    assert told["lab/tickets-2024"]["rows_sha256"] == spec.rows_sha256
    assert told["lab/kept-back"]["directory"] == "evaluation-sets/lab/kept-back/1.0.0"
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=place, check=True)
