"""Modules over HTTP: what is told of them, and how they come from a real registry and go while others are asked."""

from pathlib import Path

import pytest

from petapter_hub_client.exit_codes import ExitCode
from petapter_hub_client.fetching import pull
from petapter_hub_client.serving.metrics import Metrics
from petapter_hub_client.serving.opening import Wanted, open_wanted
from petapter_hub_client.serving.options import ServeOptions
from petapter_hub_client.serving.service import Service
from tests.hub_client.conftest import Petapter, Registry
from tests.hub_client.serving.conftest import ADMIN, AS_ADMIN, App, StartApp

GOOD = {"module": "reviews", "text": "great food"}


@pytest.fixture
def on_lab(lab: Petapter, served_modules: dict[str, Path], repo_id: str) -> str:
    """A reference to `moods` on the registry."""
    assert lab("push", served_modules["moods"], repo_id).code == 0
    return f"lab:{repo_id}"


@pytest.fixture
def app(start_app: StartApp) -> App:
    return start_app(admin=ADMIN, check=True)


def test_loaded_modules_are_listed_with_their_facts(app: App) -> None:
    found = app.ask("GET", "/v1/modules").json()["modules"]
    assert [module["alias"] for module in found] == ["reviews", "moods"]
    assert found[0] | {"digest": ""} == {
        "alias": "reviews",
        "name": "reviews",
        "version": "0.1.0",
        "description": "",
        "languages": [],
        "type": "single-label",
        "fields": ["text"],
        "labels": ["good", "bad"],
        "patterns": ["{text} it was {mask} ."],
        "backbone": "tiny-bert",
        "adapter": "lora",
        "digest": "",
        "reference": None,
        "commit": None,
        "resident": True,
    }
    assert app.ask("GET", "/v1/modules/moods").json() == found[1]


def test_modules_without_room_on_the_device_are_listed_so(start_app: StartApp) -> None:
    found = start_app(module_bytes=1).ask("GET", "/v1/modules").json()["modules"]
    assert [module["resident"] for module in found] == [False, True]


def test_graphs_are_asked_for_and_change_nothing_without_a_gpu(start_app: StartApp) -> None:
    app = start_app(cuda_graphs=True)
    said = [app.predict({"module": "moods", "text": "good"}).json() for _ in range(3)]
    assert said[0] == said[1] == said[2]
    assert said[0]["answers"][0]["label"]


def test_a_module_comes_from_a_registry_answers_and_goes(app: App, on_lab: str) -> None:
    loaded = app.ask("PUT", "/v1/modules/fresh", json={"module": on_lab}, headers=AS_ADMIN)
    assert loaded.status_code == 201
    pulled = pull(on_lab)
    assert loaded.json()["reference"] == f"{on_lab}@v0.1.0"
    assert (loaded.json()["commit"], loaded.json()["digest"]) == (pulled.commit, pulled.digest)
    fresh, known = app.predict({"module": "fresh", "text": "great"}, {"module": "moods", "text": "great"}).json()[
        "answers"
    ]
    assert fresh["digest"] == pulled.digest
    assert fresh["probabilities"] == pytest.approx(known["probabilities"], abs=1e-6)
    assert app.ask("DELETE", "/v1/modules/fresh", headers=AS_ADMIN).status_code == 204
    assert app.predict({"module": "fresh", "text": "great"}).status_code == 404
    assert app.predict(GOOD).status_code == 200


