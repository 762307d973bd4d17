"""Signing directories and published versions, and what their signatures are worth: each way to be wrong once."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

import petapter_hub_client as hub
from petapter_hub_client.exit_codes import ExitCode
from petapter_hub_client.signing import stored
from petapter_hub_client.signing.keys import list_trusted_keys
from petapter_hub_client.signing.statements import Signed, check_signature_file
from petapter_schemas.digests import sha256_file
from petapter_schemas.errors import VersionConflictError
from petapter_schemas.signature import parse_envelope
from tests.hub_client.conftest import Petapter, Registry, Stub
from tests.schemas.tiny_module import TinyModule


def signature_file(directory: Path) -> Path:
    (path,) = directory.glob("signatures/*/*.json")
    return path


def verdicts(petapter: Petapter, *names: object) -> list[str]:
    answer: Any = petapter("verify", *names, "--json").json
    return [signature["verdict"] for one in answer for signature in one["signatures"]]


def test_signed_directory_verifies_and_is_still_a_module(petapter: Petapter, ada: str, directory: Path) -> None:
    assert "no signature" in petapter("verify", directory).out
    made: Any = petapter("sign", directory, "--json").json
    assert (made["key"], made["digest"], made["reference"]) == (ada, sha256_file(directory / "petapter.json"), None)
    assert Path(made["path"]) == signature_file(directory)
    ran = petapter("verify", directory, "--signed")
    assert ran.code == 0
    assert "every byte is right; signed by 'ada' on 20" in ran.out
    assert petapter("info", directory).code == 0


def test_another_program_verifies_the_signature(petapter: Petapter, ada: str, directory: Path, tmp_path: Path) -> None:
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("openssl is not installed")
    petapter("sign", directory)
    envelope = parse_envelope(signature_file(directory).read_bytes(), source="x")
    (tmp_path / "signed").write_bytes(envelope.signed_bytes)
    (tmp_path / "sig").write_bytes(envelope.signatures[0].raw)
    done = subprocess.run(
        [openssl, "pkeyutl", "-verify", "-pubin", "-inkey", tmp_path / "config" / "keys" / f"{ada}.pub", "-rawin",
         "-in", tmp_path / "signed", "-sigfile", tmp_path / "sig"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done


def test_every_changed_byte_of_a_signature_is_noticed(petapter: Petapter, ada: str, directory: Path) -> None:
    """Unless it says the same: the name `keyid` decides as little as its value, and base64 ends in idle bits."""
    assert ada
    petapter("sign", directory)
    path = signature_file(directory)
    data, keys, signed = path.read_bytes(), list_trusted_keys(), Signed(sha256_file(directory / "petapter.json"))
    whole = parse_envelope(data, source="x")
    assert [each.verdict for each in check_signature_file(data, signed, keys, source="x")] == ["trusted"]
    accepted = 0
    for position in range(len(data)):
        changed = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        if any(each.verdict == "trusted" for each in check_signature_file(changed, signed, keys, source="x")):
            read = parse_envelope(changed, source="x")
            assert (read.raw_payload, read.signatures[0].raw) == (whole.raw_payload, whole.signatures[0].raw)
            accepted += 1
    assert accepted <= 9


def test_tampered_envelope_is_one_line(petapter: Petapter, ada: str, directory: Path) -> None:
    assert ada
    petapter("sign", directory)
    path = signature_file(directory)
    document = json.loads(path.read_text())
    document["signatures"][0]["sig"] = "A" * 86 + "=="
    path.write_text(json.dumps(document))
    ran = petapter("verify", directory)
    assert ran.code == ExitCode.UNFIT_MODULE
    assert "has a signature that does not hold" in ran.error
    path.write_text("{")
    assert "no strict JSON" in petapter("verify", directory).error


def test_signature_of_another_module_is_broken(
    petapter: Petapter, ada: str, directory: Path, tiny_module: TinyModule, tmp_path: Path
) -> None:
    assert ada
    petapter("sign", directory)
    other = tiny_module(tmp_path / "other", version="2.0.0")
    folder = other / "signatures" / sha256_file(other / "petapter.json")
    folder.mkdir(parents=True)
    shutil.copyfile(signature_file(directory), folder / "borrowed.json")
    assert "it is of tiny 1.0.0 with other content" in petapter("verify", other).error


def test_signature_by_an_unknown_key_says_so_and_does_not_count(
    petapter: Petapter, as_grace: Petapter, grace: Path, directory: Path
) -> None:
    assert as_grace("sign", directory).code == 0
    assert verdicts(petapter, directory) == ["unknown"]
    assert "by a key that is not trusted here" in petapter("verify", directory).out
    ran = petapter("verify", directory, "--signed")
    assert ran.code == ExitCode.UNFIT_MODULE
    assert "'petapter keys trust'" in ran.error
    petapter("keys", "trust", "grace", grace)
    assert verdicts(petapter, directory) == ["trusted"]


def test_expired_and_revoked_keys_do_not_count(
    petapter: Petapter, as_grace: Petapter, grace: Path, directory: Path
) -> None:
    as_grace("sign", directory)
    petapter("keys", "trust", "grace", grace, "--until", "2020-01-01")
    assert verdicts(petapter, directory) == ["expired"]
    assert "was trusted until 2020-01-01" in petapter("verify", directory).out
    petapter("keys", "trust", "grace", grace)
    petapter("keys", "revoke", "grace", "--reason", "laptop lost")
    assert verdicts(petapter, directory) == ["revoked"]
    assert petapter("verify", directory, "--signed").code == ExitCode.UNFIT_MODULE


def test_signature_ends_where_it_was_made_to(
    petapter: Petapter, ada: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ada
    petapter("sign", directory, "--valid-days", "1")
    assert verdicts(petapter, directory) == ["trusted"]
    monkeypatch.setattr("petapter_schemas.signature.SignaturePredicate.is_over", lambda *_: True)
    assert verdicts(petapter, directory) == ["expired"]
    assert "1 to 36500 days" in petapter("sign", directory, "--valid-days", "0").error


def test_published_version_bears_a_signature_and_stays_as_it_is(
    lab: Petapter, ada: str, pushed: str, directory: Path, registry: Registry, repo_id: str
) -> None:
    api = HfApi(endpoint=registry.url, token=registry.token)
    before = {tag.name: tag.target_commit for tag in api.list_repo_refs(repo_id).tags}
    made: Any = lab("sign", directory, pushed, "--json").json
    assert (made["key"], made["reference"], made["was_there"]) == (ada, f"{pushed}@v1.0.0", False)
    refs = api.list_repo_refs(repo_id)
    assert {tag.name: tag.target_commit for tag in refs.tags} == before
    assert {branch.name for branch in refs.branches} == {"main", "signatures"}
    digest = sha256_file(directory / "petapter.json")
    names = [file.rfilename for file in api.model_info(repo_id, revision="signatures").siblings or ()]
    assert [name for name in names if name != ".gitattributes"] == [f"signatures/{digest}/{made['fingerprint']}.json"]
    assert lab("pull", pushed).code == 0
    assert "signed by 'ada'" in lab("verify", pushed).out


def test_signing_again_changes_nothing_unless_it_shall_end(
    lab: Petapter, ada: str, pushed: str, directory: Path
) -> None:
    assert ada
    lab("sign", directory, pushed)
    again: Any = lab("sign", directory, pushed, "--json").json
    assert again["was_there"]
    renewed: Any = lab("sign", directory, pushed, "--valid-days", "30", "--json").json
    assert not renewed["was_there"]


def test_two_people_sign_one_version(
    lab: Petapter, as_grace: Petapter, grace: Path, ada: str, pushed: str, directory: Path
) -> None:
    assert ada
    lab("sign", directory, pushed)
    assert as_grace("sign", pushed).code == 0
    lab("keys", "trust", "grace", grace)
    lab("pull", pushed)
    assert sorted(verdicts(lab, pushed)) == ["trusted", "trusted"]


def test_signature_stays_when_the_next_version_is_pushed(
    lab: Petapter, ada: str, pushed: str, directory: Path, tiny_module: TinyModule, tmp_path: Path
) -> None:
    assert ada
    lab("sign", directory, pushed)
    assert lab("push", tiny_module(tmp_path / "next", version="1.1.0"), pushed).code == 0
    lab("pull", f"{pushed}@v1.0.0")
    lab("pull", f"{pushed}@v1.1.0")
    assert verdicts(lab, f"{pushed}@v1.0.0") == ["trusted"]
    assert verdicts(lab, f"{pushed}@v1.1.0") == []


def test_other_bytes_than_those_published_are_not_signed_for(
    lab: Petapter, ada: str, pushed: str, tiny_module: TinyModule, tmp_path: Path
) -> None:
    assert ada
    other = tiny_module(tmp_path / "other", version="1.0.0", labels=("x", "y"))
    ran = lab("sign", other, pushed)
    assert ran.code == ExitCode.UNFIT_MODULE
    assert "sign what you published" in ran.error
    assert not (other / "signatures").exists()


def test_signature_made_for_one_name_does_not_count_for_another(
    lab: Petapter, ada: str, pushed: str, directory: Path, registry: Registry
) -> None:
    """As when somebody publishes a signed module a second time under a name of their own."""
    assert ada
    lab("sign", directory, pushed)
    copy = f"{pushed}-copy"
    lab("push", directory, copy)
    lab("sign", directory, copy)
    path = f"signatures/{sha256_file(directory / 'petapter.json')}/{list_trusted_keys()[0].fingerprint}.json"
    api = HfApi(endpoint=registry.url, token=registry.token)
    borrowed = api.hf_hub_download(pushed.removeprefix("lab:"), path, revision="signatures", local_dir=directory.parent)
    api.upload_file(
        path_or_fileobj=borrowed, path_in_repo=path, repo_id=copy.removeprefix("lab:"), revision="signatures"
    )
    lab("pull", copy)
    assert f"it was made for {pushed.removeprefix('lab:')}" in lab("verify", copy).error


def test_signatures_that_were_seen_are_known_offline(
    lab: Petapter, ada: str, pushed: str, directory: Path, offline: Callable[[], None]
) -> None:
    assert ada
    lab("sign", directory, pushed)
    lab("pull", pushed)
    assert verdicts(lab, pushed) == ["trusted"]
    offline()
    assert verdicts(lab, pushed) == ["trusted"]
    assert verdicts(lab) == ["trusted"]


def test_remote_that_is_gone_leaves_what_was_seen(
    lab: Petapter, ada: str, pushed: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ada
    lab("sign", directory, pushed)
    lab("pull", pushed)
    lab("verify", pushed)
    monkeypatch.setattr("petapter_hub_client.hub.probe", lambda *_: "refused")
    ran = lab("verify", pushed)
    assert ran.code == 0
    assert "the signatures that were seen last" in ran.err
    assert "signed by 'ada'" in ran.out


def test_long_signature_file_of_a_remote_is_refused(
    lab: Petapter, ada: str, pushed: str, directory: Path, registry: Registry
) -> None:
    assert ada
    lab("sign", directory, pushed)
    lab("pull", pushed)
    path = f"signatures/{sha256_file(directory / 'petapter.json')}/{'0' * 64}.json"
    api = HfApi(endpoint=registry.url, token=registry.token)
    api.upload_file(
        path_or_fileobj=b" " * 70_000, path_in_repo=path, repo_id=pushed.removeprefix("lab:"), revision="signatures"
    )
    assert "more than the 65536 bytes allowed" in lab("verify", pushed).error


def test_signing_while_others_do_is_tried_again(
    lab: Petapter, ada: str, pushed: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head moves between being read and being committed to, as with two people who sign at once."""
    assert ada
    lab("sign", directory, pushed)
    true_head, moved = stored._head, []

    def head(remote: Any, name: str) -> str:
        found = true_head(remote, name)
        if not moved:
            moved.append(remote.api.create_commit(
                name, [stored.CommitOperationAdd("signatures/other.json", b"{}")], revision="signatures",
                commit_message="meanwhile",
            ))  # fmt: skip
        return found

    monkeypatch.setattr(stored, "_head", head)
    assert lab("sign", directory, pushed, "--valid-days", "30").code == 0
    assert moved
    monkeypatch.setattr(stored, "_head", lambda *_: "0" * 40)
    monkeypatch.setattr(stored, "_strangers", lambda *_: [])
    with pytest.raises(VersionConflictError):
        hub.sign(directory, pushed, options=hub.SignOptions(valid_days=3))


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("sign", "{m}"), 1, "make one with 'petapter keys new NAME'"),
        (("sign", "{m}", "--key", "ada"), 1, "there is no own key 'ada'"),
        (("sign", "lab:team/x", "lab:team/x"), 1, "is no directory"),
        (("sign", "{m}", "lab:team/x@v9.0.0"), 1, "names another version"),
        (("sign", "{m}", "lab:team/nothing-here"), 4, "has no module"),
        (("verify", "{m}", "lab:team/nothing-here"), 1, "not in the cache"),
    ],
)  # fmt: skip
def test_what_cannot_be_signed_is_one_line(
    lab: Petapter, directory: Path, arguments: tuple[str, ...], code: int, expected: str
) -> None:
    ran = lab(*(word.format(m=directory) for word in arguments))
    assert ran.code == code
    assert expected in ran.error


