"""Every route against every kind of caller: each cell stands in a table below and is asserted at the wire."""
# over 400 lines: the table of every route by every caller is read as one

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from fastapi import APIRouter
from starlette.routing import Route

from petapter_registry_server.api.route_policy import NOT_OFFERED, POLICY, QUESTIONS, check_declared
from petapter_registry_server.errors import PermissionDeniedError
from petapter_registry_server.services.accounts import TokenLimits
from petapter_registry_server.services.callers import CONSOLE
from petapter_registry_server.services.roles import ROLES
from petapter_registry_server.settings import Settings
from petapter_registry_server.web.all_pages import PAGES
from tests.registry_server.browser_caller import Browser
from tests.registry_server.conftest import Caller, Registry, commit_body, running
from tests.registry_server.evaluation_data import ROWS, body_of, send_set, spec_of

# ok: not refused.  login: 401, a token is needed.  bad: 401, the token is none.  deny: 403.
# hide: 404, there is no such repository.  anon: 401, the same to a caller without a token.
# For each repository: read, write, maintain, admin.
REPOSITORIES = """
                  team/public             team/private            other/public            other/private
anonymous         ok    login login login anon  anon  anon  anon  ok    login login login anon  anon  anon  anon
stranger          ok    deny  deny  deny  hide  hide  hide  hide  ok    deny  deny  deny  hide  hide  hide  hide
reader            ok    deny  deny  deny  ok    deny  deny  deny  ok    deny  deny  deny  hide  hide  hide  hide
writer            ok    ok    deny  deny  ok    ok    deny  deny  ok    deny  deny  deny  hide  hide  hide  hide
maintainer        ok    ok    ok    deny  ok    ok    ok    deny  ok    deny  deny  deny  hide  hide  hide  hide
owner             ok    ok    ok    ok    ok    ok    ok    ok    ok    deny  deny  deny  hide  hide  hide  hide
other-owner       ok    deny  deny  deny  hide  hide  hide  hide  ok    ok    ok    ok    ok    ok    ok    ok
granted           ok    deny  deny  deny  ok    ok    deny  deny  ok    deny  deny  deny  hide  hide  hide  hide
read-token        ok    deny  deny  deny  ok    deny  deny  deny  ok    deny  deny  deny  hide  hide  hide  hide
read-scope        ok    deny  deny  deny  ok    deny  deny  deny  ok    deny  deny  deny  hide  hide  hide  hide
write-scope       ok    ok    deny  deny  ok    ok    deny  deny  ok    deny  deny  deny  hide  hide  hide  hide
team-pattern      ok    ok    ok    ok    ok    ok    ok    ok    ok    deny  deny  deny  hide  hide  hide  hide
public-pattern    ok    ok    ok    ok    hide  hide  hide  hide  ok    deny  deny  deny  hide  hide  hide  hide
other-pattern     ok    deny  deny  deny  hide  hide  hide  hide  ok    deny  deny  deny  hide  hide  hide  hide
expired           bad   bad   bad   bad   bad   bad   bad   bad   bad   bad   bad   bad   bad   bad   bad   bad
revoked           bad   bad   bad   bad   bad   bad   bad   bad   bad   bad   bad   bad   bad   bad   bad   bad
disabled          bad   bad   bad   bad   bad   bad   bad   bad   bad   bad   bad   bad   bad   bad   bad   bad
site-admin        ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
"""

# Evaluation sets: a role on one module, and a token for one, are for none of them.
SETS = """
                  team/public       team/private      other/public      other/private
                  read  write admin read  write admin read  write admin read  write admin
anonymous         ok    login login anon  login anon  ok    login login anon  login anon
stranger          ok    deny  deny  hide  deny  hide  ok    deny  deny  hide  deny  hide
reader            ok    deny  deny  ok    deny  deny  ok    deny  deny  hide  deny  hide
writer            ok    ok    deny  ok    ok    deny  ok    deny  deny  hide  deny  hide
maintainer        ok    ok    deny  ok    ok    deny  ok    deny  deny  hide  deny  hide
owner             ok    ok    ok    ok    ok    ok    ok    deny  deny  hide  deny  hide
other-owner       ok    deny  deny  hide  deny  hide  ok    ok    ok    ok    ok    ok
granted           ok    deny  deny  hide  deny  hide  ok    deny  deny  hide  deny  hide
read-token        ok    deny  deny  ok    deny  deny  ok    deny  deny  hide  deny  hide
read-scope        ok    deny  deny  ok    deny  deny  ok    deny  deny  hide  deny  hide
write-scope       ok    ok    deny  ok    ok    deny  ok    deny  deny  hide  deny  hide
team-pattern      ok    ok    ok    ok    ok    ok    ok    deny  deny  hide  deny  hide
public-pattern    ok    deny  deny  hide  deny  hide  ok    deny  deny  hide  deny  hide
other-pattern     ok    deny  deny  hide  deny  hide  ok    deny  deny  hide  deny  hide
expired           bad   bad   bad   bad   bad   bad   bad   bad   bad   bad   bad   bad
revoked           bad   bad   bad   bad   bad   bad   bad   bad   bad   bad   bad   bad
disabled          bad   bad   bad   bad   bad   bad   bad   bad   bad   bad   bad   bad
site-admin        ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
"""

