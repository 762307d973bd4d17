"""Tokens: where they are kept, who gets them and who does not."""

import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked

from petapter_hub_client.exit_codes import ExitCode
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


def test_logout_forgets_the_token(lab: Petapter, tmp_path: Path) -> None:
    assert "logged out of lab" in lab("logout").out
    assert "petapter login lab" in lab("whoami").error
    assert lab("logout", "lab", "--json").json == {"remote": "lab", "was_logged_in": False, "left": None}


def test_logout_says_which_variable_still_gives_a_token(lab: Petapter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETAPTER_TOKEN_LAB", "another")
    assert "unset PETAPTER_TOKEN_LAB" in lab("logout").err


def test_general_variable_is_for_the_remote_that_its_companion_names(
    petapter: Petapter, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    petapter("remote", "add", "other", stub.url)
    monkeypatch.setenv("PETAPTER_TOKEN", "mine")
    ran = petapter("search", "--remote", "other")
    assert "PETAPTER_TOKEN is not used" in ran.err
    assert set(stub.authorizations) == {None}
    monkeypatch.setenv("PETAPTER_REMOTE", "other")
    assert "PETAPTER_TOKEN" not in petapter("search").err
    assert stub.authorizations[-1] == "Bearer mine"
    monkeypatch.setenv("PETAPTER_TOKEN_OTHER", "more exactly mine")
    petapter("search")
    assert stub.authorizations[-1] == "Bearer more exactly mine"


def test_general_variable_goes_to_no_other_remote(lab: Petapter, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    lab("remote", "add", "other", stub.url)
    monkeypatch.setenv("PETAPTER_REMOTE", "lab")
    monkeypatch.setenv("PETAPTER_TOKEN", "secret-of-lab")
    lab("search", "--remote", "other")
    assert set(stub.authorizations) == {None}


@pytest.mark.parametrize(
    "command", [("pull", "team/x"), ("search",), ("whoami",), ("yank", "team/x@v1.0.0", "--reason=x")]
)
def test_revoked_token_is_one_line_that_says_what_to_do(
    lab: Petapter, registry: Registry, command: tuple[str, ...], tmp_path: Path
) -> None:
    tokens = tmp_path / "config" / "tokens.json"
    tokens.write_text(tokens.read_text().replace(registry.token, revoked_token(registry)))
    ran = lab(*command)
    assert ran.code == ExitCode.NOT_ALLOWED
    assert "refuses the token, which was revoked" in ran.error
    assert ran.error.endswith("run 'petapter login lab'")


def test_refused_token_of_a_variable_names_the_variable(lab: Petapter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETAPTER_TOKEN_LAB", "wrong")
    assert "correct or unset that variable" in lab("whoami", "lab").error


def revoked_token(registry: Registry) -> str:
    """A token that the registry issued and took back."""
    api = httpx.Client(
        base_url=f"{registry.url}/api/petapter/v1", headers={"authorization": f"Bearer {registry.token}"}
    )
    with api:
        made = api.post("/tokens", json={"name": f"short-lived-{time.monotonic_ns()}", "role": "write"}).json()
        assert api.delete(f"/tokens/{made['id']}").is_success
    return str(made["token"])


class Ring(KeyringBackend):
    """A keyring in memory that can be locked."""

    priority = 5  # type: ignore[assignment]  # keyring computes it for backends whose platform may lack them

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[tuple[str, str], str] = {}
        self.is_locked = False

    def _open(self) -> dict[tuple[str, str], str]:
        if self.is_locked:
            raise KeyringLocked("the collection is locked")
        return self.held

    def get_password(self, service: str, username: str) -> str | None:
        return self._open().get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._open()[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self._open()[service, username]


@pytest.fixture
def ring() -> Iterator[Ring]:
    """The system keyring of these tests."""
    before, ring = keyring.get_keyring(), Ring()
    keyring.set_keyring(ring)
    yield ring
    keyring.set_keyring(before)


@pytest.fixture
def ring_lab(ring: Ring, petapter: Petapter, registry: Registry) -> Petapter:
    """The command line, logged in to `lab` while the system has a keyring."""
    assert ring.held == {}
    assert petapter("remote", "add", "lab", registry.url, "--default").code == 0
    assert petapter("login", "lab", "--token", registry.token).code == 0
    return petapter


def test_keyring_holds_the_token_and_the_file_does_not(
    ring: Ring, ring_lab: Petapter, registry: Registry, tmp_path: Path
) -> None:
    assert ring.held == {(f"petapter {registry.url}", "lab"): registry.token}
    assert registry.token not in (tmp_path / "config" / "tokens.json").read_text()
    assert ring_lab("whoami").out.startswith("admin on lab")
    listed: Any = ring_lab("remote", "list", "--json").json
    assert listed[1]["token"] == "keyring"
    ring_lab("logout")
    assert ring.held == {}


def test_locked_keyring_keeps_the_token_in_the_file_and_says_so(
    ring: Ring, petapter: Petapter, registry: Registry, tmp_path: Path
) -> None:
    ring.is_locked = True
    petapter("remote", "add", "lab", registry.url)
    ran = petapter("login", "lab", "--token", registry.token)
    (warning,) = [line for line in ran.err.splitlines() if line.startswith("warning: ")]
    assert "the collection is locked" in warning
    assert registry.token in (tmp_path / "config" / "tokens.json").read_text()
    assert petapter("whoami", "lab").err == ""


def test_keyring_that_was_locked_later_is_one_warning_and_a_way_on(ring: Ring, ring_lab: Petapter) -> None:
    ring.is_locked = True
    ran = ring_lab("whoami")
    assert ran.err.count("the collection is locked") == 1
    assert "petapter login lab" in ran.error


def test_token_in_a_keyring_is_bound_to_the_address(ring: Ring, ring_lab: Petapter, stub: Stub) -> None:
    ring_lab("remote", "remove", "lab")
    assert ring.held == {}
    ring_lab("remote", "add", "lab", stub.url)
    ring_lab("search", "--remote", "lab")
    assert set(stub.authorizations) == {None}


def test_keyring_of_low_priority_is_not_used(
    ring: Ring, petapter: Petapter, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ring, "priority", 0.5)
    petapter("remote", "add", "lab", registry.url)
    assert "tokens.json" in petapter("login", "lab", "--token", registry.token).out
    assert ring.held == {}


def test_without_the_keyring_package_the_file_is_used(
    petapter: Petapter, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    monkeypatch.setitem(sys.modules, "keyring.errors", None)
    petapter("remote", "add", "lab", registry.url)
    assert petapter("login", "lab", "--token", registry.token).err == ""
    assert registry.token in (tmp_path / "config" / "tokens.json").read_text()
