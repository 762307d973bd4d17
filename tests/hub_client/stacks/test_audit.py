"""Audit of a lock against a real registry: one module of each fate, and what the exit code says."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import petapter_hub_client as hub
from petapter_hub_client.exit_codes import ExitCode
from petapter_hub_client.stacks import auditing
from petapter_hub_client.stacks.auditing import AuditFinding
from petapter_schemas.digests import sha256_bytes
from petapter_schemas.references import Reference
from petapter_schemas.registry_api import ModuleDetail
from petapter_schemas.stack import LockedBackbone, LockedModule, StackLock, lock_bytes
from tests.hub_client.conftest import Petapter, Registry
from tests.schemas.tiny_module import TinyModule, tiny_manifest, write_module

BACKBONE = LockedBackbone(
    repo="acme/tiny-bert", revision=None, architecture="BertForMaskedLM", config_sha256="1" * 64,
    weights_sha256="2" * 64, tokenizer_sha256="3" * 64,
)  # fmt: skip

Lock = Callable[..., Path]


@pytest.fixture
def lock(lab: Petapter, registry: Registry, tmp_path: Path) -> Lock:
    """Writes a lock of modules as they are on the registry: `lock(alias="team/name@v1.0.0", …)`."""

    def write(**references: str) -> Path:
        modules = []
        for alias, reference in references.items():
            described: Any = lab("info", f"lab:{reference}", "--json").json
            modules.append(
                LockedModule(
                    alias=alias,
                    asked=f"lab:{reference}",
                    reference=described["reference"],
                    url=registry.url,
                    commit=described["commit"],
                    digest=described["digest"].removeprefix("sha256:"),
                    patterns=None,
                )
            )
        path = tmp_path / "stack.lock"
        path.write_bytes(
            lock_bytes(StackLock(stack_sha256=sha256_bytes(b""), backbone=BACKBONE, modules=tuple(modules)))
        )
        return path

    return write


@pytest.fixture
def publish(lab: Petapter, tiny_module: TinyModule, tmp_path: Path, repo_id: str) -> Callable[[str], str]:
    """Push a version; returns the reference."""

    def push(version: str) -> str:
        directory = tmp_path / "sources" / version
        shutil.rmtree(directory, ignore_errors=True)
        assert lab("push", tiny_module(directory, version=version), repo_id).code == 0
        return f"{repo_id}@v{version}"

    return push


def kinds(found: Any) -> list[str]:
    return [finding["kind"] for module in found["modules"] for finding in module["findings"]]


def test_good_modules_are_fine(lab: Petapter, lock: Lock, publish: Callable[[str], str]) -> None:
    path = lock(tiny=publish("1.0.0"))
    ran = lab("audit", path)
    assert ran.code == 0, ran
    assert "fine" in ran.out
    assert "no module demands action" in ran.out
    assert kinds(lab("audit", path, "--json").json) == []
    assert lab("audit", path, "-q").out == ""


def test_newer_version_is_told_and_demands_nothing(lab: Petapter, lock: Lock, publish: Callable[[str], str]) -> None:
    path = lock(tiny=publish("1.0.0"))
    publish("1.1.0")
    ran = lab("audit", path)
    assert ran.code == 0
    assert "v1.1.0 is newer" in ran.out
    found: Any = lab("audit", path, "--json").json
    assert (kinds(found), found["modules"][0]["newest"], found["demands_action"]) == (["superseded"], "v1.1.0", False)


def test_yanked_version_demands_action(lab: Petapter, lock: Lock, publish: Callable[[str], str]) -> None:
    reference = publish("1.0.0")
    path = lock(tiny=reference)
    lab("yank", f"lab:{reference}", "--reason", "labels were swapped")
    ran = lab("audit", path)
    assert ran.code == ExitCode.DEMANDS_ACTION
    assert "yanked: v1.0.0 was yanked: labels were swapped" in ran.out
    assert "1 of 1 modules demand action" in ran.out
    assert lab("audit", path, "-q").out == "tiny\n"


def test_disputed_figure_demands_action(
    lab: Petapter, lock: Lock, publish: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = publish("1.0.0")
    path = lock(tiny=reference)
    told = auditing._disputed

    def after_a_dispute(detail: ModuleDetail | None, exact: Reference, manifest: bytes) -> list[AuditFinding]:
        assert detail is not None  # the registry says what became of figures; authors do not
        versions = tuple(
            each.model_copy(
                update={"metrics": tuple(one.model_copy(update={"status": "disputed"}) for one in each.metrics)}
            )
            for each in detail.versions
        )
        return told(detail.model_copy(update={"versions": versions}), exact, manifest)

    monkeypatch.setattr(auditing, "_disputed", after_a_dispute)
    measured = tiny_manifest().evaluation[0]
    ran = lab("audit", path)
    assert ran.code == ExitCode.DEMANDS_ACTION
    assert f"disputed: its {measured.metric} on {measured.evaluation_set.name} was not reproduced" in ran.out


def test_status_that_an_author_claims_is_no_dispute(lab: Petapter, lock: Lock, repo_id: str, tmp_path: Path) -> None:
    manifest = tiny_manifest()
    measured = manifest.evaluation[0].model_copy(update={"status": "disputed"})
    write_module(tmp_path / "m", manifest.model_copy(update={"evaluation": (measured,)}))
    assert lab("push", tmp_path / "m", repo_id).code == 0
    assert lab("audit", lock(tiny=f"{repo_id}@v1.0.0")).code == 0


def test_repository_that_is_gone_demands_action(
    lab: Petapter, lock: Lock, publish: Callable[[str], str], repo_id: str, registry: Registry
) -> None:
    from huggingface_hub import HfApi

    path = lock(tiny=publish("1.0.0"))
    HfApi(endpoint=registry.url, token=registry.token).delete_repo(repo_id)
    found = lab("audit", path, "--json")
    assert found.code == ExitCode.DEMANDS_ACTION
    assert kinds(found.json) == ["gone"]


def test_missing_signature_demands_action_where_the_policy_asks(
    lab: Petapter, lock: Lock, publish: Callable[[str], str], tmp_path: Path
) -> None:
    reference = publish("1.0.0")
    path = lock(tiny=reference)
    lab("remote", "policy", "lab", "--require-signature")
    ran = lab("audit", path)
    assert ran.code == ExitCode.DEMANDS_ACTION
    assert "unsigned: it has no signature" in ran.out
    lab("keys", "new", "ada")
    assert lab("sign", tmp_path / "sources" / "1.0.0", f"lab:{reference}").code == 0
    assert lab("audit", path).code == 0


def test_other_bytes_than_were_locked_demand_action(lab: Petapter, lock: Lock, publish: Callable[[str], str]) -> None:
    path = lock(tiny=publish("1.0.0"))
    text = path.read_text()
    digest = lab("audit", path, "--json").json and text.split('"digest": "')[1][:64]
    path.write_text(text.replace(digest, "f" * 64))
    ran = lab("audit", path)
    assert ran.code == ExitCode.DEMANDS_ACTION
    assert "locked is ffffffffffff" in ran.out


def test_remote_of_another_address_demands_action(lab: Petapter, lock: Lock, publish: Callable[[str], str]) -> None:
    path = lock(tiny=publish("1.0.0"))
    lab("remote", "remove", "lab")
    assert kinds(lab("audit", path, "--json").json) == ["unknown remote"]
    lab("remote", "add", "lab", "http://127.0.0.1:1")
    ran = lab("audit", path)
    assert ran.code == ExitCode.DEMANDS_ACTION
    assert "is http://127.0.0.1:1 here" in ran.out


def test_remote_that_does_not_answer_leaves_the_audit_open(
    lab: Petapter, lock: Lock, publish: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lock(tiny=publish("1.0.0"))
    monkeypatch.setattr("petapter_hub_client.hub.probe", lambda *_: "refused")
    ran = lab("audit", path, "--json")
    assert ran.code == ExitCode.REMOTE_FAILED
    assert "the audit is not complete" in ran.error
    assert kinds(ran.json) == ["not asked"]


@pytest.mark.parametrize(
    ("content", "expected"), [(None, "run 'petapter stack lock'"), (b"{", "no strict JSON"), (b"{}", "no lock_version")]
)
def test_what_is_no_lock_is_one_line(petapter: Petapter, tmp_path: Path, content: bytes | None, expected: str) -> None:
    path = tmp_path / "stack.lock"
    if content is not None:
        path.write_bytes(content)
    ran = petapter("audit", path)
    assert ran.code == ExitCode.REFUSED
    assert expected in ran.error


def test_stack_yaml_names_its_lock_and_python_does_the_same(
    lab: Petapter, lock: Lock, publish: Callable[[str], str]
) -> None:
    path = lock(tiny=publish("1.0.0"))
    found = hub.audit(path.with_suffix(".yaml"))
    assert (found.lock, found.demands_action, found.is_complete) == (path, False, True)
    assert lab("audit", path.with_suffix(".yaml")).code == 0