# none: 404, there is no such organisation. `new` is making a repository in the organisation, `found` one in a new one.
REST = """
                  account            team               other              site lists found
                  read  write admin  read  admin new    read  admin new    read read  new
anonymous         login login login  login login login  login login login  login ok    login
stranger          ok    ok    ok     none  none  deny   none  none  deny   deny  ok    ok
reader            ok    ok    ok     ok    deny  deny   none  none  deny   deny  ok    ok
writer            ok    ok    ok     ok    deny  ok     none  none  deny   deny  ok    ok
maintainer        ok    ok    ok     ok    deny  ok     none  none  deny   deny  ok    ok
owner             ok    ok    ok     ok    ok    ok     none  none  deny   deny  ok    ok
other-owner       ok    ok    ok     none  none  deny   ok    ok    ok     deny  ok    ok
granted           ok    ok    ok     none  none  deny   none  none  deny   deny  ok    ok
read-token        ok    deny  deny   ok    deny  deny   none  none  deny   deny  ok    deny
read-scope        ok    deny  deny   ok    deny  deny   none  none  deny   deny  ok    deny
write-scope       ok    ok    deny   ok    deny  ok     none  none  deny   deny  ok    deny
team-pattern      ok    ok    ok     ok    ok    ok     none  none  deny   deny  ok    deny
public-pattern    ok    ok    ok     deny  deny  deny   none  none  deny   deny  ok    deny
other-pattern     ok    ok    ok     deny  deny  deny   none  none  deny   deny  ok    deny
expired           bad   bad   bad    bad   bad   bad    bad   bad   bad    bad   bad   bad
revoked           bad   bad   bad    bad   bad   bad    bad   bad   bad    bad   bad   bad
disabled          bad   bad   bad    bad   bad   bad    bad   bad   bad    bad   bad   bad
site-admin        ok    ok    ok     ok    ok    ok     ok    ok    ok     ok    ok    ok
"""
TARGETS = ("team/public", "team/private", "other/public", "other/private")
BY_BODY = {"POST /api/repos/create", "DELETE /api/repos/delete", "POST /api/repos/move"}
TOO_SMALL = {"anonymous": "login", "read-token": "deny", "read-scope": "deny", "write-scope": "deny"}
"""Callers who can delete nothing are told so before the body, which names the repository, is read."""

MODEL = "/api/models/{namespace}/{name}"
BODIES: Mapping[str, Mapping[str, Any]] = {
    "POST /api/validate-yaml": {"json": {"content": "x"}},
    f"POST {MODEL}/commit/{{revision}}": {"content": commit_body({"a.txt": b"1"})},
    f"POST {MODEL}/preupload/{{revision}}": {"json": {"files": []}},
    f"POST {MODEL}/tag/{{revision}}": {"json": {"tag": "v1"}},
    "PUT /api/petapter/v1/modules/{namespace}/{name}/grants/{user}": {"json": {"role": "read"}},
    "PUT /api/petapter/v1/organisations/{organisation}/members/{user}": {"json": {"role": "read"}},
}
"""What routes are sent; the others, and every refused request, get an empty object."""
PAGE = "/{namespace}/{name}"
EVALSET = "/api/petapter/v1/evalsets/{namespace}/{name}"
FORMS: Mapping[str, dict[str, str]] = {
    "POST /web/organisations/{organisation}/members": {"user": "parrot", "role": "read"},
    "POST /web/organisations/{organisation}/members/remove": {"user": "parrot"},
    f"POST {PAGE}/access/decide": {"user": "parrot", "status": "accepted"},
    f"POST {PAGE}/versions/{{version}}/yank": {"reason": "no reason"},
    f"POST {PAGE}/evaluations": {"evaluation_set": "team/reviews", "revision": "main"},
    "POST /web/devices": {"code": "X", "decision": "approve"},
}
"""The fields of forms, besides the proof that every form carries."""
PAGE_ROUTES = frozenset(
    f"{method} {route.path}"
    for part in PAGES
    for route in part.router.routes
    if isinstance(route, Route)
    for method in route.methods or ()
)


