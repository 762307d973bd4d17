"""The native API about single modules: detail, diff, lineage, compatibility, and its own description."""

import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from starlette.routing import Route

from petapter_registry_server.api import PARTS
from petapter_registry_server.api.route_policy import POLICY
from petapter_schemas.digests import sha256_bytes
from tests.registry_server.conftest import Caller, Registry
from tests.registry_server.evaluation_data import published_set
from tests.registry_server.module_bytes import module_files
from tests.registry_server.varied_modules import Figure, Varied

API = "/api/petapter/v1"
TICKETS = f"{API}/modules/team/tickets"
ZEROS = "0" * 64
BACKBONE = {"config_sha256": ZEROS, "tokenizer_sha256": ZEROS, "weights_sha256": ZEROS}


def publish(caller: Caller, varied: Varied, repo_id: str = "team/tickets") -> str:
    oid = caller.published(repo_id, varied.files())
    tagged = caller.call("POST", f"/api/models/{repo_id}/tag/main", json={"tag": f"v{varied.version}"})
    assert tagged.status_code == 200, tagged.text
    return oid


def test_detail_shows_versions_highest_first_with_yanks_and_channels(team: Caller) -> None:
    first = publish(team, Varied())
    publish(team, Varied(version="1.1.0", fill=0.1))
    team.call("PUT", f"{TICKETS}/channels/stable", json={"version": "1.0.0"})
    answer = team.call("PUT", f"{TICKETS}/versions/1.1.0/yank", json={"reason": "broken"}).json()
    assert answer == team.get(TICKETS).json()
    assert (answer["id"], answer["latest"], answer["shown"]["version"]) == ("team/tickets", "1.0.0", "1.0.0")
    states = [(v["version"], v["tag"], v["yanked"] and v["yanked"]["reason"]) for v in answer["versions"]]
    assert states == [("1.1.0", "v1.1.0", "broken"), ("1.0.0", "v1.0.0", None)]
    assert [(c["name"], c["version"]) for c in answer["channels"]] == [("latest", "1.0.0"), ("stable", "1.0.0")]
    assert answer["versions"][1]["commit"] == first
    assert answer["versions"][1]["digest"] == sha256_bytes(Varied().files()["petapter.json"])
    assert answer["versions"][1]["metrics"][0]["value"] == 0.9


def test_module_without_versions_is_shown_at_main(team: Caller) -> None:
    oid = team.published("team/tickets", module_files())
    answer = team.get(TICKETS).json()
    assert (answer["latest"], answer["versions"], answer["shown"]["commit"]) == (None, [], oid)
    assert answer["shown"]["revision"] == "main"


def test_main_is_not_searched_once_a_version_is_published(team: Caller) -> None:
    publish(team, Varied())
    team.published("team/tickets", Varied(version="1.1.0", labels=("new", "old")).files())
    assert team.get(f"{API}/modules", params={"label": "new"}).json()["modules"] == []
    assert len(team.get(f"{API}/modules", params={"label": "poor"}).json()["modules"]) == 1


def test_pre_release_is_searched_only_where_there_is_no_release(team: Caller) -> None:
    publish(team, Varied(version="1.0.0-rc.1"))
    assert team.get(TICKETS).json()["shown"]["version"] == "1.0.0-rc.1"
    publish(team, Varied(version="1.0.0", fill=0.1))
    publish(team, Varied(version="1.1.0-rc.1", fill=0.2))
    assert team.get(TICKETS).json()["shown"]["version"] == "1.0.0"


def test_diff_names_fields_files_and_figures_on_the_same_rows(team: Caller) -> None:
    publish(team, Varied(figures=(Figure("accuracy", 0.9), Figure("ece", 0.1))))
    other = Varied(version="1.1.0", labels=("good", "poor"), fill=0.1, figures=(Figure("accuracy", 0.95),))
    team.published("team/tickets", other.files() | {"notes.txt": b"x"})
    answer = team.get(f"{TICKETS}/diff", params={"from": "v1.0.0", "to": "main"}).json()
    assert [(f["path"], f["before"], f["after"]) for f in answer["fields"]] == [
        ("version", '"1.0.0"', '"1.1.0"'),
        ("task.labels.0.name", '"very good"', '"good"'),
    ]
    files = {f["path"]: (f["size_before"], f["size_after"]) for f in answer["files"]}
    assert files.keys() == {"petapter.json", "head.safetensors", "adapter_model.safetensors", "notes.txt"}
    assert files["notes.txt"] == (None, 1)
    figures = [(m["metric"], m["before"], m["after"]) for m in answer["metrics"]]
    assert figures == [("accuracy", 0.9, 0.95), ("ece", 0.1, None)]


def test_diff_of_a_revision_with_itself_is_empty(team: Caller) -> None:
    publish(team, Varied())
    answer = team.get(f"{TICKETS}/diff", params={"from": "v1.0.0", "to": "latest"}).json()
    assert (answer["fields"], answer["files"]) == ([], [])