def test_a_module_takes_the_place_of_another(app: App, on_lab: str) -> None:
    before = app.predict(GOOD).json()["answers"][0]["digest"]
    changed = app.ask("PUT", "/v1/modules/reviews", json={"module": on_lab, "patterns": [1]}, headers=AS_ADMIN)
    assert changed.status_code == 200
    assert changed.json()["patterns"] == ["it was {mask} . {text}"]
    after = app.predict(GOOD).json()["answers"][0]["digest"]
    assert (before != after, after) == (True, changed.json()["digest"])
    assert len(app.ask("GET", "/v1/modules").json()["modules"]) == 2


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"module": "/etc/passwd"}, 422, "namespace"),
        ({"module": "./reviews"}, 422, "namespace"),
        ({"module": "nowhere:team/x"}, 422, "'nowhere'"),
        ({"module": "lab:team/not-there"}, 404, "not-there"),
        ({"module": 5}, 422, "module"),
        ({}, 422, "module"),
        ({"module": "lab:team/x", "patterns": []}, 422, "patterns"),
        ({"module": "lab:team/x", "patterns": [-1]}, 422, "patterns"),
        ({"module": "lab:team/x", "path": "/etc"}, 422, "?"),
    ],
)
def test_what_cannot_be_loaded_leaves_the_old_module(
    app: App, lab: Petapter, body: object, status: int, words: str
) -> None:
    before = app.predict(GOOD).json()
    answer = app.ask("PUT", "/v1/modules/reviews", json=body, headers=AS_ADMIN)
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]
    assert app.predict(GOOD).json() == before


def test_a_pattern_that_is_not_there_leaves_the_old_module(app: App, on_lab: str) -> None:
    before = app.predict(GOOD).json()
    answer = app.ask("PUT", "/v1/modules/reviews", json={"module": on_lab, "patterns": [2]}, headers=AS_ADMIN)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "bad_request")
    assert app.predict(GOOD).json() == before


def test_a_module_of_another_backbone_leaves_the_old_one(
    app: App, lab: Petapter, repo_id: str, tmp_path: Path, data: Path
) -> None:
    from tests.hub_client.tiny_reviews import TASK, save_backbone

    other = save_backbone(tmp_path / "other")
    trained = lab(
        "train", data, "--out", tmp_path / "stranger", *TASK, "--backbone", other, "--preset", "plain", "--steps", "2"
    )
    assert trained.code == 0, trained
    assert lab("push", tmp_path / "stranger", repo_id).code == 0
    before = app.predict(GOOD).json()
    answer = app.ask("PUT", "/v1/modules/reviews", json={"module": f"lab:{repo_id}"}, headers=AS_ADMIN)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "other_backbone")
    assert app.predict(GOOD).json() == before


def test_a_pull_that_finds_nobody_leaves_the_old_module(app: App, petapter: Petapter, registry: Registry) -> None:
    assert petapter("remote", "add", "gone", "http://127.0.0.1:9").code == 0
    answer = app.ask("PUT", "/v1/modules/reviews", json={"module": "gone:team/x"}, headers=AS_ADMIN)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "remote")
    assert app.predict(GOOD).status_code == 200


def test_a_module_that_the_policy_does_not_accept_leaves_the_old_one(app: App, lab: Petapter, on_lab: str) -> None:
    before = app.predict(GOOD).json()["answers"][0]["digest"]
    assert lab("remote", "policy", "lab", "--require-signature").code == 0
    refused = app.ask("PUT", "/v1/modules/reviews", json={"module": on_lab}, headers=AS_ADMIN)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "refused_module")
    assert "by the policy of remote 'lab': it has no signature" in refused.json()["error"]["message"]
    assert app.predict(GOOD).json()["answers"][0]["digest"] == before
    assert lab("keys", "new", "ada").code == 0
    assert lab("sign", on_lab, "--key", "ada").code == 0
    assert app.ask("PUT", "/v1/modules/reviews", json={"module": on_lab}, headers=AS_ADMIN).status_code == 200
    assert lab("keys", "revoke", "ada", "--reason", "lost").code == 0
    revoked = app.ask("PUT", "/v1/modules/again", json={"module": on_lab}, headers=AS_ADMIN)
    assert (revoked.status_code, "revoked" in revoked.json()["error"]["message"]) == (422, True)
    assert app.predict({"module": "again", "text": "great"}).status_code == 404


def test_serving_does_not_start_with_what_the_policy_does_not_accept(
    lab: Petapter, on_lab: str, served_modules: dict[str, Path]
) -> None:
    assert lab("pull", on_lab).code == 0
    assert lab("remote", "policy", "lab", "--require-signature").code == 0
    ran = lab("serve", "--module", on_lab, "--backbone", served_modules["tiny-bert"], "--port", "0")
    assert ran.code == ExitCode.UNFIT_MODULE
    assert "by the policy of remote 'lab'" in ran.error