def rows(table: str) -> dict[str, list[str]]:
    return {words[0]: words[1:] for line in table.splitlines() if (words := line.split()) and len(words) > 8}


def repository_cells() -> dict[tuple[str, str, str], str]:
    """By caller, repository and action."""
    return {
        (caller, target, action): cell
        for caller, cells in rows(REPOSITORIES).items()
        for (target, action), cell in zip(
            [(target, action) for target in TARGETS for action in ROLES], cells, strict=True
        )
    }


CELLS = repository_cells()
SET_CELLS = {
    (caller, target, action): cell
    for caller, cells in rows(SETS).items()
    if caller in rows(REPOSITORIES)
    for (target, action), cell in zip(
        [(target, action) for target in TARGETS for action in ("read", "write", "admin")], cells, strict=True
    )
}
OTHERS = {caller: cells for caller, cells in rows(REST).items() if caller in rows(REPOSITORIES)}
COLUMNS = dict(zip(
    ["account read", "account write", "account admin", "team read", "team admin", "team new", "other read",
     "other admin", "other new", "site read", "registry read", "found new"], range(12), strict=True,
))  # fmt: skip
CALLERS = tuple(rows(REPOSITORIES))

NATIVE = "/api/petapter/v1"
MODULE = f"{NATIVE}/modules/{{namespace}}/{{name}}"
GRANTS = f"{MODULE}/grants"
MEMBERS = f"{NATIVE}/organisations/{{organisation}}/members/{{user}}"
NEEDED = {
    "repository write": {
        "POST /api/repos/create",
        f"GET {MODEL}/auth-check/write",
        f"POST {MODEL}/preupload/{{revision}}",
        f"POST {MODEL}/commit/{{revision}}",
        f"POST {MODEL}/branch/{{revision}}",
        f"DELETE {MODEL}/branch/{{revision}}",
        f"POST {MODEL}/tag/{{revision}}",
        "POST /{namespace}/{name}/info/lfs/objects/batch",
        "POST /{namespace}/{name}/info/lfs/verify",
        f"GET {MODEL}/xet-write-token/{{revision}}",
    },
    "repository maintain": {
        f"DELETE {MODEL}/tag/{{revision}}",
        f"POST {MODEL}/super-squash/{{revision}}",
        f"PUT {MODULE}/versions/{{version}}/yank",
        f"DELETE {MODULE}/versions/{{version}}/yank",
        f"PUT {MODULE}/channels/{{channel}}",
        f"DELETE {MODULE}/channels/{{channel}}",
        f"POST {PAGE}/versions/{{version}}/yank",
        f"POST {PAGE}/versions/{{version}}/unyank",
        f"POST {PAGE}/evaluations",
        f"POST {MODULE}/evaluation-jobs",
    },
    "repository admin": {
        f"GET {PAGE}/access",
        f"POST {PAGE}/access/decide",
        "DELETE /api/repos/delete",
        "POST /api/repos/move",
        f"GET {MODEL}/user-access-request/{{status}}",
        f"POST {MODEL}/user-access-request/handle",
        f"POST {MODEL}/user-access-request/grant",
        f"PUT {MODEL}/settings",
        f"GET {GRANTS}",
        f"PUT {GRANTS}/{{user}}",
        f"DELETE {GRANTS}/{{user}}",
    },
    "evalset write": {f"POST {NATIVE}/evalsets/{{namespace}}"},
    "evalset admin": {f"PUT {EVALSET}/settings", f"DELETE {EVALSET}/versions/{{version}}/rows"},
    "organisation admin": {
        f"PUT {MEMBERS}",
        f"DELETE {MEMBERS}",
        "POST /web/organisations/{organisation}/members",
        "POST /web/organisations/{organisation}/members/remove",
    },
    "account admin": {
        "GET /web/oidc/link",
        "POST /web/identities",
        "POST /web/identities/{identity}/remove",
        "POST /web/devices",
        "POST /web/organisations",
        "POST /web/tokens",
        "POST /web/tokens/{token}/revoke",
        f"POST {NATIVE}/organisations",
        f"DELETE {NATIVE}/organisations/{{organisation}}/membership",
        f"POST {NATIVE}/tokens",
        f"DELETE {NATIVE}/tokens/{{token}}",
        f"POST {NATIVE}/publishers",
        f"DELETE {NATIVE}/publishers/{{publisher}}",
        f"POST {NATIVE}/devices/{{code}}/approve",
        f"POST {NATIVE}/devices/{{code}}/deny",
        f"GET {NATIVE}/webhooks",
        f"POST {NATIVE}/webhooks",
        f"DELETE {NATIVE}/webhooks/{{webhook}}",
        f"POST {NATIVE}/webhooks/{{webhook}}/ping",
        f"POST {NATIVE}/webhooks/{{webhook}}/secret",
        f"GET {NATIVE}/webhooks/{{webhook}}/deliveries",
        "GET /web/webhooks",
        "POST /web/webhooks",
        "GET /web/webhooks/{webhook}",
        "POST /web/webhooks/{webhook}/ping",
        "POST /web/webhooks/{webhook}/secret",
        "POST /web/webhooks/{webhook}/remove",
    },
    "account write": {
        f"POST {MODEL}/ask-access",
        "POST /{namespace}/{name}/ask-access",
        f"POST {PAGE}/access/ask",
        f"POST {MODULE}/evaluations",
    },
    "public write": {
        "POST /oauth/token",
        "POST /oauth/device",
        "POST /web/login",
        "POST /web/logout",
        "GET /web/oidc/callback",
    },
    "signed write": {
        "PUT /api/uploads/{signed}",
        "POST /api/uploads/{signed}",
        "POST /api/xet/v1/xorbs/default/{xorb_hash}",
        "POST /api/xet/v1/shards",
    },
}
"""What every route needs that needs more than to read."""
PATTERNED = ("team-pattern", "public-pattern", "other-pattern")
NOT_BY = {
    f"POST {NATIVE}/devices/{{code}}/approve": PATTERNED,
    "POST /web/devices": PATTERNED,
    "GET /web/oidc/link": PATTERNED,
    "POST /web/identities": PATTERNED,
}
"""Tokens with a pattern cannot pass on what they have not."""


