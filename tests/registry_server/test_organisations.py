from collections.abc import Mapping
from typing import Any

import pytest

from petapter_registry_server.services.accounts import TokenLimits
from tests.registry_server.conftest import Caller, Registry

ORGANISATIONS = "/api/petapter/v1/organisations"
GRANTS = "/api/petapter/v1/modules/team/tickets/grants"


def set_role(caller: Caller, user: str, role: str) -> Any:
    return caller.call("PUT", f"{ORGANISATIONS}/team/members/{user}", json={"role": role})


def members(caller: Caller) -> Mapping[str, str]:
    return {line["user"]: line["role"] for line in caller.get(f"{ORGANISATIONS}/team/members").json()}


def test_founder_of_an_organisation_is_its_admin(registry: Registry) -> None:
    ada = registry.caller("ada")
    assert ada.call("POST", ORGANISATIONS, json={"name": "team"}).json() == {"name": "team"}
    assert members(ada) == {"ada": "admin"}
    assert ada.get(ORGANISATIONS).json() == [{"name": "team", "role": "admin"}]
    assert ada.create("team/tickets").status_code == 200


def test_namespace_that_a_first_repository_founds_is_an_organisation(team: Caller) -> None:
    assert members(team) == {"ada": "admin"}


@pytest.mark.parametrize("name", ["team", "te-am", "7eam", "ada", "api", "a b"])
def test_name_that_is_taken_or_not_allowed_is_refused(team: Caller, name: str) -> None:
    statuses = {"7eam": 200}  # looks like no other
    assert team.call("POST", ORGANISATIONS, json={"name": name}).status_code == statuses.get(name, 400)


@pytest.mark.parametrize(
    ("role", "statuses"),
    [("read", [403, 403, 403]), ("write", [200, 403, 403]), ("maintain", [200, 200, 403]), ("admin", [200, 200, 200])],
)
def test_each_role_does_what_the_one_below_does_and_more(
    registry: Registry, team: Caller, role: str, statuses: list[int]
) -> None:
    member = registry.caller("grace")
    assert set_role(team, "grace", role).status_code == 200
    team.call("POST", "/api/models/team/tickets/tag/main", json={"tag": "v1"})
    answers = [
        member.commit("team/tickets", {"a.txt": b"1"}),
        member.call("DELETE", "/api/models/team/tickets/tag/v1"),
        member.call("PUT", "/api/models/team/tickets/settings", json={"visibility": "private"}),
    ]
    assert [answer.status_code for answer in answers] == statuses


def test_refused_member_is_told_which_role_is_missing(registry: Registry, team: Caller) -> None:
    member = registry.caller("grace")
    set_role(team, "grace", "read")
    assert member.commit("team/tickets", {"a.txt": b"1"}).json()["error"] == (
        "grace has the role 'read' in team/tickets, and this needs 'write': ask an admin of 'team'"
    )


def test_removed_member_loses_private_modules_at_once_and_every_role_on_them(registry: Registry, team: Caller) -> None:
    team.create("team/secret", private=True)
    member = registry.caller("grace")
    set_role(team, "grace", "write")
    team.call("PUT", "/api/petapter/v1/modules/team/secret/grants/grace", json={"role": "admin"})
    assert member.get("/api/models/team/secret").status_code == 200
    assert team.call("DELETE", f"{ORGANISATIONS}/team/members/grace").status_code == 200
    assert member.get("/api/models/team/secret").status_code == 404
    assert member.get("/api/models").json() == registry.anonymous.get("/api/models").json()
    assert team.get("/api/petapter/v1/modules/team/secret/grants").json() == []


def test_last_admin_cannot_leave_nor_step_down_nor_be_removed(registry: Registry, team: Caller) -> None:
    registry.caller("grace")
    set_role(team, "grace", "maintain")
    answers = [
        team.call("DELETE", f"{ORGANISATIONS}/team/membership"),
        set_role(team, "ada", "write"),
        registry.admin.call("DELETE", f"{ORGANISATIONS}/team/members/ada"),
    ]
    assert [answer.status_code for answer in answers] == [409] * 3
    assert "last admin" in answers[0].json()["detail"]
    set_role(team, "grace", "admin")
    assert team.call("DELETE", f"{ORGANISATIONS}/team/membership").status_code == 200
    assert team.get(f"{ORGANISATIONS}/team/members").status_code == 404


