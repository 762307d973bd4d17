import pytest

from tests.registry_server.conftest import Caller, Registry


def test_new_repository_has_a_first_commit_with_gitattributes(team: Caller) -> None:
    history = team.get("/api/models/team/tickets/commits/main").json()
    assert [commit["title"] for commit in history] == ["initial commit"]
    assert team.paths("team/tickets") == [".gitattributes"]


def test_create_answers_with_an_address_on_the_clients_host(registry: Registry) -> None:
    assert registry.admin.create("team/tickets").json()["url"] == "http://registry.test/team/tickets"


def test_repository_without_a_namespace_goes_to_the_callers_own(registry: Registry) -> None:
    answer = registry.caller("ada").call("POST", "/api/repos/create", json={"name": "mine", "organization": None})
    assert answer.json()["url"].endswith("/ada/mine")


def test_repository_that_exists_is_409_with_its_address(team: Caller) -> None:
    answer = team.create("team/tickets")
    assert (answer.status_code, answer.json()["url"]) == (409, "http://registry.test/team/tickets")


def test_repository_is_found_in_any_case_under_its_own_name(team: Caller) -> None:
    assert team.get("/api/models/TEAM/Tickets").json()["id"] == "team/tickets"
    assert team.create("Team/TICKETS").status_code == 409


@pytest.mark.parametrize("name", ["team/tlckets", "team/t-ickets", "team/T1CKETS", "te-am/other", "7eam/../x"])
def test_look_alike_name_is_refused(team: Caller, name: str) -> None:
    answer = team.create(name)
    assert answer.status_code == 400
    assert "url" not in answer.json()


@pytest.mark.parametrize("name", ["api/x", "team/x--y", "team/.x", "team/x.git", "team/a b"])
def test_name_that_breaks_the_rules_is_refused(team: Caller, name: str) -> None:
    assert team.create(name).status_code == 400


def test_deleted_repository_is_gone(registry: Registry, team: Caller) -> None:
    assert team.delete("team/tickets").status_code == 200
    assert team.get("/api/models/team/tickets").headers["X-Error-Code"] == "RepoNotFound"
    assert team.get("/team/tickets/resolve/main/.gitattributes").status_code == 404
    assert team.get("/api/models").json() == []
    assert team.delete("team/tickets").headers["X-Error-Code"] == "RepoNotFound"


@pytest.mark.parametrize("name", ["team/tickets", "team/Tickets", "team/t1ckets"])
def test_name_of_a_deleted_repository_is_never_given_out_again(registry: Registry, team: Caller, name: str) -> None:
    team.delete("team/tickets")
    for caller in (team, registry.admin):
        answer = caller.create(name)
        assert answer.status_code == 410
        assert "never given out again" in answer.json()["error"]


def test_datasets_are_refused_in_words(registry: Registry) -> None:
    answer = registry.admin.call(
        "POST", "/api/repos/create", json={"name": "x", "organization": "t", "type": "dataset"}
    )
    assert (answer.status_code, "models only" in answer.json()["error"]) == (501, True)
    assert registry.admin.get("/api/datasets/t/x").headers["X-Error-Code"] == "RepoNotFound"


def test_branch_begins_where_it_is_told(team: Caller) -> None:
    first = team.head("team/tickets")
    second = team.published("team/tickets", {"a.txt": b"1"})
    assert team.call("POST", "/api/models/team/tickets/branch/old", json={"startingPoint": first}).status_code == 200
    assert team.call("POST", "/api/models/team/tickets/branch/new").status_code == 200
    refs = team.get("/api/models/team/tickets/refs").json()
    assert {b["name"]: b["targetCommit"] for b in refs["branches"]} == {"main": second, "old": first, "new": second}
    assert refs["converts"] == []