@dataclass(frozen=True)
class World:
    registry: Registry
    callers: Mapping[str, Caller]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(Settings(data=tmp_path_factory.mktemp("matrix") / "data")) as registry:
        people(registry)
        yield World(registry, {name: Caller(registry.client, token(registry, name)) for name in CALLERS})


def people(registry: Registry) -> None:
    services = registry.app.state.services
    for user in ("stranger", "reader", "writer", "maintainer", "owner", "other-owner", "granted", "disabled", "parrot"):
        services.accounts.create_user(user)
    services.organisations.create(CONSOLE, "team", admin="owner")
    services.organisations.create(CONSOLE, "other", admin="other-owner")
    for user, role in (("reader", "read"), ("writer", "write"), ("maintainer", "maintain"), ("disabled", "admin")):
        services.organisations.set_member(CONSOLE, "team", user, role)
    for target in TARGETS:
        assert registry.admin.create(target, private=target.endswith("private")).status_code == 200
    services.organisations.grant(CONSOLE, "team/private", "granted", "write")
    for target in TARGETS:
        namespace, _, name = target.partition("/")
        private = target.endswith("private")
        assert send_set(registry.admin, namespace, spec_of(name=name), ROWS, private=private).status_code == 200


LIMITED = {
    "read-scope": TokenLimits(scope="read"),
    "write-scope": TokenLimits(scope="write"),
    "team-pattern": TokenLimits(scope="admin", pattern="team/*"),
    "public-pattern": TokenLimits(scope="admin", pattern="team/public"),
    "other-pattern": TokenLimits(scope="admin", pattern="elsewhere/*"),
    "expired": TokenLimits(expires_ms=1),
}


def token(registry: Registry, name: str) -> str | None:
    accounts = registry.app.state.services.accounts
    if name == "anonymous":
        return None
    if name == "site-admin":
        return registry.admin_token
    if name in LIMITED:
        return accounts.issue_token("owner", "write", LIMITED[name]).secret
    if name == "read-token":
        return accounts.issue_token("owner", "read").secret
    issued = accounts.issue_token("owner" if name == "revoked" else name, "write")
    if name == "revoked":
        accounts.revoke_token(issued.id)
    if name == "disabled":
        accounts.disable_user("disabled")
    return issued.secret


