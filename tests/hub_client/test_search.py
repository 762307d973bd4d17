"""Search and info: what is found, what is shown, and what programs read."""

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelInfo

from petapter_hub_client.remotes import Remote
from petapter_hub_client.searching import _found
from petapter_schemas.errors import InputError
from petapter_schemas.metric_bound import MetricBound
from tests.hub_client.conftest import Petapter, Stub
from tests.schemas.tiny_module import TinyModule


@pytest.fixture
def pushed(lab: Petapter, tiny_module: TinyModule, tmp_path: Path, repo_id: str) -> str:
    lab("push", tiny_module(tmp_path / "m", name="mood", labels=(f"Glad_{repo_id[-12:]}", "sad")), repo_id)
    return repo_id


def references(ran: Any) -> list[str]:
    return [module["reference"] for module in ran.json]


def test_search_by_text_finds_the_module(lab: Petapter, pushed: str) -> None:
    assert references(lab("search", pushed.partition("/")[2], "--json")) == [f"lab:{pushed}"]


def test_search_by_label_ignores_case_and_separators(lab: Petapter, pushed: str) -> None:
    assert references(lab("search", "--label", f"glad {pushed[-12:]}", "--json")) == [f"lab:{pushed}"]


def test_all_labels_must_match(lab: Petapter, pushed: str) -> None:
    assert references(lab("search", "--label", f"glad {pushed[-12:]}", "--label", "furious", "--json")) == []


def test_search_by_language(lab: Petapter, pushed: str) -> None:
    assert f"lab:{pushed}" in references(lab("search", "--language", "en", "--json", "--limit", "1000"))
    assert references(lab("search", "--language", "de", "--json")) == []


def test_search_by_backbone_name(lab: Petapter, pushed: str) -> None:
    assert f"lab:{pushed}" in references(lab("search", "--backbone", "acme/tiny-bert", "--json", "--limit", "1000"))
    assert references(lab("search", "--backbone", "acme/other", "--json")) == []


def test_search_by_backbone_fingerprint(lab: Petapter, pushed: str) -> None:
    info: Any = lab("info", pushed, "--json").json
    digest = info["manifest"]["backbone"]["weights_sha256"]
    assert f"lab:{pushed}" in references(lab("search", "--backbone", digest[:16], "--json", "--limit", "1000"))


def test_result_names_metric_and_set(lab: Petapter, pushed: str) -> None:
    answer: Any = lab("search", pushed.partition("/")[2], "--json").json
    (found,) = answer
    assert found["metrics"][0]["name"] == "accuracy"
    assert found["metrics"][0]["evaluation_set"] == "held-out"


def test_minimal_metric_is_kept_to(lab: Petapter, pushed: str) -> None:
    name = pushed.partition("/")[2]
    assert references(lab("search", name, "--min-metric", "accuracy>=0.75", "--json")) == [f"lab:{pushed}"]
    assert references(lab("search", name, "--min-metric", "accuracy>0.75", "--json")) == []


def test_figure_that_nobody_verified_is_not_found_among_the_verified(lab: Petapter, pushed: str) -> None:
    name = pushed.partition("/")[2]
    found: Any = lab("search", name, "--min-metric", "accuracy>=0.75", "--json").json
    assert found[0]["metrics"][0]["status"] == "declared"
    assert references(lab("search", name, "--min-metric", "accuracy>=0.75", "--verified", "--json")) == []
    assert references(lab("search", name, "--verified", "--json")) == []


def test_hub_verifies_nothing(petapter: Petapter, stub: Stub) -> None:
    stub.body = b"[]"
    petapter("remote", "add", "elsewhere", stub.url)
    ran = petapter("search", "--remote", "elsewhere", "--verified")
    assert ran.code == 3
    assert "is no petapter registry" in ran.error


@pytest.mark.parametrize("text", ["accuracy", "accuracy>=", "accuracy=0.5", ">=0.5", "accuracy>=good"])
def test_bad_bound_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"accuracy>=0\.8"):
        MetricBound.parse(text)


def test_table_names_the_module(lab: Petapter, pushed: str) -> None:
    assert f"lab:{pushed}" in lab("search", pushed.partition("/")[2]).out


def test_nothing_found_is_said_on_standard_error(lab: Petapter) -> None:
    ran = lab("search", "no-such-module-anywhere")
    assert (ran.code, ran.out) == (0, "")
    assert "no module matches" in ran.err


def test_escape_sequences_of_strangers_do_not_reach_the_terminal(petapter: Petapter, stub: Stub) -> None:
    model = {"id": "team/x", "tags": ["petapter", "label:\x1b]0;owned\x07"], "downloads": 0}
    stub.body = json.dumps([model]).encode()
    petapter("remote", "add", "lab", stub.url)
    out = petapter("search", "--remote", "lab").out
    assert "team/x" in out
    assert "\x1b" not in out


@pytest.mark.parametrize("index", [None, 7, [7], [{"results": 7}], [{"results": [{"metrics": [{"value": "high"}]}]}]])
def test_card_of_any_form_is_survived(index: object) -> None:
    model = ModelInfo(id="team/x", tags=["petapter"], downloads=0)
    model.card_data = type("Card", (), {"to_dict": lambda _: {"model-index": index, "language": 3}})()
    assert _found(Remote("lab", "http://lab"), model).metrics == ()


def test_search_on_a_registry_that_is_down(petapter: Petapter) -> None:
    petapter("remote", "add", "lab", "http://127.0.0.1:9")
    assert "does not answer" in petapter("search", "--remote", "lab").error


def test_info_of_a_directory(petapter: Petapter, tiny_module: TinyModule, tmp_path: Path) -> None:
    info: Any = petapter("info", tiny_module(tmp_path / "m", name="mood"), "--json").json
    assert info["manifest"]["name"] == "mood"


def test_info_shows_labels_and_intervals(petapter: Petapter, tiny_module: TinyModule, tmp_path: Path) -> None:
    out = petapter("info", tiny_module(tmp_path / "m", labels=("glad", "sad"))).out
    assert "glad" in out
    assert "0.5000 to 0.9000" in out


def test_info_of_a_reference_fetches_the_manifest_alone(lab: Petapter, pushed: str, tmp_path: Path) -> None:
    info: Any = lab("info", pushed, "--json").json
    assert info["reference"] == f"lab:{pushed}@v1.0.0"
    assert not (tmp_path / "cache").exists()


def test_info_of_a_directory_without_manifest(petapter: Petapter, tmp_path: Path) -> None:
    assert "no module directory" in petapter("info", tmp_path).error