def test_branch_with_a_slash_works_everywhere(team: Caller) -> None:
    assert team.call("POST", "/api/models/team/tickets/branch/feature%2Fx").status_code == 200
    oid = team.published("team/tickets", {"dir/a b.txt": b"1"}, branch="feature%2Fx")
    assert team.get("/api/models/team/tickets/revision/feature%2Fx").json()["sha"] == oid
    assert team.get("/team/tickets/resolve/feature%2Fx/dir/a%20b.txt").content == b"1"
    assert team.get("/team/tickets/resolve/refs%2Fheads%2Ffeature%2Fx/dir/a%20b.txt").content == b"1"
    assert [e["path"] for e in team.get("/api/models/team/tickets/tree/feature%2Fx/dir").json()] == ["dir/a b.txt"]
    assert team.call("DELETE", "/api/models/team/tickets/branch/feature%2Fx").status_code == 200


def test_branch_that_exists_is_409_with_the_words_that_clients_match(team: Caller) -> None:
    answer = team.call("POST", "/api/models/team/tickets/branch/main")
    assert (answer.status_code, answer.json()["error"]) == (409, "Reference refs/heads/main already exists")


def test_main_cannot_be_deleted(team: Caller) -> None:
    answer = team.call("DELETE", "/api/models/team/tickets/branch/main")
    assert (answer.status_code, answer.json()["error"]) == (400, "Cannot delete refs/heads/main")


@pytest.mark.parametrize("name", ["a..b", "-x", "x.lock", "0" * 40, "a%2F%2Fb", "refs%2Fpr%2F1", "a%20b"])
def test_branch_name_that_breaks_the_rules_is_refused(team: Caller, name: str) -> None:
    assert team.call("POST", f"/api/models/team/tickets/branch/{name}").status_code == 400


def test_tag_stays_when_the_branch_moves(team: Caller) -> None:
    first = team.published("team/tickets", {"a.txt": b"1"})
    assert team.call("POST", f"/api/models/team/tickets/tag/{first[:7]}", json={"tag": "v1.0.0"}).status_code == 200
    team.published("team/tickets", {"a.txt": b"2"})
    assert team.get("/team/tickets/resolve/v1.0.0/a.txt").content == b"1"
    assert team.get("/api/models/team/tickets/refs").json()["tags"][0]["targetCommit"] == first


def test_tag_that_exists_is_409(team: Caller) -> None:
    path = "/api/models/team/tickets/tag/main"
    assert [team.call("POST", path, json={"tag": "v1"}).status_code for _ in range(2)] == [200, 409]


def test_deleting_a_missing_tag_or_branch_is_not_found(team: Caller) -> None:
    for kind in ("tag", "branch"):
        answer = team.call("DELETE", f"/api/models/team/tickets/{kind}/nope")
        assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, "RevisionNotFound")


def test_commit_of_another_repository_is_no_revision_here(team: Caller) -> None:
    team.create("team/other")
    oid = team.head("team/other")
    assert team.get(f"/api/models/team/tickets/revision/{oid}").headers["X-Error-Code"] == "RevisionNotFound"


def test_commit_ids_never_repeat(team: Caller) -> None:
    oids = [team.published("team/tickets", {"a.txt": b"%d" % (n % 2)}) for n in range(4)]
    assert len({*oids}) == 4


def test_history_is_paged_newest_first(team: Caller) -> None:
    for n in range(3):
        team.published("team/tickets", {"a.txt": b"%d" % n}, title=f"push {n}")
    first = team.get("/api/models/team/tickets/commits/main?limit=3")
    second = team.get(first.links["next"]["url"])
    assert [c["title"] for c in first.json() + second.json()] == ["push 2", "push 1", "push 0", "initial commit"]
    assert first.json()[0]["authors"] == [{"user": "ada"}]


@pytest.mark.parametrize("part", ["discussions", "xet-write-token/main", "user-access-request/pending"])
def test_part_of_the_protocol_that_is_missing_is_501_in_words(team: Caller, part: str) -> None:
    answer = team.call("POST", f"/api/models/team/tickets/{part}")
    assert answer.status_code == 501
    assert "does not offer" in answer.headers["X-Error-Message"]
