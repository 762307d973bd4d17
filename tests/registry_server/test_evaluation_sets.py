"""Evaluation sets at the wire: published once and checked, found, given, hidden, and their rows taken back."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from petapter_registry_server.services.accounts import TokenLimits
from petapter_registry_server.settings import Settings
from petapter_schemas.digests import sha256_bytes
from petapter_schemas.evaluation_rows import rows_bytes
from petapter_schemas.evaluation_set import parse_evaluation_set
from tests.registry_server.conftest import Caller, Registry, member_of_team, running
from tests.registry_server.evaluation_data import NATIVE, ROWS, body_of, published_set, send_set, spec_of

SET = f"{NATIVE}/team/tickets-2024"
FILE = rows_bytes(ROWS)


def refused(answer: Any, status: int) -> str:
    """The one line of a problem document."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    detail: str = answer.json()["detail"]
    assert "\n" not in detail
    return detail


def audited(registry: Registry) -> list[tuple[Any, ...]]:
    rows = registry.rows("SELECT actor, action, subject, detail FROM audit ORDER BY id")
    return [row for row in rows if row[1].startswith("evalset.")]


def test_a_set_is_published_shown_and_given(registry: Registry, team: Caller) -> None:
    spec = spec_of()
    answer = send_set(team, "team", spec, ROWS)
    assert answer.status_code == 200, answer.text
    facts = answer.json()
    assert (facts["id"], facts["version"], facts["by"]) == ("team/tickets-2024", "1.0.0", "ada")
    assert (facts["digest"], facts["rows_sha256"], facts["rows_bytes"]) == (spec.digest, spec.rows_sha256, len(FILE))
    anonymous = registry.anonymous
    assert anonymous.get(SET).json()["versions"] == [facts]
    document = anonymous.get(f"{SET}/versions/1.0.0")
    assert parse_evaluation_set(document.content) == spec
    rows = anonymous.get(f"{SET}/versions/1.0.0/rows")
    assert rows.content == FILE
    assert rows.headers["content-disposition"].startswith("attachment")
    assert rows.headers["x-content-type-options"] == "nosniff"
    assert [each["id"] for each in anonymous.get(NATIVE).json()["sets"]] == ["team/tickets-2024"]
    assert audited(registry) == [("ada", "evalset.publish", "team/tickets-2024", f"1.0.0 {spec.rows_sha256}")]
    assert registry.files_in_scratch() == []


def test_a_set_without_rows_has_its_digest_alone_and_gets_them_later(registry: Registry, team: Caller) -> None:
    spec = spec_of()
    assert send_set(team, "team", spec).json()["rows_bytes"] is None
    assert "the rows of team/tickets-2024 1.0.0 were not given" in refused(team.get(f"{SET}/versions/1.0.0/rows"), 404)
    assert send_set(team, "team", spec, ROWS).json()["rows_bytes"] == len(FILE)
    assert team.get(f"{SET}/versions/1.0.0/rows").content == FILE
    assert [row[1] for row in audited(registry)] == ["evalset.publish", "evalset.add-rows"]


def test_a_set_that_is_sent_again_changes_nothing(registry: Registry, team: Caller) -> None:
    published_set(team, "team")
    before = registry.rows("SELECT count(*) FROM audit")
    published_set(team, "team")
    assert registry.rows("SELECT count(*) FROM audit") == before
    assert send_set(team, "team", spec_of()).json()["rows_bytes"] == len(FILE)  # without rows they stay


def test_a_published_version_never_changes(team: Caller) -> None:
    published_set(team, "team")
    said = refused(send_set(team, "team", spec_of(description="better"), ROWS), 409)
    assert said == (
        "team/tickets-2024 1.0.0 is published with other content, and never changes: choose another version"
    )


def test_versions_go_upwards_and_the_highest_is_shown(team: Caller) -> None:
    published_set(team, "team", version="1.1.0")
    fewer = ROWS[:6]
    assert "version 1.0.0 is not higher than 1.1.0" in refused(send_set(team, "team", spec_of(), ROWS), 400)
    published_set(team, "team", fewer, version="2.0.0", description="Without the last two")
    published_set(team, "team", version="1.1.1")
    assert [each["version"] for each in team.get(SET).json()["versions"]] == ["2.0.0", "1.1.1", "1.1.0"]
    (found,) = team.get(f"{NATIVE}?text=last+two").json()["sets"]
    assert (found["facts"]["version"], found["facts"]["n"]) == ("2.0.0", 6)


