"""Keys: how they are kept, whose count, and what is refused."""

import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

import petapter_hub_client as hub
from petapter_hub_client.exit_codes import ExitCode
from petapter_schemas.errors import InputError
from tests.hub_client.conftest import Petapter


def keys(petapter: Petapter) -> Any:
    return petapter("keys", "list", "--json").json


def test_new_key_is_private_and_trusted(petapter: Petapter, ada: str, tmp_path: Path) -> None:
    private = tmp_path / "config" / "keys" / "ada.pem"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(private.parent.stat().st_mode) == 0o700
    found = keys(petapter)
    assert [key["name"] for key in found["own"]] == [ada]
    assert [(key["name"], key["revoked"]) for key in found["trusted"]] == [(ada, None)]
    assert "count" in petapter("keys", "list").out


def test_files_and_fingerprint_are_those_that_openssl_knows(petapter: Petapter, ada: str, tmp_path: Path) -> None:
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("openssl is not installed")
    public = tmp_path / "config" / "keys" / f"{ada}.pub"
    der = tmp_path / "ada.der"
    subprocess.run([openssl, "pkey", "-pubin", "-in", public, "-outform", "DER", "-out", der], check=True)
    digest = subprocess.run([openssl, "dgst", "-sha256", der], check=True, capture_output=True, text=True).stdout
    assert digest.split()[-1] == keys(petapter)["own"][0]["fingerprint"]


def test_passphrase_encrypts_the_file_and_is_asked_for(
    petapter: Petapter, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "PETAPTER_KEY_PASSPHRASE" in petapter("keys", "new", "safe", "--passphrase").error
    monkeypatch.setenv("PETAPTER_KEY_PASSPHRASE", "correct horse")
    assert petapter("keys", "new", "safe", "--passphrase").code == 0
    assert "ENCRYPTED PRIVATE KEY" in (tmp_path / "config" / "keys" / "safe.pem").read_text()
    assert petapter("sign", directory).code == 0
    monkeypatch.setenv("PETAPTER_KEY_PASSPHRASE", "wrong")
    assert "the passphrase is wrong" in petapter("sign", directory).error
    monkeypatch.delenv("PETAPTER_KEY_PASSPHRASE")
    assert "set PETAPTER_KEY_PASSPHRASE" in petapter("sign", directory).error


def test_trust_revoke_and_remove(petapter: Petapter, grace: Path) -> None:
    assert petapter("keys", "trust", "grace", grace, "--until", "2999-12-31").code == 0
    assert keys(petapter)["trusted"][0]["until"] == "2999-12-31"
    assert petapter("keys", "revoke", "grace", "--reason", "laptop lost").code == 0
    assert "revoked: laptop lost" in petapter("keys", "list").out
    assert "was revoked here (laptop lost)" in petapter("keys", "trust", "grace", grace).error
    assert petapter("keys", "remove", "grace").code == 0
    assert keys(petapter) == {"own": [], "trusted": []}


def test_last_day_may_be_changed(petapter: Petapter, grace: Path) -> None:
    petapter("keys", "trust", "grace", grace)
    assert petapter("keys", "trust", "grace", grace, "--until", "2020-01-01").code == 0
    assert "counted until 2020-01-01" in petapter("keys", "list").out


def test_own_key_is_deleted_only_when_that_is_meant(petapter: Petapter, ada: str, tmp_path: Path) -> None:
    assert "give --yes" in petapter("keys", "remove", ada).error
    assert petapter("keys", "remove", ada, "--yes").code == 0
    assert list((tmp_path / "config" / "keys").iterdir()) == []


def test_key_is_found_by_the_beginning_of_its_fingerprint(petapter: Petapter, grace: Path) -> None:
    petapter("keys", "trust", "grace", grace)
    fingerprint = keys(petapter)["trusted"][0]["fingerprint"]
    assert petapter("keys", "revoke", fingerprint[:16]).code == 0
    assert "there is no trusted key" in petapter("keys", "revoke", fingerprint[:8]).error


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("new", "ada"), "there is a key 'ada' already"),
        (("new", "../ada"), "is not allowed"),
        (("revoke", "adda"), "did you mean 'ada'?"),
        (("remove", "nobody", "--yes"), "there is no trusted key"),
        (("trust", "grace", "/dev/null"), "no public key in PEM"),
        (("trust", "grace", "absent.pub"), "absent.pub: No such file"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    petapter: Petapter, ada: str, arguments: tuple[str, ...], expected: str
) -> None:
    assert ada
    ran = petapter("keys", *arguments)
    assert ran.code == ExitCode.REFUSED
    assert expected in ran.error


def test_name_of_another_key_is_refused(petapter: Petapter, ada: str, grace: Path) -> None:
    assert "is another key already" in petapter("keys", "trust", ada, grace).error
    petapter("keys", "trust", "grace", grace)
    assert "is trusted already as 'grace'" in petapter("keys", "trust", "amazing", grace).error


def test_keys_of_other_kinds_are_refused(petapter: Petapter, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "ec.pub").write_bytes(pem)
    assert "only Ed25519 keys" in petapter("keys", "trust", "other", tmp_path / "ec.pub").error


def test_broken_file_of_trusted_keys_is_one_line(petapter: Petapter, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    path = tmp_path / "config" / "trusted_keys.json"
    path.write_text('{"keys": {"ada": {"public_key": "AAAA"}}}')
    assert "'ada' has no public key" in petapter("keys", "list").error
    path.write_text("{")
    assert "correct it or delete it" in petapter("keys", "list").error


def test_python_functions_do_the_same(grace: Path) -> None:
    made = hub.make_key("ada")
    assert hub.list_own_keys() == (made,)
    assert hub.trust_key("grace", grace.read_bytes()).revoked is None
    assert hub.revoke_key("grace", "left").revoked == "left"
    assert [key.name for key in hub.list_trusted_keys()] == ["ada", "grace"]
    assert hub.remove_key("ada")
    with pytest.raises(InputError, match="no trusted key"):
        hub.remove_key("ada")