def verdict(answer: Any) -> str:
    """In the words of the tables."""
    status, code = answer.status_code, answer.headers.get("X-Error-Code")
    message = answer.headers.get("X-Error-Message", "")
    assert status < 500, message
    if status == 401 and message.startswith(("Invalid credentials in Authorization", "your login has ended")):
        return "bad"
    if status in {401, 404} and code in {"RepoNotFound", "EvaluationSetNotFound"}:
        return "anon" if status == 401 else "hide"
    if status == 404 and message.startswith("there is no organisation"):
        return "none"
    return {401: "login", 403: "deny"}.get(status, "ok")


def send(registry: Registry, caller: Caller, route: str, target: str, **options: Any) -> str:
    """Call a route on a repository (or an organisation); a part of the path that is not named stands for itself.

    Pages are asked by a browser with a login that the caller's token began.
    """
    method, _, path = route.partition(" ")
    namespace, _, name = target.partition("/")
    filled = path.replace(":path}", "}").format(
        namespace=namespace, name=name, organisation=namespace, revision="main", folder="nowhere",
        path=".gitattributes", user="parrot", token=999, publisher=999, webhook=999, topic="x", channel="x",
        version="x", digest="0" * 64, status="pending", signed="x", xorb_hash="0" * 64, rest="v1/chunks", code="X",
        file="x.css", job=999, identity=999,
    )  # fmt: skip
    if route in PAGE_ROUTES:
        browser = Browser.of(registry, caller.token)
        return verdict(browser.get(filled) if method == "GET" else browser.post(filled, FORMS.get(route)))
    content = options or BODIES.get(route, {"json": {}})
    return verdict(caller.call(method, filled, **({} if method in {"GET", "HEAD"} else content)))


@pytest.mark.parametrize("route", [r for r, n in POLICY.items() if n.resource == "repository" and r not in BY_BODY])
def test_repository_route_does_what_the_table_says(world: World, route: str) -> None:
    action = POLICY[route].action
    found = {
        (who, target): send(world.registry, world.callers[who], route, target) for who in CALLERS for target in TARGETS
    }
    assert found == {(who, target): CELLS[who, target, action] for who, target in found}


@pytest.mark.parametrize("route", [r for r, n in POLICY.items() if n.resource == "evalset"])
def test_route_of_evaluation_sets_does_what_the_table_says(world: World, route: str) -> None:
    action = POLICY[route].action
    found = {(who, target): send_about_set(world, who, route, target) for who in CALLERS for target in TARGETS}
    assert found == {(who, target): SET_CELLS[who, target, action] for who, target in found}


def send_about_set(world: World, who: str, route: str, target: str) -> str:
    """Publishing needs a set, and settings what is set; versions are those that there are."""
    spec = spec_of(name=target.partition("/")[2])
    options: dict[str, Any] = {}
    if route.startswith("POST"):
        options = {"content": body_of(spec)}
    elif route.endswith("/settings"):
        options = {"json": {"private": target.endswith("private")}}
    return send(world.registry, world.callers[who], route.replace("{version}", spec.version), target, **options)


def test_repository_is_deleted_by_whom_the_table_says(world: World) -> None:
    found = {}
    for number, (who, target) in enumerate((who, target) for who in CALLERS for target in TARGETS):
        name, caller = target, world.callers[who]
        if CELLS[who, target, "admin"] == "ok":
            name = f"{target}-{number}"
            assert world.registry.admin.create(name, private=target.endswith("private")).status_code == 200
            caller = for_this_one(world, name) if who == "public-pattern" else caller
        found[who, target] = verdict(caller.delete(name))
    assert found == {(who, target): TOO_SMALL.get(who, CELLS[who, target, "admin"]) for who, target in found}


def test_repository_is_renamed_by_whom_the_table_says(world: World) -> None:
    found = {}
    for number, (who, target) in enumerate((who, target) for who in CALLERS for target in TARGETS):
        name, caller = target, world.callers[who]
        if CELLS[who, target, "admin"] == "ok":
            name = f"{target}-to-rename-{number}"
            assert world.registry.admin.create(name, private=target.endswith("private")).status_code == 200
        body = {"fromRepo": name, "toRepo": f"{target}-renamed-{number}", "type": "model"}
        if who != "public-pattern":  # a token for one name alone cannot give another one
            found[who, target] = verdict(caller.call("POST", "/api/repos/move", json=body))
    assert found == {(who, target): TOO_SMALL.get(who, CELLS[who, target, "admin"]) for who, target in found}