BROKEN = {
    "nothing": (b"", "the first line must be evaluation-set.json"),
    "no line": (b"{}", "the first line must be evaluation-set.json"),
    "no document": (b"[]\n", "evaluation-set.json is no evaluation set: it has no schema_version"),
    "two keys": (b'{"n": 1, "n": 2}\n', "duplicate key 'n'"),
    "not UTF-8": (b"\xff\xfe\n", "no strict JSON"),
    "a long line": (b"{" + b" " * (300 << 10) + b"\n", "the first line must be"),
    "an archive": (b"PK\x03\x04" + b"\0" * 100 + b"\n", "no strict JSON"),
    "another version": (b'{"schema_version": 2}\n', "upgrade petapter"),
    "other rows": (body_of(spec_of(), ROWS[:7]), "rows.jsonl has 7 rows, and the evaluation set promises 8"),
    "changed rows": (
        body_of(spec_of(), (*ROWS[:7], {"text": "Slow and friendly.", "label": "very good"})),
        "rows.jsonl holds other rows than the evaluation set promises",
    ),
    "another label": (body_of(spec_of(), b'{"label":"meh","text":"x"}\n'), "the label 'meh', which is not in the"),
    "wrong counts": (
        body_of(spec_of(counts=(4, 4)), ROWS),
        "rows.jsonl has 5 rows with the label 'poor', the evaluation set promises 4",
    ),
    "no order": (body_of(spec_of(), FILE + FILE), "line 9 stands before its place"),
    "not canonical": (body_of(spec_of(), FILE.replace(b":", b": ")), "line 1 is not the row's canonical JSON"),
    "a pickle": (body_of(spec_of(), b"\x80\x04K\x01.\n"), "no strict JSON"),
    "a name with a path": (
        json.dumps(spec_of().model_dump(mode="json") | {"name": "../x"}).encode() + b"\n", "name: name '../x' is not",
    ),
    "a hidden character": (
        json.dumps(spec_of().model_dump(mode="json") | {"description": "a\u202eb"}).encode() + b"\n", "invisible",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, Caller]]:
    """For tests that are refused; nothing of them stays."""
    with running(Settings(data=tmp_path_factory.mktemp("sets") / "data")) as opened:
        yield opened, member_of_team(opened)


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_broken_is_refused_in_one_line_and_leaves_nothing(member: tuple[Registry, Caller], kind: str) -> None:
    registry, ada = member
    body, said = BROKEN[kind]
    assert said in refused(ada.call("POST", f"{NATIVE}/team", content=body), 400)
    assert ada.get(SET).status_code == 404
    assert audited(registry) == []
    assert registry.files_in_scratch() == []


def test_a_body_above_the_limit_is_refused(small_registry: Registry) -> None:
    ada = member_of_team(small_registry)
    long = [{"text": f"{number} {'x' * 90}", "label": ("poor", "very good")[number % 2]} for number in range(20)]
    assert "rows.jsonl has" in refused(send_set(ada, "team", spec_of(long), long), 413)
    many = [{"text": f"{number} {'x' * 90_000}", "label": "poor"} for number in range(4)]
    said = refused(send_set(ada, "team", spec_of([*many, *ROWS]), many), 413)
    assert said == "the rows of an evaluation set may have up to 1000 bytes here: leave them out"


@pytest.mark.parametrize(
    ("namespace", "status", "said"),
    [
        ("t%2Eam%2F..", 400, "namespace 't.am/..' is not allowed"),
        ("evalsets", 400, "namespace 'evalsets' is reserved"),
        ("t-eam", 400, "namespace 't-eam' looks like 'team'"),
        ("", 405, "is not a route"),
    ],
)
def test_a_bad_namespace_is_refused(member: tuple[Registry, Caller], namespace: str, status: int, said: str) -> None:
    answer = member[1].call("POST", f"{NATIVE}/{namespace}".rstrip("/"), content=body_of(spec_of(), ROWS))
    assert said in refused(answer, status)


def test_names_that_look_alike_or_are_written_otherwise_are_refused(team: Caller) -> None:
    published_set(team, "team")
    said = refused(send_set(team, "team", spec_of(name="t1ckets.2024"), ROWS), 400)
    assert said == "'team/t1ckets.2024' looks like 'team/tickets-2024', which exists: choose another name"
    said = refused(send_set(team, "team", spec_of(name="Tickets-2024", version="1.1.0"), ROWS), 400)
    assert said == "the evaluation set is called team/tickets-2024: write its name so"
    assert team.get(f"{NATIVE}/TEAM/Tickets-2024").json()["id"] == "team/tickets-2024"


