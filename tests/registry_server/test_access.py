import re
import zlib

import pytest

from petapter_registry_server.errors import InvalidRequestError
from petapter_registry_server.settings import Settings
from petapter_schemas.errors import InvalidNameError
from tests.registry_server.conftest import Caller, Registry, open_registry

BAD_TOKEN = "Invalid credentials in Authorization header"


def test_whoami_names_the_user_the_teams_and_the_token(team: Caller) -> None:
    answer = team.get("/api/whoami-v2").json()
    assert (answer["name"], [org["name"] for org in answer["orgs"]]) == ("ada", ["team"])
    assert answer["auth"]["accessToken"]["role"] == "write"


def test_whoami_without_a_token_is_401(registry: Registry) -> None:
    assert registry.anonymous.get("/api/whoami-v2").status_code == 401


@pytest.mark.parametrize("header", ["Bearer hf_someOtherHubsToken", "Bearer ", "Basic YTpi", "nonsense"])
def test_wrong_token_is_401_with_the_words_that_clients_match(registry: Registry, header: str) -> None:
    for path in ("/api/whoami-v2", "/api/models", "/team/x/resolve/main/a.txt"):
        answer = registry.client.get(path, headers={"authorization": header})
        assert (answer.status_code, answer.headers["X-Error-Message"]) == (401, BAD_TOKEN)
        assert answer.json() == {"error": BAD_TOKEN}


def test_token_is_stored_only_as_its_hash(registry: Registry) -> None:
    secret = registry.caller("ada").token
    registry.app.state.services.accounts.list_tokens()
    files = [path for path in registry.data.rglob("*") if path.is_file()]
    assert secret
    assert not [path for path in files if secret.encode() in path.read_bytes()]
    assert not [path for path in files if registry.admin_token.encode() in path.read_bytes()]


def test_token_has_256_random_bits_and_a_checksum(registry: Registry) -> None:
    match = re.fullmatch(r"ppt_([A-Za-z0-9_-]{43})([0-9a-f]{8})", registry.admin_token)
    assert match
    assert int(match[2], 16) == zlib.crc32(match[1].encode())


def test_revoked_token_is_worthless_at_once(registry: Registry) -> None:
    caller = registry.caller("ada")
    accounts = registry.app.state.services.accounts
    accounts.revoke_token(accounts.list_tokens()[-1].id)
    assert caller.get("/api/whoami-v2").headers["X-Error-Message"] == BAD_TOKEN


def test_second_user_cannot_take_a_name_that_looks_like_the_firsts(registry: Registry) -> None:
    registry.caller("bill")
    with pytest.raises(InvalidRequestError, match="looks like"):
        registry.caller("bi11")


def test_user_name_must_be_a_namespace(registry: Registry) -> None:
    with pytest.raises(InvalidNameError):
        registry.caller("api")


def test_private_repository_is_not_leaked(registry: Registry) -> None:
    registry.caller("ada").create("team/secret", private=True)
    stranger = registry.caller("eve")
    for path in ("/api/models/team/{}", "/team/{}/resolve/main/.gitattributes", "/api/models/team/{}/refs"):
        for caller, status in ((stranger, 404), (registry.anonymous, 401)):
            hidden, missing = caller.get(path.format("secret")), caller.get(path.format("nothing"))
            assert (hidden.status_code, hidden.headers["X-Error-Code"]) == (status, "RepoNotFound")
            assert hidden.text.replace("secret", "nothing") == missing.text
    assert stranger.get("/api/models").json() == []
    assert stranger.commit("team/secret", {"a.txt": b"1"}).status_code == 404


def test_private_repository_is_open_to_its_namespace_and_to_admins(registry: Registry) -> None:
    owner = registry.caller("ada")
    owner.create("team/secret", private=True)
    for caller in (owner, registry.caller("ada", "read"), registry.admin):
        assert caller.get("/api/models/team/secret").json()["private"] is True
        assert [model["id"] for model in caller.get("/api/models").json()] == ["team/secret"]


def test_visibility_can_be_changed(registry: Registry, team: Caller) -> None:
    assert team.call("PUT", "/api/models/team/tickets/settings", json={"visibility": "private"}).status_code == 200
    assert registry.anonymous.get("/api/models/team/tickets").status_code == 401
    assert team.call("PUT", "/api/models/team/tickets/settings", json={"private": False}).status_code == 200
    assert registry.anonymous.get("/api/models/team/tickets").status_code == 200


def test_read_only_token_cannot_write(registry: Registry, team: Caller) -> None:
    reader = registry.caller("ada", "read")
    answers = [
        reader.commit("team/tickets", {"a.txt": b"1"}),
        reader.create("team/other"),
        reader.delete("team/tickets"),
        reader.call("POST", "/api/models/team/tickets/tag/main", json={"tag": "v1"}),
        reader.get("/api/models/team/tickets/auth-check/write"),
    ]
    assert [answer.status_code for answer in answers] == [403] * 5
    assert "may only read" in answers[0].headers["X-Error-Message"]
    assert reader.get("/api/models/team/tickets/auth-check").status_code == 200


def test_strangers_token_cannot_write(registry: Registry, team: Caller) -> None:
    stranger = registry.caller("eve")
    assert stranger.commit("team/tickets", {"a.txt": b"1"}).status_code == 403
    assert stranger.create("team/other").status_code == 403
    assert stranger.create("ada/other").status_code == 403
    assert stranger.delete("team/tickets").status_code == 403


def test_anonymous_caller_cannot_write(registry: Registry, team: Caller) -> None:
    answer = registry.anonymous.commit("team/tickets", {"a.txt": b"1"})
    assert answer.status_code == 401
    assert "X-Error-Code" not in answer.headers
    assert registry.anonymous.create("team/other").status_code == 401


def test_admin_may_write_everywhere(registry: Registry, team: Caller) -> None:
    registry.admin.published("team/tickets", {"a.txt": b"1"})


def test_registry_on_a_public_address_hides_everything_from_anonymous_callers(tmp_path: object) -> None:
    opened = open_registry(Settings(data=tmp_path / "data", host="0.0.0.0"))  # noqa: S104 (never listened on)
    with opened.client:
        opened.admin.create("team/tickets")
        assert opened.anonymous.get("/api/models/team/tickets").headers["X-Error-Code"] == "RepoNotFound"
        assert opened.anonymous.get("/api/models").json() == []
        assert opened.caller("eve", "read").get("/api/models/team/tickets").status_code == 200