def test_lineage_names_parent_and_children_that_the_caller_may_see(registry: Registry, team: Caller) -> None:
    publish(team, Varied())
    digest = sha256_bytes(Varied().files()["petapter.json"])
    for name, private in (("team/child", False), ("team/secret", True)):
        team.create(name, private=private)
        publish(team, Varied(version="2.0.0", parent=digest, fill=0.1 if private else 0.2), name)
    mine, theirs = (caller.get(f"{TICKETS}/lineage").json() for caller in (team, registry.anonymous))
    assert [child["id"] for child in mine["children"]] == ["team/secret", "team/child"]
    assert [child["id"] for child in theirs["children"]] == ["team/child"]
    child = team.get(f"{API}/modules/team/child/lineage").json()
    assert child["parent"] == {"digest": digest, "id": "team/tickets", "version": "1.0.0"}


def test_parent_that_is_not_here_is_its_digest_alone(team: Caller) -> None:
    publish(team, Varied(parent="d" * 64))
    assert team.get(f"{TICKETS}/lineage").json()["parent"] == {"digest": "d" * 64, "id": None, "version": None}


def ask(caller: Caller, backbone: dict[str, Any], *modules: str) -> Any:
    return caller.call("POST", f"{API}/compatibility", json={"backbone": backbone, "modules": modules})


def test_same_backbone_is_ok(team: Caller) -> None:
    oid = publish(team, Varied())
    (answer,) = ask(team, BACKBONE, "team/tickets").json()["modules"]
    expected = {"module": "team/tickets@v1.0.0", "commit": oid, "verdict": "ok", "reasons": []}
    assert answer == expected


@pytest.mark.parametrize("field", ["config_sha256", "tokenizer_sha256", "weights_sha256"])
def test_other_backbone_is_refused_with_what_was_expected_and_found(team: Caller, field: str) -> None:
    publish(team, Varied())
    (answer,) = ask(team, BACKBONE | {field: "1" * 64}, "team/tickets@latest").json()["modules"]
    assert answer["verdict"] == "refuse"
    (reason,) = answer["reasons"]
    assert (reason["field"], reason["expected"], reason["found"]) == (field, ZEROS, "1" * 64)


def test_unknown_weights_are_a_warning(team: Caller) -> None:
    publish(team, Varied())
    (answer,) = ask(team, {**BACKBONE, "weights_sha256": None}, "team/tickets").json()["modules"]
    assert (answer["verdict"], answer["reasons"][0]["field"]) == ("warn", "weights_sha256")


@pytest.mark.parametrize(("base", "verdict"), [("tiny/bert", "warn"), ("tiny/other", "refuse"), (None, "warn")])
def test_plain_adapter_is_compared_by_the_name_of_its_backbone(team: Caller, base: str | None, verdict: str) -> None:
    config = b'{"peft_type": "LORA", "base_model_name_or_path": "%s"}' % (base or "").encode()
    team.published("team/tickets", {"adapter_config.json": config})
    (answer,) = ask(team, {**BACKBONE, "repo": "Tiny/Bert"}, "team/tickets").json()["modules"]
    assert answer["verdict"] == verdict


def test_repository_without_a_module_is_refused(team: Caller) -> None:
    (answer,) = ask(team, BACKBONE, "team/tickets").json()["modules"]
    assert (answer["verdict"], answer["reasons"][0]["field"]) == ("refuse", "module")


@pytest.mark.parametrize(
    "body",
    [
        {"backbone": BACKBONE, "modules": []},
        {"backbone": BACKBONE, "modules": ["team/tickets"] * 101},
        {"backbone": BACKBONE, "modules": ["team"]},
        {"backbone": {"config_sha256": "x"}, "modules": ["team/tickets"]},
        {"backbone": BACKBONE, "modules": ["team/tickets"], "more": 1},
    ],
)
def test_question_that_breaks_the_form_is_a_problem(team: Caller, body: dict[str, Any]) -> None:
    answer = team.call("POST", f"{API}/compatibility", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


@pytest.mark.parametrize("config", [b"[]", b"{", b"{}", b'{"peft_type": 1}', b'{"a": 1, "a": 1}'])
def test_adapter_config_that_names_no_kind_is_refused(team: Caller, config: bytes) -> None:
    answer = team.commit("team/tickets", {"adapter_config.json": config})
    assert (answer.status_code, "adapter_config.json" in answer.json()["error"]) == (400, True)


def test_missing_module_is_a_problem_of_rfc_9457(registry: Registry) -> None:
    answer = registry.admin.get(f"{API}/modules/team/nothing")
    assert answer.json() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "Repository not found: team/nothing",
        "instance": f"{API}/modules/team/nothing",
    }
    assert answer.headers["content-type"] == "application/problem+json"


def test_private_module_reads_like_a_missing_one(registry: Registry, team: Caller) -> None:
    team.create("team/secret", private=True)
    publish(team, Varied(), "team/secret")
    stranger = registry.caller("eve")
    for path in ("", "/channels", "/lineage", "/diff?from=main&to=main"):
        hidden, missing = (stranger.get(f"{API}/modules/team/{name}{path}") for name in ("secret", "nothing"))
        assert hidden.status_code == 404
        assert hidden.text.replace("secret", "nothing") == missing.text
    asked = [ask(stranger, BACKBONE, f"team/{name}") for name in ("secret", "nothing")]
    assert [answer.status_code for answer in asked] == [404, 404]