def test_a_token_without_the_right_is_told_which_one_is_missing(registry: Registry, team: Caller) -> None:
    accounts = registry.app.state.services.accounts
    for limits, said in (
        (TokenLimits(scope="read"), "this token may only read"),
        (
            TokenLimits(scope="admin", pattern="team/tickets"),
            "this token is for team/tickets: use one that is for team/*",
        ),
        (TokenLimits(scope="admin", pattern="other/*"), "this token is for other/*"),
    ):
        limited = Caller(registry.client, accounts.issue_token("ada", "write", limits).secret)
        assert said in refused(send_set(limited, "team", spec_of(), ROWS), 403)
    assert "does not belong to 'team'" in refused(send_set(registry.caller("eve"), "team", spec_of(), ROWS), 403)
    assert "a token is needed" in refused(send_set(registry.anonymous, "team", spec_of(), ROWS), 401)


def test_who_publishes_in_a_namespace_that_nobody_has_founds_it(registry: Registry) -> None:
    ada = registry.caller("ada")
    published_set(ada, "founded")
    assert [row["name"] for row in ada.get("/api/petapter/v1/organisations").json()] == ["founded"]
    limits = TokenLimits(scope="admin", pattern="new/*")
    limited = Caller(registry.client, registry.app.state.services.accounts.issue_token("ada", "write", limits).secret)
    assert "this token may not found one" in refused(send_set(limited, "new", spec_of(), ROWS), 403)


def test_a_private_set_exists_for_its_namespace_alone(registry: Registry, team: Caller) -> None:
    assert send_set(team, "team", spec_of(), ROWS, private=True).status_code == 200
    eve = registry.caller("eve")
    for path in (SET, f"{SET}/versions/1.0.0", f"{SET}/versions/1.0.0/rows", f"{SET}/leaderboard"):
        assert "there is no evaluation set team/tickets-2024" in refused(eve.get(path), 404)
        assert eve.get(path).headers["x-error-code"] == "EvaluationSetNotFound"
        assert refused(registry.anonymous.get(path), 401)
        assert team.get(path).status_code == 200
    assert eve.get(NATIVE).json()["sets"] == []
    assert len(team.get(NATIVE).json()["sets"]) == len(registry.admin.get(NATIVE).json()["sets"]) == 1
    shown = team.call("PUT", f"{SET}/settings", json={"private": False})
    assert shown.json()["private"] is False
    assert eve.get(SET).status_code == 200
    assert audited(registry)[-1] == ("ada", "evalset.visibility", "team/tickets-2024", "public")


def test_rows_that_are_taken_back_are_collected_and_cannot_be_given_again(registry: Registry, team: Caller) -> None:
    spec = published_set(team, "team")
    assert sha256_bytes(FILE) in registry.stored_digests()
    answer = team.call("DELETE", f"{SET}/versions/1.0.0/rows")
    assert answer.json()["withdrawn"] is not None
    assert "were taken back" in refused(team.get(f"{SET}/versions/1.0.0/rows"), 404)
    assert team.get(SET).json()["versions"][0]["rows_sha256"] == spec.rows_sha256
    assert "were taken back: leave them out" in refused(send_set(team, "team", spec, ROWS), 400)
    assert send_set(team, "team", spec).status_code == 200
    team.call("DELETE", f"{SET}/versions/1.0.0/rows")  # again changes nothing
    assert [row[1] for row in audited(registry)] == ["evalset.publish", "evalset.withdraw-rows"]
    collect(registry)
    assert sha256_bytes(FILE) not in registry.stored_digests()


def collect(registry: Registry) -> None:
    """Two garbage collections without a grace."""
    garbage = registry.app.state.services.garbage
    kept, garbage._grace_ms = garbage._grace_ms, -1000
    garbage.run()
    garbage.run()
    garbage._grace_ms = kept


def test_rows_that_are_here_are_never_collected(registry: Registry, team: Caller) -> None:
    published_set(team, "team")
    collect(registry)
    assert team.get(f"{SET}/versions/1.0.0/rows").content == FILE