def for_this_one(world: World, repo_id: str) -> Caller:
    accounts = world.registry.app.state.services.accounts
    limits = TokenLimits(scope="admin", pattern=repo_id)
    return Caller(world.registry.client, accounts.issue_token("owner", "write", limits).secret)


@pytest.mark.parametrize("organisation", ["team", "other"])
def test_repository_is_made_by_whom_the_table_says(world: World, organisation: str) -> None:
    made = {
        who: verdict(caller.create(f"{organisation}/made-by-{who}-{organisation}"))
        for who, caller in world.callers.items()
    }
    assert made == {who: OTHERS[who][COLUMNS[f"{organisation} new"]] for who in made}


def test_namespace_is_founded_by_whom_the_table_says(world: World) -> None:
    made = {who: verdict(caller.create(f"of-{who}/first")) for who, caller in world.callers.items()}
    assert made == {who: OTHERS[who][COLUMNS["found new"]] for who in made}


@pytest.mark.parametrize("organisation", ["team", "other"])
@pytest.mark.parametrize("route", [r for r, n in POLICY.items() if n.resource == "organisation"])
def test_organisation_route_does_what_the_table_says(world: World, route: str, organisation: str) -> None:
    column = COLUMNS[f"{organisation} {POLICY[route].action}"]
    found = {who: send(world.registry, caller, route, organisation) for who, caller in world.callers.items()}
    assert found == {who: OTHERS[who][column] for who in found}


@pytest.mark.parametrize("route", [r for r, n in POLICY.items() if n.resource in {"account", "site", "registry"}])
def test_route_about_no_repository_does_what_the_table_says(world: World, route: str) -> None:
    need = POLICY[route]
    found = {who: send(world.registry, caller, route, "absent/absent") for who, caller in world.callers.items()}
    passed = {who: "ok" if answer in {"none", "hide", "anon"} else answer for who, answer in found.items()}
    expected = {who: OTHERS[who][COLUMNS[f"{need.resource} {need.action}"]] for who in found}
    assert passed == expected | dict.fromkeys(NOT_BY.get(route, ()), "deny")


@pytest.mark.parametrize("route", [r for r, n in POLICY.items() if n.resource == "public"])
def test_public_route_refuses_nobody(world: World, route: str) -> None:
    assert {send(world.registry, caller, route, "team/public") for caller in world.callers.values()} == {"ok"}


@pytest.mark.parametrize("route", [r for r, n in POLICY.items() if n.resource == "signed"])
def test_signed_route_lets_no_token_through_but_its_own(world: World, route: str) -> None:
    found = {send(world.registry, caller, route, "team/public", content=b"x") for caller in world.callers.values()}
    assert found <= {"deny", "bad"}


def test_route_without_a_declaration_does_not_start() -> None:
    router = APIRouter()
    router.add_api_route("/api/petapter/v1/forgotten", lambda: None, methods=["GET"])
    with pytest.raises(LookupError, match="GET /api/petapter/v1/forgotten declares no resource and action"):
        check_declared([router])


def test_route_that_may_change_something_with_the_right_to_read_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    route = f"POST {MODEL}/tag/{{revision}}"
    declared = replace(POLICY[route], action="read")
    monkeypatch.setattr("petapter_registry_server.api.route_policy.POLICY", {route: declared})
    router = APIRouter()
    router.add_api_route(route.removeprefix("POST "), lambda: None, methods=["POST"])
    with pytest.raises(LookupError, match="declares 'read'"):
        check_declared([router])


def test_caller_of_a_route_that_reads_cannot_write_whatever_the_route_calls(world: World) -> None:
    services = world.registry.app.state.services
    for who in ("owner", "site-admin"):
        caller = services.access.authenticate(f"Bearer {world.callers[who].token}", None).narrowed("read")
        with services.access._database.read() as session, pytest.raises(PermissionDeniedError):
            services.access.writable(session, caller, "team/public")


def test_route_that_changes_something_needs_the_role_of_the_table() -> None:
    found: dict[str, set[str]] = {}
    for route, need in POLICY.items():
        if need.action != "read":
            found.setdefault(f"{need.resource} {need.action}", set()).add(route)
    assert found == NEEDED


def test_questions_are_the_only_unsafe_routes_with_the_right_to_read() -> None:
    unsafe = {r for r, n in POLICY.items() if n.action == "read" and r.split()[0] not in {"GET", "HEAD"}}
    assert unsafe == QUESTIONS
    assert not [route for route in POLICY if NOT_OFFERED.fullmatch(route.partition(" ")[2])]
