"""Remotes: the configuration file, names, addresses and the default."""

from pathlib import Path
from typing import Any

import pytest

from petapter_hub_client.locks import locked
from petapter_hub_client.remotes import find_remote
from petapter_schemas.errors import InputError
from tests.hub_client.conftest import Petapter


def test_hub_is_built_in_and_default(petapter: Petapter) -> None:
    assert petapter("remote", "list", "--json").json == [
        {"name": "hf", "url": "https://huggingface.co", "default": True, "token": None}
    ]


def test_added_remote_is_listed(petapter: Petapter) -> None:
    petapter("remote", "add", "lab", "http://127.0.0.1:8470/")
    listed: Any = petapter("remote", "list", "--json").json
    assert {"name": "lab", "url": "http://127.0.0.1:8470", "default": False, "token": None} in listed


def test_add_with_default_makes_it_the_default(petapter: Petapter) -> None:
    petapter("remote", "add", "lab", "http://127.0.0.1:8470", "--default")
    assert find_remote(None).name == "lab"


def test_default_command_chooses(petapter: Petapter) -> None:
    petapter("remote", "add", "lab", "http://127.0.0.1:8470", "--default")
    assert petapter("remote", "default", "hf", "--json").json == {"name": "hf", "url": "https://huggingface.co"}
    assert find_remote(None).name == "hf"


def test_removing_the_default_makes_the_hub_default(petapter: Petapter) -> None:
    petapter("remote", "add", "lab", "http://127.0.0.1:8470", "--default")
    assert petapter("remote", "remove", "lab").code == 0
    assert find_remote(None).name == "hf"


def test_add_and_remove_answer_programs(petapter: Petapter) -> None:
    added = petapter("remote", "add", "lab", "http://127.0.0.1:1", "--json")
    assert added.json == {"name": "lab", "url": "http://127.0.0.1:1"}
    assert petapter("remote", "remove", "lab", "--json").json == {"name": "lab", "url": None}


def test_long_wait_for_another_process_is_said(
    petapter: Petapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("petapter_hub_client.settings_files.CONFIG_TIMEOUT_S", 0.05)
    (tmp_path / "config").mkdir()
    with locked(tmp_path / "config" / "remotes.json.lock", 1):
        assert "another petapter process" in petapter("remote", "add", "lab", "http://127.0.0.1:1").error


def test_hub_cannot_be_removed(petapter: Petapter) -> None:
    assert "built in" in petapter("remote", "remove", "hf").error


def test_unknown_remote_is_named_with_the_known_ones(petapter: Petapter) -> None:
    error = petapter("search", "--remote", "nowhere").error
    assert "'nowhere'" in error
    assert "petapter remote add nowhere URL" in error


def test_name_in_use_is_refused_for_another_address(petapter: Petapter) -> None:
    petapter("remote", "add", "lab", "http://127.0.0.1:1")
    assert "petapter remote remove lab" in petapter("remote", "add", "lab", "http://127.0.0.1:2").error


def test_name_that_shares_a_token_variable_is_refused(petapter: Petapter) -> None:
    petapter("remote", "add", "my-lab", "http://127.0.0.1:1")
    assert "'my-lab'" in petapter("remote", "add", "MY_LAB", "http://127.0.0.1:2").error


def test_adding_the_same_remote_again_is_fine(petapter: Petapter) -> None:
    petapter("remote", "add", "lab", "http://127.0.0.1:1")
    assert petapter("remote", "add", "lab", "http://127.0.0.1:1/").code == 0


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:8470", "ftp://host", "http://", "http://user:secret@host", "https://host?x=1", "http://ho st",
     "http://host:99999"],
)  # fmt: skip
def test_bad_address_is_refused(petapter: Petapter, url: str) -> None:
    assert petapter("remote", "add", "lab", url).error


def test_bad_remote_name_is_refused(petapter: Petapter) -> None:
    assert "not allowed" in petapter("remote", "add", "a:b", "http://127.0.0.1:1").error


def test_unencrypted_remote_elsewhere_is_warned_of(petapter: Petapter) -> None:
    assert "warning: " in petapter("remote", "add", "lab", "http://registry.example").err


def test_broken_file_is_named(petapter: Petapter, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "remotes.json").write_text('{"default": "hf", "default": "lab"}')
    with pytest.raises(InputError, match=r"remotes\.json"):
        find_remote(None)


def test_misspelt_remote_gets_the_nearest_name(petapter: Petapter) -> None:
    petapter("remote", "add", "production", "http://127.0.0.1:1")
    assert petapter("search", "--remote", "prodution").error.endswith("did you mean 'production'?")
    assert "did you mean" not in petapter("search", "--remote", "x").error


def test_variable_chooses_the_default_remote(petapter: Petapter, monkeypatch: pytest.MonkeyPatch) -> None:
    petapter("remote", "add", "lab", "http://127.0.0.1:1")
    monkeypatch.setenv("PETAPTER_REMOTE", "lab")
    assert find_remote(None).name == "lab"
    assert "PETAPTER_REMOTE is set" in petapter("remote", "default", "hf").err


def test_variable_that_names_no_remote_is_named_in_the_error(
    petapter: Petapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PETAPTER_REMOTE", "nowhere")
    assert "'nowhere', which PETAPTER_REMOTE names" in petapter("pull", "team/x").error
