"""Texts that databases treat in different ways: their order, their case, and bytes that one of them does not store."""

import pytest

from tests.registry_server.conftest import Caller


def test_names_are_listed_by_their_bytes(team: Caller) -> None:
    names = ["a", "Z", "a-b", "a.b", "a/b", "aB", "B", "10", "9", "a_b", "ab"]
    for name in names:
        assert team.call("POST", f"/api/models/team/tickets/branch/{name.replace('/', '%2F')}").status_code == 200
    listed = [branch["name"] for branch in team.get("/api/models/team/tickets/refs").json()["branches"]]
    assert listed == sorted([*names, "main"])


def test_search_finds_letters_beyond_ascii_in_any_case(team: Caller) -> None:
    team.published("team/tickets", {"README.md": "---\ntags: [ÄPFEL-STRAßE, 100%_sure]\n---\n".encode()})
    for word in ("äpfel", "ÄPFEL", "strasse", "100%25_sure", "L-S"):
        assert len(team.get(f"/api/models?search={word}").json()) == 1, word
    for word in ("apfel", "100_sure", "100%25sure", "a%25l"):
        assert team.get(f"/api/models?search={word}").json() == [], word


@pytest.mark.parametrize(
    "path",
    [
        "/api/models/team/tickets/revision/a%00b",
        "/api/models/team/tickets/tree/a%00b",
        "/team/tickets/resolve/main/a%00b.txt",
        "/team/tickets/resolve/a%00b/a.txt",
        "/api/models/te%00am/tickets",
    ],
)
def test_name_with_a_zero_byte_is_not_found(team: Caller, path: str) -> None:
    assert team.get(path).status_code == 404


@pytest.mark.parametrize("name", ["author", "filter", "pipeline_tag", "search"])
def test_filter_with_a_zero_byte_is_400(team: Caller, name: str) -> None:
    answer = team.get(f"/api/models?{name}=a%00b")
    assert (answer.status_code, answer.json()["error"]) == (400, f"{name}: a zero byte is no text")


@pytest.mark.parametrize(
    ("files", "title"),
    [({"a.txt": b"1"}, "a\0b"), ({"README.md": b'---\ntags: ["a\\0b"]\n---\n'}, "Push")],
    ids=["title", "card"],
)
def test_commit_with_a_zero_byte_in_a_text_is_400(team: Caller, files: dict[str, bytes], title: str) -> None:
    assert team.commit("team/tickets", files, title=title).status_code == 400
    assert team.paths("team/tickets") == [".gitattributes"]


def test_cursor_beyond_all_rows_gives_an_empty_page(team: Caller) -> None:
    assert team.get("/api/models?cursor=MC45OTk5OTk5OTk=").json() == []  # "0.999999999"
