"""Policies of remotes: what is refused before any weight is used, by every command that uses one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import petapter_hub_client as hub
from petapter_hub_client.exit_codes import ExitCode
from petapter_schemas.errors import SignatureError
from tests.hub_client.conftest import Petapter, files_below


def policy(lab: Petapter, *options: str) -> Any:
    return lab("remote", "policy", "lab", *options, "--json").json


def weights_below(directory: Path) -> list[str]:
    return [name for name in files_below(directory) if name.endswith(".safetensors")]


def test_without_a_policy_nothing_is_asked(lab: Petapter, pushed: str) -> None:
    assert policy(lab) == {"name": "lab", "asks_for_signatures": False, "require_signature": False, "allowed": []}
    assert "need no signature" in lab("remote", "policy").out
    assert lab("pull", pushed).code == 0


def test_module_without_a_signature_is_refused_before_its_weights_come(
    lab: Petapter, pushed: str, tmp_path: Path
) -> None:
    assert policy(lab, "--require-signature")["require_signature"]
    ran = lab("pull", pushed)
    assert ran.code == ExitCode.UNFIT_MODULE
    assert f"{pushed}@v1.0.0 must not be used, by the policy of remote 'lab': it has no signature" in ran.error
    assert weights_below(tmp_path / "cache") == []
    assert lab("info", pushed).code == 0


def test_signed_module_is_accepted_also_offline(
    lab: Petapter, ada: str, pushed: str, directory: Path, offline: Callable[[], None]
) -> None:
    assert ada
    policy(lab, "--require-signature")
    assert lab("sign", directory, pushed).code == 0
    assert lab("pull", pushed).code == 0
    offline()
    assert lab("pull", pushed).code == 0


def test_first_signature_can_be_made_under_the_policy(lab: Petapter, ada: str, pushed: str) -> None:
    assert ada
    policy(lab, "--require-signature")
    assert lab("sign", pushed).code == 0
    assert lab("pull", pushed).code == 0


def test_module_that_is_cached_already_is_refused_too(lab: Petapter, pushed: str, offline: Callable[[], None]) -> None:
    pulled: Any = lab("pull", pushed, "--json").json
    policy(lab, "--require-signature")
    assert lab("pull", pushed).code == ExitCode.UNFIT_MODULE
    assert lab("pull", f"{pushed}@{pulled['commit']}").code == ExitCode.UNFIT_MODULE
    assert lab("verify").code == ExitCode.UNFIT_MODULE
    offline()
    assert lab("pull", pushed).code == ExitCode.UNFIT_MODULE


def test_cached_module_that_is_signed_later_is_accepted_by_its_commit(
    lab: Petapter, ada: str, pushed: str, directory: Path
) -> None:
    assert ada
    pulled: Any = lab("pull", pushed, "--json").json
    policy(lab, "--require-signature")
    lab("sign", directory, pushed)
    assert lab("pull", f"{pushed}@{pulled['commit']}").code == 0


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ((), "by a key that is not trusted here"),
        (("keys", "trust", "grace", "{grace}", "--until", "2020-01-01"), "was trusted until 2020-01-01"),
    ],
)
def test_signatures_that_do_not_count_are_named(
    lab: Petapter, as_grace: Petapter, grace: Path, pushed: str, before: tuple[str, ...], expected: str
) -> None:
    as_grace("sign", pushed)
    if before:
        assert lab(*(word.format(grace=grace) for word in before)).code == 0
    policy(lab, "--require-signature")
    ran = lab("pull", pushed)
    assert ran.code == ExitCode.UNFIT_MODULE
    assert expected in ran.error


def test_revoked_key_refuses_what_it_had_signed(lab: Petapter, ada: str, pushed: str, directory: Path) -> None:
    lab("sign", directory, pushed)
    policy(lab, "--require-signature")
    assert lab("pull", pushed).code == 0
    lab("keys", "revoke", ada, "--reason", "laptop lost")
    assert "was revoked: laptop lost" in lab("pull", pushed).error


def test_only_allowed_keys_count(lab: Petapter, as_grace: Petapter, grace: Path, ada: str, pushed: str) -> None:
    as_grace("sign", pushed)
    lab("keys", "trust", "grace", grace)
    shown = policy(lab, "--allow", f"team/*={ada}")
    assert (shown["asks_for_signatures"], [each["modules"] for each in shown["allowed"]]) == (True, ["team/*"])
    ran = lab("pull", pushed)
    assert ran.code == ExitCode.UNFIT_MODULE
    assert "the key 'grace' may not sign team/" in ran.error
    policy(lab, "--allow", "team=grace")
    assert lab("pull", pushed).code == 0
    table = lab("remote", "policy", "lab").out
    assert "team/*" in table
    assert "grace" in table


def test_namespace_that_nobody_may_sign_for_is_refused(lab: Petapter, ada: str, pushed: str, directory: Path) -> None:
    lab("sign", directory, pushed)
    policy(lab, "--allow", f"other/*={ada}")
    assert f"no key may sign {pushed.removeprefix('lab:')}" in lab("pull", pushed).error
    policy(lab, "--disallow", "other/*", "--allow", f"{pushed.removeprefix('lab:')}={ada}")
    assert lab("pull", pushed).code == 0


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--allow", "team", "names no key"),
        ("--allow", "team=nobody", "there is no trusted key 'nobody'"),
        ("--allow", "team/[a]=ada", "is no pattern of modules"),
        ("--disallow", "team", "has no 'team'"),
    ],
)
def test_what_no_policy_can_say_is_one_line(lab: Petapter, ada: str, option: str, value: str, expected: str) -> None:
    assert ada
    ran = lab("remote", "policy", "lab", option, value)
    assert ran.code == ExitCode.REFUSED
    assert expected in ran.error


def test_policy_goes_with_its_remote(lab: Petapter, registry: Any, tmp_path: Path) -> None:
    lab("remote", "policy", "hf", "--require-signature")
    policy(lab, "--require-signature")
    lab("remote", "remove", "lab")
    lab("remote", "add", "lab", registry.url)
    assert "need no signature" in lab("remote", "policy", "lab").out
    assert "signed by a trusted key" in lab("remote", "policy", "hf").out
    assert '"lab"' not in (tmp_path / "config" / "remotes.json").read_text().split('"policies"')[1]


def test_policy_can_be_dropped(lab: Petapter, pushed: str, tmp_path: Path) -> None:
    policy(lab, "--require-signature")
    policy(lab, "--no-require-signature")
    assert "policies" not in (tmp_path / "config" / "remotes.json").read_text()
    assert lab("pull", pushed).code == 0


def test_stack_is_not_locked_or_synced_with_what_is_refused(lab: Petapter, pushed: str, tmp_path: Path) -> None:
    policy(lab, "--require-signature")
    (tmp_path / "stack.yaml").write_text(f"modules:\n  tiny: {pushed}\n")
    ran = lab("stack", "lock", tmp_path / "stack.yaml")
    assert ran.code == ExitCode.UNFIT_MODULE
    assert "by the policy of remote 'lab'" in ran.error
    assert not (tmp_path / "stack.lock").exists()


def test_stack_that_was_locked_before_the_policy_is_refused_until_it_is_signed(
    lab: Petapter, module: Path, backbone: Path, ada: str, repo_id: str, tmp_path: Path
) -> None:
    reference = f"lab:{repo_id}"
    assert lab("push", module, reference).code == 0
    stack = tmp_path / "stack.yaml"
    stack.write_text(f"backbone: {backbone}\nmodules:\n  reviews: {reference}\n")
    assert lab("stack", "lock", stack).code == 0
    policy(lab, "--require-signature")
    for words in (("sync", stack, "--frozen"), ("predict", stack, "great food")):
        ran = lab("stack", *words)
        assert ran.code == ExitCode.UNFIT_MODULE
        assert "by the policy of remote 'lab'" in ran.error
    assert lab("sign", module, reference, "--key", ada).code == 0
    assert lab("stack", "predict", stack, "great food").code == 0


def test_predict_does_not_use_what_is_refused(lab: Petapter, pushed: str) -> None:
    lab("pull", pushed)
    policy(lab, "--require-signature")
    ran = lab("predict", "--module", pushed, "a text")
    assert ran.code == ExitCode.UNFIT_MODULE
    assert "by the policy of remote 'lab'" in ran.error


def test_python_functions_do_the_same(lab: Petapter, pushed: str) -> None:
    assert hub.change_policy("lab", require_signature=True).asks_for_signatures
    assert hub.find_policy("lab").require_signature
    with pytest.raises(SignatureError, match="by the policy of remote 'lab'"):
        hub.pull(pushed)
    hub.change_policy("lab", require_signature=False)
    assert lab("pull", pushed).code == 0