def test_disabled_admin_does_not_count_as_one(registry: Registry, team: Caller) -> None:
    registry.caller("grace")
    set_role(team, "grace", "admin")
    registry.app.state.services.accounts.disable_user("grace")
    assert team.call("DELETE", f"{ORGANISATIONS}/team/membership").status_code == 409
    assert set_role(team, "grace", "read").status_code == 400


def test_member_who_is_no_admin_may_leave(registry: Registry, team: Caller) -> None:
    member = registry.caller("grace")
    set_role(team, "grace", "read")
    assert member.call("DELETE", f"{ORGANISATIONS}/team/membership").status_code == 200
    assert members(team) == {"ada": "admin"}


def test_organisation_does_not_exist_for_strangers(registry: Registry, team: Caller) -> None:
    stranger = registry.caller("eve")
    there, not_there = (stranger.get(f"{ORGANISATIONS}/{name}/members") for name in ("team", "nope"))
    assert (there.status_code, there.text) == (404, not_there.text.replace("nope", "team"))
    assert set_role(stranger, "eve", "admin").status_code == 404


def test_namespace_of_a_user_has_no_members(registry: Registry) -> None:
    ada = registry.caller("ada")
    registry.caller("grace")
    path = f"{ORGANISATIONS}/ada/members/grace"
    assert ada.call("PUT", path, json={"role": "write"}).status_code == 404


@pytest.mark.parametrize("path", [f"{ORGANISATIONS}/team/members/nobody", f"{GRANTS}/nobody"])
def test_unknown_user_is_refused(team: Caller, path: str) -> None:
    answer = team.call("PUT", path, json={"role": "write"})
    assert (answer.status_code, "no user 'nobody'" in answer.json()["detail"]) == (404, True)
    assert team.call("PUT", path, json={"role": "owner"}).status_code == 400
    assert team.call("DELETE", path).status_code == 404


def test_grant_opens_one_module_and_no_other(registry: Registry, team: Caller) -> None:
    for name in ("one", "two"):
        team.create(f"team/{name}", private=True)
    guest = registry.caller("grace")
    path = "/api/petapter/v1/modules/team/one/grants/grace"
    assert team.call("PUT", path, json={"role": "write"}).status_code == 200
    assert guest.commit("team/one", {"a.txt": b"1"}).status_code == 200
    assert guest.get("/api/models/team/two").status_code == 404
    assert {model["id"] for model in guest.get("/api/models").json()} == {"team/one", "team/tickets"}
    assert guest.create("team/three").status_code == 403
    assert team.call("DELETE", path).status_code == 200
    assert guest.get("/api/models/team/one").status_code == 404


def test_greater_of_the_roles_in_the_namespace_and_on_the_module_counts(registry: Registry, team: Caller) -> None:
    member = registry.caller("grace")
    set_role(team, "grace", "maintain")
    team.call("PUT", f"{GRANTS}/grace", json={"role": "read"})
    assert member.call("DELETE", "/api/models/team/tickets/tag/none").headers["X-Error-Code"] == "RevisionNotFound"
    set_role(team, "grace", "read")
    team.call("PUT", f"{GRANTS}/grace", json={"role": "admin"})
    assert member.delete("team/tickets").status_code == 200


def test_no_grant_is_left_of_a_deleted_module(registry: Registry, team: Caller) -> None:
    from petapter_registry_server.db.people_tables import Grant

    registry.caller("grace")
    team.call("PUT", f"{GRANTS}/grace", json={"role": "admin"})
    team.delete("team/tickets")
    with registry.app.state.services.access._database.read() as session:
        assert session.query(Grant).all() == []


def test_disabled_user_is_shut_out_and_let_in_only_with_a_new_token(registry: Registry, team: Caller) -> None:
    accounts = registry.app.state.services.accounts
    accounts.disable_user("ada")
    assert team.get("/api/models").headers["X-Error-Message"] == "Invalid credentials in Authorization header"
    accounts.enable_user("ada")
    assert team.get("/api/models").status_code == 401
    assert registry.caller("ada").commit("team/tickets", {"a.txt": b"1"}).status_code == 200


def test_token_for_one_module_lists_only_that_among_private_ones(registry: Registry, team: Caller) -> None:
    for name in ("one", "two"):
        team.create(f"team/{name}", private=True)
    limits = TokenLimits(scope="read", pattern="team/one")
    token = registry.app.state.services.accounts.issue_token("ada", "write", limits).secret
    listed = Caller(registry.client, token).get("/api/models").json()
    assert {model["id"] for model in listed} == {"team/one", "team/tickets"}
