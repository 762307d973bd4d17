"""Signatures in the format of OpenSSF Model Signing: ours verified by its own tool, its own by ours, and refusals."""

import base64
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from petapter_hub_client.exit_codes import ExitCode
from tests.hub_client.conftest import Petapter
from tests.schemas.tiny_module import TinyModule

pytest.importorskip("model_signing", reason="the extra model-signing is not installed", exc_type=ImportError)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def write_key(folder: Path, name: str = "key", passphrase: bytes | None = None) -> tuple[Path, Path]:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    secret = ec.generate_private_key(ec.SECP256R1())
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    public.write_bytes(secret.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return write_key(tmp_path)


def tool(*words: object) -> "subprocess.CompletedProcess[str]":
    """The command line of model-signing."""
    command = [sys.executable, "-m", "model_signing", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def signed(petapter: Petapter, directory: Path, key: Path) -> Path:
    ran = petapter("sign", directory, "--ec-key", key, "--json")
    assert ran.code == 0, ran
    answer: Any = ran.json
    return Path(answer["path"])


def test_what_we_sign_the_tool_of_the_format_verifies(
    petapter: Petapter, directory: Path, keys: tuple[Path, Path]
) -> None:
    path = signed(petapter, directory, keys[0])
    assert path.parents[2] == directory / "signatures"
    done = tool("verify", "key", directory, "--signature", path, "--public_key", keys[1])
    assert done.returncode == 0, done
    (directory / "README.md").write_text("changed")
    assert tool("verify", "key", directory, "--signature", path, "--public_key", keys[1]).returncode != 0


def test_what_the_tool_signs_we_verify(petapter: Petapter, directory: Path, keys: tuple[Path, Path]) -> None:
    done = tool("sign", "key", directory, "--signature", directory / "model.sig", "--private_key", keys[0])
    assert done.returncode == 0, done
    ran = petapter("verify", directory, "--ec-key", keys[1])
    assert (ran.code, "every byte is right; signed by the key" in ran.out) == (0, True), ran
    (directory / "notes.txt").write_text("not the module's")
    assert petapter("verify", directory, "--ec-key", keys[1], "-q").code == 0


def test_signature_is_published_with_the_version_and_verified_by_others(
    lab: Petapter, pushed: str, directory: Path, keys: tuple[Path, Path], ada: str
) -> None:
    assert ada
    assert "has no signature in the format" in lab("verify", pushed, "--ec-key", keys[1]).error
    ran = lab("sign", directory, pushed, "--ec-key", keys[0])
    assert f"{pushed}@v1.0.0 bears the signature" in ran.out, ran
    ran = lab("verify", pushed, "--ec-key", keys[1])
    assert (ran.code, "signed by the key" in ran.out) == (0, True), ran
    assert lab("sign", pushed, "--ec-key", write_key(directory.parent, "other")[0]).code == 0
    assert lab("verify", pushed, "--ec-key", keys[1]).code == 0
    assert lab("sign", pushed).code == 0
    assert "signed by 'ada'" in lab("verify", pushed).out  # signatures of both kinds do not disturb each other


def test_another_key_another_module_and_a_changed_signature_do_not_hold(
    petapter: Petapter, directory: Path, keys: tuple[Path, Path], tiny_module: TinyModule, tmp_path: Path
) -> None:
    path = signed(petapter, directory, keys[0])
    _, stranger = write_key(tmp_path, "stranger")
    ran = petapter("verify", directory, "--ec-key", stranger)
    assert (ran.code, "does not hold for the key" in ran.error) == (ExitCode.UNFIT_MODULE, True)
    other = tiny_module(tmp_path / "other", version="2.0.0")
    ran = petapter("verify", other, "--ec-key", keys[1], "--signature", path)
    assert (ran.code, "does not hold" in ran.error) == (ExitCode.UNFIT_MODULE, True)
    document = json.loads(path.read_text())
    payload = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
    payload["predicate"]["resources"][0]["digest"] = "0" * 64
    document["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    path.write_text(json.dumps(document))
    assert "does not hold" in petapter("verify", directory, "--ec-key", keys[1]).error
    for text in ("{}", "[", '{"dsseEnvelope": {"payload": "e30"}}', '{"dsseEnvelope": {"payload": "WzFd"}}'):
        path.write_text(text)
        ran = petapter("verify", directory, "--ec-key", keys[1])
        assert ran.code == ExitCode.UNFIT_MODULE, (text, ran)
        assert ran.error


def test_signature_of_everything_but_the_manifest_is_not_of_the_module(
    petapter: Petapter, directory: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    done = tool(
        "sign", "key", directory, "--signature", tmp_path / "part.sig", "--private_key", keys[0],
        "--ignore-paths", directory / "petapter.json",
    )  # fmt: skip
    assert done.returncode == 0, done
    ran = petapter("verify", directory, "--ec-key", keys[1], "--signature", tmp_path / "part.sig")
    assert (ran.code, "it says nothing of the module" in ran.error) == (ExitCode.UNFIT_MODULE, True)


def test_keys_that_cannot_be_used_are_one_line(
    petapter: Petapter, ada: str, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked, public = write_key(tmp_path, "locked", b"open sesame")
    assert "PETAPTER_KEY_PASSPHRASE" in petapter("sign", directory, "--ec-key", locked).error
    monkeypatch.setenv("PETAPTER_KEY_PASSPHRASE", "open sesame")
    assert petapter("sign", directory, "--ec-key", locked).code == 0
    assert petapter("verify", directory, "--ec-key", public).code == 0
    monkeypatch.setenv("PETAPTER_KEY_PASSPHRASE", "wrong")
    assert "cannot sign" in petapter("sign", directory, "--ec-key", locked).error
    assert "cannot sign" in petapter("sign", directory, "--ec-key", public).error
    ed25519 = tmp_path / "config" / "keys" / ada
    assert "cannot sign" in petapter("sign", directory, "--ec-key", ed25519.with_suffix(".pem")).error
    assert "cannot verify" in petapter("verify", directory, "--ec-key", ed25519.with_suffix(".pub")).error
    assert "No such file" in petapter("sign", directory, "--ec-key", tmp_path / "none.pem").error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sign", "--ec-key", "k", "--sigstore"), "give one of --key, --ec-key and --sigstore"),
        (("sign", "--ec-key", "k", "--valid-days", "3"), "--valid-days is for --key alone"),
        (("sign", "--trust-config", "t"), "give one of --key, --ec-key and --sigstore"),
        (("verify", "--identity", "ada@example.org"), "say by whom a signature must be"),
        (("verify", "--ec-key", "k", "--issuer", "https://example.org"), "say by whom a signature must be"),
        (("verify", "--signature", "s"), "say by whom a signature must be"),
    ],
)
def test_options_that_contradict_each_other_are_told(
    petapter: Petapter, directory: Path, words: tuple[str, ...], said: str
) -> None:
    command, *rest = words
    assert said in petapter(command, directory, *rest).error


def trust_config(path: Path) -> Path:
    """What the public Sigstore is known by, as it comes with sigstore's package: no network is asked for it."""
    spec = find_spec("sigstore._store")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (store,) = Path(spec.submodule_search_locations[0]).glob("*tuf-repo-cdn.sigstore.dev")
    path.write_text(json.dumps({
        "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
        "trustedRoot": json.loads((store / "trusted_root.json").read_text()),
        "signingConfig": json.loads((store / "signing_config.v0.2.json").read_text()),
    }))  # fmt: skip
    return path


def test_keyless_signatures_need_their_services_and_say_so(
    petapter: Petapter, directory: Path, keys: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cached"))
    trust = trust_config(tmp_path / "trust.json")
    ran = petapter("sign", directory, "--sigstore", "--trust-config", trust)
    assert (ran.code, "check the network, or use a key with --ec-key" in ran.error) == (ExitCode.REMOTE_FAILED, True)
    who = ("--identity", "ada@example.org", "--issuer", "https://accounts.google.com", "--trust-config", trust)
    signed(petapter, directory, keys[0])
    ran = petapter("verify", directory, *who)
    assert (ran.code, "does not hold for ada@example.org" in ran.error) == (ExitCode.UNFIT_MODULE, True)
    (tmp_path / "bad.json").write_text("{}")
    ran = petapter("verify", directory, *who[:-1], tmp_path / "bad.json")
    assert (ran.code, "is no trust configuration of a Sigstore" in ran.error) == (1, True)


def test_without_the_extra_it_is_one_line_that_says_what_to_install(
    petapter: Petapter, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "petapter_hub_client.signing.bundles.find_spec", lambda name: None if name == "OpenSSL" else find_spec(name)
    )
    ran = petapter("sign", directory, "--sigstore")
    assert (ran.code, "pip install 'petapter[model-signing]'" in ran.error) == (1, True)