@pytest.mark.parametrize(("method", "path"), [("GET", "/nothing"), ("PATCH", "/modules"), ("POST", "/modules")])
def test_unknown_route_is_a_problem(registry: Registry, method: str, path: str) -> None:
    answer = registry.admin.call(method, f"{API}{path}")
    assert answer.status_code in {404, 405}
    assert answer.headers["content-type"] == "application/problem+json"


def test_hub_routes_keep_their_errors(registry: Registry) -> None:
    answer = registry.admin.get("/api/models/team/nothing")
    assert (answer.headers["content-type"], answer.json()) == (
        "application/json", {"error": "Repository not found: team/nothing"},
    )  # fmt: skip


def test_description_names_every_native_route_of_the_application(registry: Registry) -> None:
    described = registry.anonymous.get(f"{API}/openapi.json").json()
    operations = {f"{method.upper()} {path}" for path, item in described["paths"].items() for method in item}
    assert operations == {need for need in POLICY if f" {API}/" in need}  # the start checks this table
    mounted = {
        f"{method} {route.path}" for part in PARTS for route in part.router.routes
        if isinstance(route, Route) and route.path.startswith(API) for method in route.methods or ()
    }  # fmt: skip
    assert operations == mounted


def test_every_described_operation_says_what_it_does_and_what_it_is_sent(registry: Registry) -> None:
    described = registry.anonymous.get(f"{API}/openapi.json").json()
    for path, item in described["paths"].items():
        for method, operation in item.items():
            where = f"{method} {path}"
            assert operation["description"], where
            assert operation["tags"], where
            bodiless = method in {"get", "delete"} or path.endswith(("/approve", "/deny", "/ping"))
            assert ("requestBody" in operation) is not bodiless, where
            answers = [code for code in operation["responses"] if code.startswith("2")]
            assert answers, where


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/modules", 200),
        ("/modules?limit=x", 400),
        ("/modules/team/nothing", 401),
        ("/nothing", 404),
        ("/tokens", 401),
        ("/organisations", 401),
        ("/worker-keys", 200),
        ("/openapi.json", 200),
        ("/feeds/ada", 404),
    ],
)
def test_every_native_answer_bears_the_mark(registry: Registry, path: str, status: int) -> None:
    answer = registry.anonymous.get(f"{API}{path}")
    assert (answer.status_code, answer.headers.get_list("X-Petapter-Api")) == (status, ["1"])


def test_bad_method_and_a_bug_bear_the_mark_too_and_hub_routes_do_not(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(registry.app.state.services.module_search, "search", broken)
    for method, status in (("PATCH", 405), ("GET", 500)):
        answer = registry.admin.call(method, f"{API}/modules")
        assert (answer.status_code, answer.headers.get_list("X-Petapter-Api")) == (status, ["1"])
    assert "X-Petapter-Api" not in registry.admin.get("/api/models").headers


def test_description_refers_to_nothing_that_it_lacks(registry: Registry) -> None:
    text = registry.anonymous.get(f"{API}/openapi.json").text
    schemas = registry.anonymous.get(f"{API}/openapi.json").json()["components"]["schemas"]
    assert set(re.findall(r'"#/components/schemas/([^"]+)"', text)) <= set(schemas)
    assert "CompatibilityQuestion" in schemas


def test_answers_fit_their_description(team: Caller) -> None:
    publish(team, Varied())
    published_set(team, "team")
    described = team.get(f"{API}/openapi.json").json()
    for path, url in (
        ("/modules", f"{API}/modules?facet=label"),
        ("/modules/{namespace}/{name}", TICKETS),
        ("/modules/{namespace}/{name}/channels", f"{TICKETS}/channels"),
        ("/modules/{namespace}/{name}/lineage", f"{TICKETS}/lineage"),
        ("/evalsets", f"{API}/evalsets"),
        ("/evalsets/{namespace}/{name}", f"{API}/evalsets/team/tickets-2024"),
        ("/evalsets/{namespace}/{name}/versions/{version}", f"{API}/evalsets/team/tickets-2024/versions/1.0.0"),
        ("/evalsets/{namespace}/{name}/leaderboard", f"{API}/evalsets/team/tickets-2024/leaderboard"),
        ("/modules/{namespace}/{name}/diff", f"{TICKETS}/diff?from=main&to=latest"),
        ("/modules/{namespace}/{name}/grants", f"{TICKETS}/grants"),
        ("/organisations", f"{API}/organisations"),
        ("/organisations/{organisation}/members", f"{API}/organisations/team/members"),
        ("/tokens", f"{API}/tokens"),
    ):
        answer = described["paths"][f"{API}{path}"]["get"]["responses"]["200"]["content"]["application/json"]
        schema = {**answer["schema"], "components": described["components"]}
        Draft202012Validator(schema).validate(team.get(url).json())