def test_unloading_what_is_not_there_is_404(app: App) -> None:
    answer = app.ask("DELETE", "/v1/modules/nobody", headers=AS_ADMIN)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_module")
    assert app.ask("GET", "/v1/modules/nobody").status_code == 404


@pytest.mark.parametrize("alias", ["a b", "ä", "-x", "x" * 97])
def test_an_alias_that_breaks_the_rules_is_refused(app: App, alias: str) -> None:
    answer = app.ask("PUT", f"/v1/modules/{alias}", json={"module": "lab:team/x"}, headers=AS_ADMIN)
    assert answer.status_code == 422


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_changes_need_the_admin_token(start_app: StartApp, method: str) -> None:
    app = start_app(admin=ADMIN, predict="p" * 16)
    body = {"module": "lab:team/x"} if method == "PUT" else None
    for headers in ({}, {"Authorization": "Bearer " + "p" * 16}, {"Authorization": f"Bearer {ADMIN}x"}):
        answer = app.ask(method, "/v1/modules/reviews", json=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "token")
    assert len(app.ask("GET", "/v1/modules", headers=AS_ADMIN).json()["modules"]) == 2


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_without_an_admin_token_changes_are_off(start_app: StartApp, method: str) -> None:
    answer = start_app().ask(method, "/v1/modules/reviews", json={"module": "lab:team/x"}, headers=AS_ADMIN)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "admin_off")
    assert "--admin-token-file" in answer.json()["error"]["message"]


def test_an_ensemble_is_served_as_one_module(
    served_modules: dict[str, Path], tmp_path: Path, petapter: Petapter, start_app: StartApp
) -> None:
    members = (served_modules["reviews"], served_modules["moods"])
    unseen = tmp_path / "unseen.csv"
    unseen.write_text("text,label\nlove this food,good\nhate this food,bad\n")
    how = ("--method", "ensemble", "--rows", unseen, "--backbone", served_modules["tiny-bert"])
    made = petapter("merge", *members, *how, "--out", tmp_path / "both")
    assert made.code == 0, made
    app = start_app(modules=(tmp_path / "both", *members))
    answers = app.predict(*(GOOD | {"module": alias} for alias in ("both", "reviews", "moods"))).json()["answers"]
    both, *parts = (answer["probabilities"]["good"] for answer in answers)
    assert both == pytest.approx(sum(parts) / 2, abs=1e-5)
    assert app.ask("GET", "/v1/modules/both").json()["digest"] == answers[0]["digest"]


def test_members_that_a_stack_lists_are_served_as_one_module(
    served_modules: dict[str, Path], tmp_path: Path, petapter: Petapter
) -> None:
    listed = "".join(
        f"      - {{module: {served_modules[alias]}, weight: {weight}}}\n"
        for alias, weight in (("reviews", 1), ("moods", 3))
    )
    stack = tmp_path / "stack.yaml"
    stack.write_text(
        f"backbone: {served_modules['tiny-bert']}\nmodules:\n  panel:\n    members:\n{listed}"
        f"  reviews: {served_modules['reviews']}\n  moods: {served_modules['moods']}\n"
    )
    assert petapter("stack", "lock", stack).code == 0
    app = App(Service(ServeOptions(), metrics := Metrics()), metrics)
    try:
        app.service.start(lambda: open_wanted(Wanted(stack=stack)))
        answers = app.predict(*(GOOD | {"module": alias} for alias in ("panel", "reviews", "moods"))).json()["answers"]
        panel, one, other = (answer["probabilities"]["good"] for answer in answers)
        assert panel == pytest.approx(one / 4 + 3 * other / 4, abs=1e-5)
        assert app.ask("GET", "/v1/modules/panel").json()["digest"] == answers[0]["digest"]
    finally:
        app.service.close()