def test_damaged_rows_are_an_error_and_healed_by_sending_them_again(registry: Registry, team: Caller) -> None:
    published_set(team, "team")
    registry.damage(FILE, FILE + b"x")
    assert "rows.jsonl are damaged or missing" in refused(team.get(f"{SET}/versions/1.0.0/rows"), 500)
    published_set(team, "team")
    assert team.get(f"{SET}/versions/1.0.0/rows").content == FILE


def test_sets_are_found_by_words_namespace_and_rows_in_pages(registry: Registry, team: Caller) -> None:
    published_set(team, "team")
    published_set(team, "team", ROWS[:7], name="fewer", languages=("de",))
    other = registry.caller("grace")
    published_set(other, "lab", ROWS[1:], name="tickets")

    def ids(query: str) -> list[str]:
        return [each["id"] for each in registry.anonymous.get(f"{NATIVE}?{query}").json()["sets"]]

    assert ids("sort=name") == ["lab/tickets", "team/fewer", "team/tickets-2024"]
    assert ids("text=Tickets+VERY") == ["lab/tickets", "team/fewer", "team/tickets-2024"]
    assert ids("text=de") == ["team/fewer"]  # a language, and no part of "Helpdesk"
    assert ids("text=lab") == ["lab/tickets"]
    assert ids("namespace=LAB") == ["lab/tickets"]
    assert ids(f"rows={spec_of().rows_sha256[:12]}") == ["team/tickets-2024"]
    assert ids("text=nothing-like-it") == []
    seen, cursor = [], ""
    while cursor is not None:
        page = registry.anonymous.get(f"{NATIVE}?limit=1&sort=name{cursor and '&cursor=' + cursor}").json()
        seen += [each["id"] for each in page["sets"]]
        cursor = page["next"]
    assert seen == ids("sort=name")
    page = registry.anonymous.get(f"{NATIVE}?limit=2").json()
    assert [each["id"] for each in page["sets"]] == ["lab/tickets", "team/fewer"]
    assert ids(f"limit=2&cursor={page['next']}") == ["team/tickets-2024"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("txet=a", "parameter 'txet' is unknown"),
        ("text=%00", "a zero byte is no text"),
        ("text=%21", "there is no letter or digit to look for"),
        ("text=" + "+".join(f"w{number}" for number in range(11)), "at most 10 words"),
        ("rows=xyz", "give 8 to 64 digits"),
        ("sort=best", "sort"),
        ("limit=1000", "limit"),
        ("cursor=AAAA", "cursor: use the value of 'next'"),
        ("cursor=WyJuYW1lIiwgIlx1MDAwMCIsIDFd&sort=name", "cursor: use the value of 'next'"),
    ],
)
def test_a_bad_question_is_named(member: tuple[Registry, Caller], query: str, said: str) -> None:
    assert said in refused(member[0].anonymous.get(f"{NATIVE}?{query}"), 400)


@pytest.mark.parametrize("version", ["9.9.9", "%00", "1.0.0%2F..", "1.0", "v1.0.0"])
def test_a_version_that_is_none_is_not_found(registry: Registry, team: Caller, version: str) -> None:
    published_set(team, "team")
    for path in (f"{SET}/versions/{version}", f"{SET}/versions/{version}/rows", f"{SET}/leaderboard?version={version}"):
        assert refused(team.get(path), 404)


def test_rows_count_for_the_quota_of_bytes_and_sets_for_that_of_repositories(tmp_path: Path) -> None:
    with running(Settings(data=tmp_path / "data", quota_bytes=len(FILE) + 100, quota_repositories=2)) as registry:
        ada = member_of_team(registry)
        published_set(ada, "team")
        more = [*ROWS, {"text": "One more row with some more words.", "label": "poor"}]
        assert "'team' would hold" in refused(send_set(ada, "team", spec_of(more, version="2.0.0"), more), 403)
        published_set(ada, "team", version="1.0.1")  # the same rows cost nothing
        assert "the 2 repositories that it may" in refused(send_set(ada, "team", spec_of(name="third"), ROWS), 403)
        assert ada.create("team/third").status_code == 403


def test_sets_are_in_a_backup(registry: Registry, team: Caller, tmp_path: Path) -> None:
    from petapter_registry_server.services.backup import back_up

    published_set(team, "team")
    back_up(registry.app.state.database, registry.store, tmp_path / "backup")
    with running(Settings(data=tmp_path / "backup")) as restored:
        assert restored.anonymous.get(f"{SET}/versions/1.0.0/rows").content == FILE
