from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from petapter_registry_server.cli import app
from tests.registry_server.conftest import Backing, Caller, Registry, member_of_team, running

FIRST = len(b"*.safetensors binary\n*.png binary\n")
"""Bytes of the .gitattributes that every repository begins with; a namespace holds them once."""


@pytest.fixture
def registry(tmp_path: Path, backing: Backing) -> Iterator[Registry]:
    """Namespaces hold two repositories and 1,000 bytes beside .gitattributes."""
    with running(backing.settings(tmp_path / "data", quota_bytes=FIRST + 1000, quota_repositories=2)) as opened:
        yield opened


def test_commit_that_fills_the_quota_is_taken_and_one_byte_more_is_refused(team: Caller) -> None:
    team.published("team/tickets", {"a.txt": b"a" * 1000})
    answer = team.commit("team/tickets", {"b.txt": b"b"})
    refusal = (
        f"'team' would hold {FIRST + 1001} bytes and may hold {FIRST + 1000}: delete a repository, or ask an admin"
    )
    assert (answer.status_code, answer.headers["X-Error-Message"]) == (403, f"{refusal} of the registry for more")
    assert team.paths("team/tickets") == [".gitattributes", "a.txt"]


def test_same_content_counts_once_in_all_repositories_and_versions(team: Caller) -> None:
    team.create("team/other")
    team.published("team/tickets", {"a.txt": b"a" * 600})
    team.published("team/tickets", {"copy.txt": b"a" * 600})
    team.published("team/other", {"a.txt": b"a" * 600})
    team.published("team/tickets", {"c.txt": b"c" * 400})
    assert team.commit("team/other", {"d.txt": b"d"}).status_code == 403


def test_older_versions_count_and_deleted_repositories_do_not(team: Caller) -> None:
    team.create("team/other")
    team.published("team/other", {"a.txt": b"a" * 600})
    team.published("team/other", {"a.txt": b"b" * 400})
    assert team.commit("team/tickets", {"c.txt": b"c"}).status_code == 403
    team.delete("team/other")
    assert team.commit("team/tickets", {"c.txt": b"c"}).status_code == 200


def test_namespaces_do_not_share_a_quota(team: Caller) -> None:
    team.published("team/tickets", {"a.txt": b"a" * 1000})
    team.create("ada/mine")
    assert team.commit("ada/mine", {"b.txt": b"b" * 1000}).status_code == 200


def test_repository_beyond_the_quota_is_refused(team: Caller) -> None:
    assert team.create("team/second").status_code == 200
    answer = team.create("team/third")
    assert (answer.status_code, "the 2 repositories that it may" in answer.json()["error"]) == (403, True)
    team.delete("team/second")
    assert team.create("team/third").status_code == 200


def test_quota_of_its_own_wins_over_the_one_of_all(registry: Registry) -> None:
    team = member_of_team(registry)
    words = ["org", "quota", "team", "--repositories", "1", *registry.place]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.output == "team may hold any number of bytes and 1 repositories\n"
    assert team.create("team/second").status_code == 403
    assert team.commit("team/tickets", {"a.txt": b"a" * 5000}).status_code == 200


def test_commit_that_brings_nothing_new_is_taken_even_above_the_quota(registry: Registry, team: Caller) -> None:
    team.published("team/tickets", {"a.txt": b"a" * 1000})
    words = ["org", "quota", "team", "--bytes", "10", *registry.place]
    CliRunner().invoke(app, words, catch_exceptions=False)
    assert team.commit("team/tickets", {"b.txt": b"b"}).status_code == 403
    assert team.commit("team/tickets", {"copy.txt": b"a" * 1000}, deleted=["a.txt"]).status_code == 200
