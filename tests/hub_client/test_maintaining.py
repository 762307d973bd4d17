"""Yanks, channels and the registry's own search, by the command line against a registry process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from petapter_schemas.metric_bound import MetricBound
from tests.hub_client.conftest import Petapter, Stub
from tests.schemas.tiny_module import TinyModule

Push = Callable[[str], str]


@pytest.fixture
def push(lab: Petapter, tiny_module: TinyModule, tmp_path: Path, repo_id: str) -> Push:
    """Publish the tiny module as a version and return its commit."""

    def publish(version: str) -> str:
        labels = (f"Glad_{repo_id[-12:]}", "sad")
        directory = tiny_module(tmp_path / version, name="mood", version=version, labels=labels)
        ran = lab("push", directory, repo_id, "--json")
        assert ran.code == 0, ran
        answer: Any = ran.json
        return str(answer["commit"])

    return publish


def version_of(ran: Any) -> str:
    assert ran.code == 0, ran
    return str(ran.json["version"])


def test_pull_of_a_yanked_version_warns_and_a_pull_without_revision_passes_it_over(
    lab: Petapter, push: Push, repo_id: str
) -> None:
    push("1.0.0")
    push("1.1.0")
    assert lab("yank", f"{repo_id}@v1.1.0", "--reason", "labels were swapped").code == 0
    assert version_of(lab("pull", repo_id, "--json")) == "1.0.0"
    pinned = lab("pull", f"{repo_id}@v1.1.0", "--json")
    assert (version_of(pinned), "yanked by its maintainers: labels were swapped" in pinned.err) == ("1.1.0", True)
    assert lab("unyank", f"{repo_id}@v1.1.0").code == 0
    assert version_of(lab("pull", repo_id, "--json")) == "1.1.0"


def test_pull_where_every_version_is_yanked_says_how_to_have_one(lab: Petapter, push: Push, repo_id: str) -> None:
    push("1.0.0")
    lab("yank", f"{repo_id}@v1.0.0", "--reason", "broken")
    error = lab("pull", repo_id).error
    assert "every version of" in error
    assert f"{repo_id}@v1.0.0" in error


def test_channel_is_set_listed_pulled_and_removed(lab: Petapter, push: Push, repo_id: str) -> None:
    push("1.0.0")
    push("1.1.0")
    assert lab("channel", "set", f"{repo_id}@v1.0.0", "stable").code == 0
    assert version_of(lab("pull", f"{repo_id}@stable", "--json")) == "1.0.0"
    assert version_of(lab("pull", f"{repo_id}@latest", "--json")) == "1.1.0"
    listed: Any = lab("channel", "list", repo_id, "--json").json
    assert [(c["name"], c["version"]) for c in listed["channels"]] == [("latest", "1.1.0"), ("stable", "1.0.0")]
    assert "stable" in lab("channel", "list", repo_id, "--history").out
    assert lab("channel", "remove", repo_id, "stable").code == 0
    assert "no such version" in lab("pull", f"{repo_id}@stable").error


def test_patch_of_an_older_line_is_pushed_and_an_older_version_is_not(lab: Petapter, push: Push, repo_id: str) -> None:
    for version in ("1.0.0", "1.1.0", "1.0.1"):
        push(version)
    assert version_of(lab("pull", repo_id, "--json")) == "1.1.0"
    with pytest.raises(AssertionError, match=r"already holds 1\.1\.0"):
        push("0.9.0")


@pytest.mark.parametrize("reference", ["{}", "{}@main", "{}@latest"])
def test_yank_needs_a_version(lab: Petapter, push: Push, repo_id: str, reference: str) -> None:
    push("1.0.0")
    assert "names no version" in lab("yank", reference.format(repo_id), "--reason", "x").error


def test_version_that_is_not_there_is_named(lab: Petapter, push: Push, repo_id: str) -> None:
    push("1.0.0")
    assert "Invalid rev id: v9.0.0" in lab("yank", f"{repo_id}@v9.0.0", "--reason", "x").error


def test_yank_without_a_token_says_to_log_in(petapter: Petapter, stub: Stub) -> None:
    petapter("remote", "add", "lab", stub.url)
    assert "petapter login lab" in petapter("yank", "lab:team/x@v1.0.0", "--reason", "x").error


def test_remote_that_is_no_registry_has_no_yanks(petapter: Petapter, stub: Stub) -> None:
    petapter("remote", "add", "lab", stub.url)
    stub.status, stub.body = 404, b'{"error": "Not Found"}'
    assert "no petapter registry" in petapter("channel", "list", "lab:team/x").error


def test_search_matches_label_sets_exactly(lab: Petapter, push: Push, repo_id: str) -> None:
    push("1.0.0")
    glad = f"glad {repo_id[-12:]}"
    alone: Any = lab("search", "--label", glad, "--label-match", "exact", "--json").json
    both: Any = lab("search", "--label", glad, "--label", "SAD", "--label-match", "exact", "--json").json
    assert (alone, [m["reference"] for m in both]) == ([], [f"lab:{repo_id}"])
    assert (both[0]["version"], both[0]["labels"][1]) == ("1.0.0", "sad")


def test_search_bounds_a_figure_on_one_set(lab: Petapter, push: Push, repo_id: str) -> None:
    push("1.0.0")
    name = repo_id.partition("/")[2]
    for bound, count in (("accuracy@Held-Out>=0.75", 1), ("accuracy@other>=0", 0), ("accuracy<0.75", 0)):
        found: Any = lab("search", name, "--where", bound, "--json").json
        assert len(found) == count, bound


def test_search_reads_as_many_pages_as_it_needs(
    lab: Petapter, push: Push, repo_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    push("1.0.0")
    monkeypatch.setattr("petapter_hub_client.searching._PAGE", 1)
    found: Any = lab("search", "--language", "en", "--limit", "3", "--json").json
    assert len({module["reference"] for module in found}) == len(found) > 0


def test_exact_labels_on_a_remote_that_is_no_registry_are_refused(petapter: Petapter, stub: Stub) -> None:
    petapter("remote", "add", "lab", stub.url)
    refused = petapter("search", "--remote", "lab", "--label", "x", "--label-match", "exact")
    assert "no petapter registry" in refused.error


@pytest.mark.parametrize("text", ["accuracy>=0.8", "macro_f1@GermEval 18<0.123456789", "ece@dev#0123abcd<=0.00001"])
def test_bound_is_written_as_it_was_read(text: str) -> None:
    assert str(MetricBound.parse(text)) == text
