"""The Python functions: complete, typed, quiet, and short where a notebook shows what they return."""

import inspect
import re
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import petapter_hub_client as hub
from petapter_hub_client.searching import FoundModule, FoundModules
from petapter_schemas.errors import AuthenticationError, RemoteNotFoundError
from tests.hub_client.conftest import Petapter, Registry
from tests.schemas.tiny_module import TinyModule

LONGEST_REPR = 300


@pytest.fixture
def pushed(lab: Petapter, tiny_module: TinyModule, tmp_path: Path, repo_id: str) -> str:
    hub.push(tiny_module(tmp_path / "m", labels=("a", "b", "c", "d", "<b>e</b>")), f"lab:{repo_id}")
    return f"lab:{repo_id}"


@pytest.mark.parametrize("name", hub.__all__)
def test_every_name_is_documented_and_typed(name: str) -> None:
    value: Any = getattr(hub, name)
    assert inspect.getdoc(value)
    assert name in dir(hub)
    if inspect.isfunction(value):
        hints = get_type_hints(inspect.unwrap(value))
        assert set(inspect.signature(value).parameters) | {"return"} == set(hints)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="pul"):
        _ = hub.pul


def test_verbs_print_nothing(pushed: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    hub.pull(pushed)
    hub.search(remote="lab")
    hub.info(pushed)
    hub.whoami("lab")
    assert capsys.readouterr() == ("", "")


def test_values_are_short_to_see(pushed: str) -> None:
    pulled, described, (found, *_) = (
        hub.pull(pushed),
        hub.info(pushed),
        hub.search(pushed.partition("/")[2], remote="lab"),
    )
    for value in (pulled, described, found, hub.list_cached()[0]):
        assert pushed in repr(value)
        assert len(repr(value).replace(str(pulled.directory), "")) < LONGEST_REPR


def test_search_results_are_a_table_in_a_notebook(pushed: str) -> None:
    found = hub.search(pushed.partition("/")[2], remote="lab")
    html = found._repr_html_()
    assert f"<td>{pushed}</td>" in html
    assert "<td>a, b, c, 2 more</td>" in html
    assert found[0:1] == found.modules


def test_strangers_words_are_text_in_a_notebook(pushed: str) -> None:
    module = FoundModule("lab:team/x", ("<script>alert(1)</script>",), (), None, (), 0, None)
    assert "<script>" not in FoundModules((module,))._repr_html_()
    assert "&lt;b&gt;e&lt;/b&gt;" in hub.info(pushed)._repr_html_()


def test_progress_is_heard_in_bytes(pushed: str) -> None:
    heard: list[tuple[str, int, int]] = []
    pulled = hub.pull(pushed, on_progress=lambda path, done, total: heard.append((path, done, total)))
    done = [each for _, each, _ in heard]
    assert done == sorted(done)
    assert heard[-1][1:] == (pulled.size_bytes, pulled.size_bytes)


def test_progress_is_drawn_in_a_notebook_and_not_into_a_file(pushed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    monkeypatch.setattr("rich.live.Live.refresh", lambda live: drawn.append(type(live).__name__))

    def pull_anew() -> None:
        hub.remove_cached(hub.list_cached())
        with hub.byte_progress("pulling") as on_progress:
            hub.pull(pushed, on_progress=on_progress)

    pull_anew()
    assert drawn == []
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    pull_anew()
    assert drawn != []


def test_login_whoami_and_logout(registry: Registry) -> None:
    hub.add_remote("lab", registry.url)
    with pytest.raises(AuthenticationError):
        hub.login("wrong", "lab")
    assert hub.login(registry.token, "lab").user == "admin"
    assert hub.whoami("lab").organizations
    assert hub.logout("lab")
    assert not hub.logout("lab")


def test_errors_are_the_lines_of_the_command_line(lab: Petapter) -> None:
    with pytest.raises(RemoteNotFoundError) as caught:
        hub.pull("lab:team/nothing-here")
    assert lab("pull", "lab:team/nothing-here").error == f"error: {caught.value}"


def test_readme_names_every_function() -> None:
    readme = Path("hub_client/README.md").read_text(encoding="utf-8")
    section = readme.split("## From Python")[1].split("\n## ")[0]
    assert set(hub.__all__) <= set(re.findall(r"\w+", section))