def test_several_keys_must_be_told_apart(petapter: Petapter, ada: str, directory: Path) -> None:
    petapter("keys", "new", "second")
    assert "say which with --key" in petapter("sign", directory).error
    assert petapter("sign", directory, "--key", ada).code == 0


def test_signing_without_a_token_is_refused(petapter: Petapter, ada: str, directory: Path, stub: Stub) -> None:
    assert ada
    petapter("remote", "add", "far", stub.url)
    ran = petapter("sign", directory, "far:team/x")
    assert ran.code == ExitCode.NOT_ALLOWED
    assert not (directory / "signatures").exists()


def test_quiet_signing_says_nothing(petapter: Petapter, ada: str, directory: Path) -> None:
    assert ada
    ran = petapter("sign", directory, "-q")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_python_functions_do_the_same(lab: Petapter, ada: str, pushed: str, directory: Path) -> None:
    made = hub.sign(directory, pushed)
    assert (made.key, made.name, made.reference) == (ada, "tiny 1.0.0", f"{pushed}@v1.0.0")
    assert hub.sign_published(pushed).was_there
    hub.pull(pushed)
    for name in (directory, pushed):
        found = hub.verify_signatures(name)
        assert [signature.verdict for signature in found.signatures] == ["trusted"]
        assert found.is_signed
        assert not found.is_broken
    assert lab("verify", pushed).code == 0
