"""Tokens: where they are kept, who gets them and who does not."""

import stat
from pathlib import Path
from typing import Any

import pytest

from tests.hub_client.conftest import Petapter, Registry, Stub


def test_token_file_is_for_its_owner_alone(lab: Petapter, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "config" / "tokens.json").stat().st_mode) == 0o600


def test_token_is_read_from_standard_input(petapter: Petapter, registry: Registry) -> None:
    petapter("remote", "add", "lab", registry.url)
    answer: Any = petapter("login", "lab", "--token", "-", "--json", stdin=f"{registry.token}\n").json
    assert (answer["remote"], answer["url"], answer["user"]) == ("lab", registry.url, "admin")


def test_whoami_names_the_user(lab: Petapter) -> None:
    answer: Any = lab("whoami", "--json").json
    assert answer["user"] == "admin"


def test_login_never_prints_the_token(petapter: Petapter, registry: Registry) -> None:
    petapter("remote", "add", "lab", registry.url)
    ran = petapter("login", "lab", "--token", registry.token)
    assert registry.token not in ran.out + ran.err


def test_wrong_token_is_refused_and_not_kept(petapter: Petapter, registry: Registry, tmp_path: Path) -> None:
    petapter("remote", "add", "lab", registry.url)
    assert "petapter login lab" in petapter("login", "lab", "--token", "wrong").error
    assert not (tmp_path / "config" / "tokens.json").exists()


def test_wrong_token_leaves_the_good_one(lab: Petapter) -> None:
    assert lab("login", "lab", "--token", "wrong").error
    assert lab("whoami", "lab").code == 0


def test_login_without_terminal_or_token_says_how(petapter: Petapter) -> None:
    assert "--token -" in petapter("login", "hf").error


def test_whoami_without_token_says_to_log_in(petapter: Petapter, registry: Registry) -> None:
    petapter("remote", "add", "lab", registry.url)
    assert "petapter login lab" in petapter("whoami", "lab").error


def test_variable_overrides_the_stored_token(lab: Petapter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETAPTER_TOKEN_LAB", "wrong")
    assert "refuses the token" in lab("whoami", "lab").error


def test_token_with_a_line_break_is_refused(petapter: Petapter, stub: Stub) -> None:
    petapter("remote", "add", "lab", stub.url)
    assert "no token" in petapter("login", "lab", "--token", "a\nb").error
    assert stub.requests == []


def test_tokens_go_to_no_other_remote(lab: Petapter, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("PETAPTER_TOKEN_HF", "hf_secret")
    monkeypatch.setenv("PETAPTER_TOKEN_LAB", "lab_secret")
    lab("remote", "add", "other", stub.url)
    assert lab("search", "--remote", "other", "--json").json == []
    assert stub.requests
    assert set(stub.authorizations) == {None}


def test_token_goes_to_its_own_remote(petapter: Petapter, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETAPTER_TOKEN_OTHER", "mine")
    petapter("remote", "add", "other", stub.url)
    petapter("search", "--remote", "other")
    assert stub.authorizations[-1] == "Bearer mine"


def test_removing_a_remote_forgets_its_token(lab: Petapter, stub: Stub) -> None:
    lab("remote", "remove", "lab")
    lab("remote", "add", "lab", stub.url)
    lab("search", "--remote", "lab")
    assert set(stub.authorizations) == {None}


def test_stored_token_is_bound_to_the_address(lab: Petapter, stub: Stub, registry: Registry, tmp_path: Path) -> None:
    remotes = tmp_path / "config" / "remotes.json"
    remotes.write_text(remotes.read_text().replace(registry.url, stub.url))
    lab("search", "--remote", "lab")
    assert set(stub.authorizations) == {None}
