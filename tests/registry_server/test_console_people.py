"""The console commands for users and organisations, in process."""

import pytest
from typer.testing import CliRunner

from petapter_registry_server.cli import app, main
from tests.registry_server.conftest import Caller, Registry, member_of_team


def console(registry: Registry, *words: str) -> list[str]:
    done = CliRunner().invoke(app, [*words, *registry.place], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


def test_users_are_made_listed_disabled_and_enabled(registry: Registry) -> None:
    console(registry, "user", "create", "ada")
    console(registry, "user", "disable", "ada")
    assert console(registry, "user", "list")[0].split("\t")[::2] == ["admin", "enabled"]
    assert console(registry, "user", "list")[1].split("\t")[2].startswith("disabled ")
    console(registry, "user", "enable", "ada")
    assert console(registry, "user", "list")[1].endswith("enabled")


def test_identities_are_linked_listed_and_unlinked(registry: Registry) -> None:
    console(registry, "user", "create", "ada")
    console(registry, "user", "create", "grace")
    who = ["--issuer", "https://login.example", "--subject", "248289"]
    assert console(registry, "user", "link", "ada", *who) == ["248289 of https://login.example signs in as ada"]
    (line,) = console(registry, "user", "identities")
    assert line.split("\t")[:3] + line.split("\t")[4:] == ["ada", "https://login.example", "248289", "never used"]
    for words, said in (
        (["link", "grace", *who], "signs in as another user already"),
        (["unlink", "grace", *who], "grace has no such identity"),
        (["link", "nobody", *who], "there is no user 'nobody'"),
        (["link", "ada", "--issuer", "login.example", "--subject", "x"], "is no issuer"),
        (["link", "ada", "--issuer", "https://login.example", "--subject", "ü"], "is no subject"),
    ):
        done = CliRunner().invoke(app, ["user", *words, *registry.place])
        assert (done.exit_code, said in str(done.exception)) == (1, True)
    console(registry, "user", "unlink", "ada", *who)
    assert console(registry, "user", "identities") == []
    rows = registry.admin.get("/api/petapter/v1/audit").json()
    assert [row["action"] for row in rows[-2:]] == ["identity.link", "identity.unlink"]


def test_members_are_added_listed_and_removed(registry: Registry) -> None:
    for user in ("ada", "grace"):
        console(registry, "user", "create", user)
    console(registry, "org", "create", "team", "--admin", "ada")
    console(registry, "org", "member", "add", "team", "grace", "--role", "maintain")
    listed = ["ada\tadmin\tenabled", "grace\tmaintain\tenabled"]
    assert console(registry, "org", "list") == ["team"]
    assert console(registry, "org", "member", "list", "team") == listed
    console(registry, "org", "member", "remove", "team", "grace")
    assert console(registry, "org", "member", "list", "team") == listed[:1]


def test_fine_grained_token_is_made_and_listed(registry: Registry) -> None:
    made = console(registry, "token", "create", "--user", "ada", "--scope", "write", "--pattern", "ada/*")
    assert Caller(registry.client, made[0]).create("ada/mine").status_code == 200
    (line,) = [line for line in console(registry, "token", "list") if "\tada\t" in line]
    assert line.split("\t")[2] == "write ada/*"
    assert line.split("\t")[4].startswith("valid, used ")


def test_webhooks_are_listed_and_removed(registry: Registry) -> None:
    team = member_of_team(registry)
    wish = {"for": "team/*", "url": "https://8.8.8.8/hook", "events": ["publish"]}
    assert team.call("POST", "/api/petapter/v1/webhooks", json=wish).status_code == 200
    team.call("POST", "/api/petapter/v1/webhooks/1/ping")
    assert console(registry, "webhook", "list") == ["1\tteam/*\thttps://8.8.8.8/hook\tpublish\tready"]
    (line,) = console(registry, "webhook", "deliveries", "1")
    assert line.split("\t")[1:2] + line.split("\t")[3:] == ["ping", "waiting", "0", ""]
    assert console(registry, "webhook", "remove", "1") == ["removed webhook 1"]
    assert console(registry, "webhook", "list") == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["user", "create", "api"], "is reserved"),
        (["user", "disable", "nobody"], "no user 'nobody'"),
        (["org", "create", "team", "--admin", "nobody"], "no user 'nobody'"),
        (["org", "member", "add", "nowhere", "admin"], "no organisation 'nowhere'"),
        (["org", "member", "add", "admin", "admin"], "no organisation 'admin'"),
        (["token", "create", "--user", "ada", "--pattern", "ada/*"], "needs a scope"),
        (["token", "create", "--user", "ada", "--role", "admin", "--scope", "read"], "leave the role out"),
        (["audit", "verify", "--contains", "x"], "no end of an audit"),
        (["webhook", "remove", "7"], "there is no webhook 7"),
        (["webhook", "deliveries", "7"], "there is no webhook 7"),
    ],
)
def test_bad_input_is_one_line(
    registry: Registry,
    words: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["petapter-registry", *words, *registry.place])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert (ended.value.code, said.count("\n"), message in said) == (1, 1, True), said
