"""Large files that clients send to the object store themselves: what arrives is looked at before anybody sees it."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import obstore
import pytest
from obstore.store import S3Store

from petapter_registry_server.errors import StoreError
from petapter_registry_server.services.garbage import GarbageCollection
from petapter_registry_server.services.uploads import PART_BYTES
from petapter_registry_server.settings import Settings
from petapter_registry_server.storage.object_staging import ObjectStaging
from petapter_schemas.digests import sha256_bytes
from tests.registry_process import run
from tests.registry_server.conftest import Caller, Registry, member_of_team, running
from tests.registry_server.s3_server import S3Server
from tests.registry_server.strict_store import StrictStore, strict_store
from tests.registry_server.test_garbage import Clock
from tests.registry_server.test_large_files import LARGE, OID, batch, link, wanted

pytestmark = pytest.mark.s3

OTHER = LARGE[:-1] + bytes([LARGE[-1] ^ 1])
"""As long as LARGE, and something else."""
HOUR_MS = 3_600_000


@pytest.fixture
def store(s3: S3Server) -> Iterator[StrictStore]:
    with strict_store(s3) as strict:
        yield strict


@pytest.fixture
def registry(store: StrictStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    with running(direct_settings(store, tmp_path, monkeypatch, max_inline_bytes=1000)) as opened:
        yield opened


@pytest.fixture
def team(registry: Registry) -> Caller:
    return member_of_team(registry)


def direct_settings(store: StrictStore, tmp_path: Path, environment: pytest.MonkeyPatch, **others: Any) -> Settings:
    for name, value in store.env.items():
        environment.setenv(name, value)
    chosen: dict[str, Any] = {**store.settings, **others}
    return Settings(data=tmp_path / "data", blobs=store.blobs, direct_uploads=True, **chosen)


def objects(store: StrictStore) -> S3Store:
    return store.server.open(store.bucket, "lab")


def keys(store: StrictStore, below: str) -> list[str]:
    return [found["path"] for batch_ in obstore.list(objects(store), below) for found in batch_]


def address(team: Caller, data: bytes = LARGE) -> str:
    (told,) = batch(team, wanted(data)).json()["objects"]
    href: str = told["actions"]["upload"]["href"]
    return href


def put(href: str, data: bytes, **headers: str) -> int:
    return httpx.put(
        href, content=data, headers={name.replace("_", "-"): text for name, text in headers.items()}
    ).status_code


def verify(caller: Caller, data: bytes = LARGE) -> Any:
    return caller.call("POST", "/team/tickets.git/info/lfs/verify", json=wanted(data))


def is_in_a_commit(team: Caller) -> bool:
    return bool(team.get("/team/tickets/resolve/main/w.safetensors").content == LARGE)


def test_address_is_for_one_name_below_staging(store: StrictStore, registry: Registry, team: Caller) -> None:
    first, second = urlsplit(address(team)), urlsplit(address(team))
    del registry
    assert first.path.startswith(f"/{store.bucket}/lab/staging/")
    assert first.path != second.path
    assert OID not in first.path
    assert "X-Amz-Expires=3600" in first.query


def test_file_is_there_after_verify_and_nothing_is_left_in_staging(
    store: StrictStore, registry: Registry, team: Caller
) -> None:
    assert put(address(team), LARGE) == 200
    assert verify(team).status_code == 200
    assert keys(store, "staging") == []
    assert registry.stored(LARGE) == LARGE
    assert link(team, "w.safetensors", OID, len(LARGE)).status_code == 200
    assert is_in_a_commit(team)
    assert "actions" not in batch(team, wanted(LARGE)).json()["objects"][0]
    assert registry.files_in_scratch() == []


@pytest.mark.parametrize("size", [len(LARGE), None], ids=["with its size", "as copies are named"])
def test_commit_looks_itself_where_a_client_did_not_verify(
    store: StrictStore, registry: Registry, team: Caller, size: int | None
) -> None:
    put(address(team), LARGE)
    assert link(team, "w.safetensors", OID, size).status_code == 200
    assert is_in_a_commit(team)
    assert keys(store, "staging") == []
    del registry


@pytest.mark.parametrize("data", [OTHER, LARGE[:-1], LARGE + b"x", b""], ids=["other", "shorter", "longer", "empty"])
@pytest.mark.parametrize("how", ["verify", "commit"])
def test_other_bytes_are_refused_and_deleted(
    store: StrictStore, registry: Registry, team: Caller, data: bytes, how: str
) -> None:
    assert put(address(team), data) == 200
    answer = verify(team) if how == "verify" else link(team, "w.safetensors", OID, len(LARGE))
    assert answer.status_code == 400
    assert "send them again" in answer.json()["error"]
    assert keys(store, "staging") == []
    assert registry.stored(LARGE) is None
    assert registry.stored(data) is None
    assert put(address(team), LARGE) == 200
    assert verify(team).status_code == 200


def test_what_was_sent_over_a_verified_file_changes_nothing(
    store: StrictStore, registry: Registry, team: Caller
) -> None:
    href = address(team)
    put(href, LARGE)
    assert verify(team).status_code == 200
    assert put(href, OTHER) == 200  # the address is good for an hour
    assert verify(team).status_code == 200
    assert link(team, "w.safetensors", OID, len(LARGE)).status_code == 200
    assert is_in_a_commit(team)
    assert registry.stored(OTHER) is None
    assert len(keys(store, "staging")) == 1  # for garbage collection


@pytest.mark.parametrize("moment", ["opened", "read"])
def test_what_is_sent_while_the_registry_reads_changes_nothing(
    registry: Registry, team: Caller, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    href = address(team)
    put(href, LARGE)
    whole = ObjectStaging.open

    def disturbed(staging: ObjectStaging, name: str) -> Any:
        content = whole(staging, name)
        if moment == "opened":
            put(href, OTHER)
            return content
        chunks = list(content.chunks)
        put(href, OTHER)
        return replace(content, chunks=iter(chunks))

    monkeypatch.setattr(ObjectStaging, "open", disturbed)
    assert verify(team).status_code == 200
    assert registry.stored(LARGE) == LARGE
    assert registry.stored(OTHER) is None


def test_nobody_reads_what_was_sent_before_it_is_verified(store: StrictStore, registry: Registry, team: Caller) -> None:
    href = address(team)
    put(href, LARGE)
    assert httpx.get(href).status_code == 403
    assert httpx.get(href.partition("?")[0]).status_code == 403
    assert team.get(f"/team/tickets/resolve/main/{OID}").status_code == 404
    grace = registry.caller("grace")
    grace.create("lab/own")
    assert link(grace, "w.safetensors", OID, len(LARGE), repo_id="lab/own").status_code == 400
    assert len(keys(store, "staging")) == 1


def test_one_who_may_write_too_gets_nothing_from_what_another_sent(
    store: StrictStore, registry: Registry, team: Caller
) -> None:
    grace = registry.caller("grace")
    members = "/api/petapter/v1/organisations/team/members/grace"
    assert team.call("PUT", members, json={"role": "write"}).is_success
    put(address(team), LARGE)
    assert verify(grace).status_code == 400
    assert link(grace, "w.safetensors", OID, len(LARGE)).status_code == 400
    assert len(keys(store, "staging")) == 1
    assert verify(team).status_code == 200


def test_what_was_sent_for_one_repository_is_nothing_to_another_of_the_same_person(
    registry: Registry, team: Caller
) -> None:
    team.create("team/other")
    put(address(team), LARGE)
    assert link(team, "w.safetensors", OID, len(LARGE), repo_id="team/other").status_code == 400
    assert registry.stored(LARGE) is None


def test_known_digest_is_no_right_to_stored_bytes(store: StrictStore, registry: Registry, team: Caller) -> None:
    """The address may not be used to copy them inside the bucket either."""
    put(address(team), LARGE)
    verify(team)
    grace = registry.caller("grace")
    grace.create("lab/own")
    wanted_here = {"operation": "upload", "transfers": ["basic"], "objects": [wanted(LARGE)]}
    told = grace.call("POST", "/lab/own.git/info/lfs/objects/batch", json=wanted_here).json()
    href = told["objects"][0]["actions"]["upload"]["href"]
    (blob,) = [key for key in keys(store, "blobs") if key.endswith(OID)]
    put(href, b"", x_amz_copy_source=f"/{store.bucket}/lab/{blob}")
    assert link(grace, "w.safetensors", OID, len(LARGE), repo_id="lab/own").status_code == 400


@pytest.mark.parametrize(
    ("harm", "status"),
    [
        (lambda href: href.replace("/staging/", "/blobs/"), 403),
        (lambda href: href.replace("X-Amz-Expires=3600", "X-Amz-Expires=604800"), 403),
        (lambda href: f"{href}&acl", 403),
        (lambda href: href.partition("?")[0], 403),
    ],
    ids=["another key", "longer", "rights", "unsigned"],
)
def test_changed_address_is_refused(registry: Registry, team: Caller, harm: Callable[[str], str], status: int) -> None:
    assert put(harm(address(team)), LARGE) == status
    assert verify(team).status_code == 400
    assert registry.stored(LARGE) is None


def test_strangers_and_files_above_the_limit_get_no_address(registry: Registry, team: Caller) -> None:
    assert batch(registry.caller("grace"), wanted(LARGE)).status_code == 403
    assert batch(registry.anonymous, wanted(LARGE)).status_code == 401
    (told,) = batch(team, {"oid": OID, "size": registry.settings.max_file_bytes + 1}).json()["objects"]
    assert (told["error"]["code"], "actions" in told) == (413, False)


def test_one_who_lost_the_role_gets_nothing_in(registry: Registry, team: Caller) -> None:
    grace = registry.caller("grace")
    members = "/api/petapter/v1/organisations/team/members/grace"
    team.call("PUT", members, json={"role": "write"})
    put(address(grace), LARGE)
    team.call("DELETE", members)
    assert verify(grace).status_code == 403
    assert registry.stored(LARGE) is None


def test_quota_counts_what_was_sent_directly(
    store: StrictStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = direct_settings(store, tmp_path, monkeypatch, max_inline_bytes=1000, quota_bytes=len(LARGE) - 1)
    with running(settings) as registry:
        team = member_of_team(registry)
        put(address(team), LARGE)
        answer = link(team, "w.safetensors", OID, len(LARGE))
        assert (answer.status_code, "may hold" in answer.json()["error"]) == (403, True)


def test_kind_of_file_is_checked_as_ever(registry: Registry, team: Caller) -> None:
    data = b"\x80\x04nonsense" * 200
    put(address(team, data), data)
    assert link(team, "w.safetensors", sha256_bytes(data), len(data)).status_code == 400
    del registry


def collector(registry: Registry, clock: Clock) -> GarbageCollection:
    own = registry.app.state.services.garbage
    return GarbageCollection(own._database, own._store, own._staging, grace_ms=HOUR_MS, clock=clock)


def test_abandoned_upload_is_collected_two_days_after_its_address_ended(
    store: StrictStore, registry: Registry, team: Caller
) -> None:
    clock = Clock()
    put(address(team), LARGE)
    clock.now_ms += 48 * HOUR_MS
    assert collector(registry, clock).run().abandoned == 0
    assert len(keys(store, "staging")) == 1
    clock.now_ms += 2 * HOUR_MS
    assert collector(registry, clock).preview().abandoned == 1
    assert collector(registry, clock).run().abandoned == 1
    assert keys(store, "staging") == []


def test_objects_that_the_registry_did_not_name_are_left_alone(store: StrictStore, registry: Registry) -> None:
    obstore.put(objects(store), "staging/somebody/else.bin", b"x")
    clock = Clock()
    clock.now_ms += 1000 * HOUR_MS
    assert collector(registry, clock).run().abandoned == 0
    assert keys(store, "staging") == ["staging/somebody/else.bin"]


def test_command_says_how_many_abandoned_uploads_it_deleted(store: StrictStore, registry: Registry) -> None:
    obstore.put(objects(store), f"staging/{OID}/1.1.{OID[:32]}.0", b"x")
    for options, said in ((("--dry-run",), "would be deleted"), ((), "deleted")):
        done = run("petapter-registry", "gc", *registry.place_with_bytes, *options)
        assert done.stdout.splitlines()[1:] == [f"1 abandoned uploads {said}"]
    assert keys(store, "staging") == []


def parts_of(team: Caller, data: bytes) -> tuple[str, dict[str, str]]:
    (told,) = batch(team, wanted(data), transfers=("basic", "multipart")).json()["objects"]
    upload = told["actions"]["upload"]
    return upload["href"], {name: href for name, href in upload["header"].items() if name.isdigit()}


def test_parts_make_the_file_and_the_answer_may_be_asked_for_twice(
    store: StrictStore, registry: Registry, team: Caller
) -> None:
    data = os.urandom(PART_BYTES + 5)
    complete, parts = parts_of(team, data)
    assert sorted(parts) == ["00001", "00002"]
    body = {"oid": sha256_bytes(data), "parts": []}
    second = httpx.put(parts["00002"], content=data[PART_BYTES:])
    assert second.headers["ETag"]
    early = registry.anonymous.call("POST", complete, json=body)
    assert (early.status_code, "part 1 is missing" in early.json()["error"]) == (400, True)
    put(parts["00001"], data[:PART_BYTES])
    for _ in range(2):
        assert registry.anonymous.call("POST", complete, json=body).status_code == 200
    assert verify(team, data).status_code == 200
    assert registry.stored(data) == data
    assert keys(store, "staging") == []


@pytest.mark.parametrize("harm", [b"x", b""], ids=["longer", "swapped"])
def test_parts_that_make_another_file_are_refused_and_deleted(
    store: StrictStore, registry: Registry, team: Caller, harm: bytes
) -> None:
    data = os.urandom(PART_BYTES + 5)
    complete, parts = parts_of(team, data)
    put(parts["00001"], data[:PART_BYTES] if harm else data[5:])
    put(parts["00002"], data[PART_BYTES:] + harm)
    answer = registry.anonymous.call("POST", complete, json={})
    assert (answer.status_code, "send them again" in answer.json()["error"]) == (400, True)
    assert keys(store, "staging") == []
    assert registry.stored(data) is None


def test_store_that_does_not_answer_is_503_and_loses_nothing(
    store: StrictStore, registry: Registry, team: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(address(team), LARGE)

    def failing(_staging: ObjectStaging, _name: str) -> Any:
        raise StoreError("gone")

    with monkeypatch.context() as broken:
        broken.setattr(ObjectStaging, "open", failing)
        assert verify(team).status_code == 503
    assert len(keys(store, "staging")) == 1
    assert verify(team).status_code == 200
