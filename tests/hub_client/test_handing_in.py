"""`petapter evalset verify`, `hand-in` and `results`: rows that stay here, and what is said of them to a registry."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import petapter_hub_client as hub
from petapter_hub_client.cli import main
from petapter_hub_client.evaluation_results import _judged
from petapter_schemas.ed25519 import is_signed_by, new_key_pem, public_pem, read_private_key, read_public_key
from petapter_schemas.evaluation_result import parse_evaluation
from petapter_schemas.measuring_api import EvaluationState, WorkerKeyState
from petapter_schemas.signature import parse_envelope
from tests.hub_client.conftest import Petapter
from tests.hub_client.tiny_reviews import ROWS, TASK, write_rows

_OTHER = "text,label\n" + "".join(f"{text} .,{label}\n" for text, label in ROWS)


@pytest.fixture(scope="module")
def trained(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module with figures on the rows of `data`."""
    folder = tmp_path_factory.mktemp("trained")
    rows = write_rows(folder / "reviews.csv")
    words = ["train", rows, "--out", folder / "reviews", *TASK, "--backbone", backbone, "--preset", "plain"]
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in (*words, "--steps", "2", "--test", rows, "-q")])
    assert not ended.value.code
    return folder / "reviews"


@pytest.fixture
def published(lab: Petapter, trained: Path, data: Path, tmp_path: Path, repo_id: str) -> str:
    """A module, and under the same name the set of the rows it declares figures on, of which the digest alone."""
    assert lab("push", trained, repo_id, "-q").code == 0
    assert lab("evalset", "create", data, "--out", tmp_path / "set", "--name", repo_id.partition("/")[2]).code == 0
    assert lab("evalset", "push", tmp_path / "set", repo_id, "--without-rows").code == 0
    return repo_id


@pytest.fixture
def ada(petapter: Petapter) -> str:
    assert petapter("keys", "new", "ada").code == 0
    return "ada"


def test_what_a_module_declares_comes_out_again(lab: Petapter, published: str, data: Path, backbone: Path) -> None:
    ran = lab("evalset", "verify", published, published, "--rows", data, "--backbone", backbone)
    assert ran.code == 0, ran
    assert "is what it declares, within 0.002" in ran.out
    assert f"lab:{published}@v0.1.0 on the 4 rows of {published}@1.0.0" in ran.out
    told: Any = lab("evalset", "verify", published, published, "--rows", data, "--backbone", backbone, "--json").json
    assert told["is_within"] is True
    assert {figure["declared"] for figure in told["figures"]} != {None}
    assert lab("evalset", "results", published).err.startswith(f"nothing was measured of {published}")


def test_handed_in_result_reproduces_and_is_signed(
    lab: Petapter, published: str, data: Path, backbone: Path, ada: str, tmp_path: Path
) -> None:
    ran = lab("evalset", "hand-in", published, published, "--rows", data, "--backbone", backbone)
    assert ran.code == 0, ran
    assert f"signed with key {ada} and handed in: lab:{published}@v0.1.0 is reproduced" in ran.out
    (told,) = lab("evalset", "results", published, "--json").json  # type: ignore[misc]
    assert (told["status"], told["counts"], told["by"], told["signature"]) == ("reproduced", True, "admin", "trusted")
    envelope = parse_envelope(json.dumps(told["envelope"]).encode(), source="told")
    assert is_signed_by(envelope, read_public_key((tmp_path / "config" / "keys" / "ada.pub").read_bytes()))
    assert parse_evaluation(envelope, source="told").detail.repository == published
    shown = lab("evalset", "results", f"{published}@v0.1.0").out
    assert "reproduced" in shown
    assert "signed by 'ada'" in shown
    (line,) = (line for line in lab("evalset", "board", published).out.splitlines() if published in line)
    assert "reproduced" in line


def test_rows_that_the_registry_has_need_not_be_given(
    lab: Petapter, published: str, backbone: Path, tmp_path: Path
) -> None:
    without = lab("evalset", "verify", published, published, "--backbone", backbone)
    assert (without.code, "are not on the registry: give yours with --rows" in without.error) == (1, True)
    name = f"{published}-open"
    lab("evalset", "create", tmp_path / "reviews.csv", "--out", tmp_path / "open", "--name", name.partition("/")[2])
    assert lab("evalset", "push", tmp_path / "open", name).code == 0
    ran = lab("evalset", "verify", name, published, "--backbone", backbone, "-q")
    assert (ran.code, ran.out) == (0, "within\n")


def test_other_rows_and_other_remotes_are_refused_before_anything_runs(
    lab: Petapter, published: str, trained: Path, ada: str, tmp_path: Path
) -> None:
    assert ada
    other = tmp_path / "other.csv"
    other.write_text(_OTHER)
    ran = lab("evalset", "hand-in", published, published, "--rows", other)
    assert (ran.code, f"holds other rows than {published} 1.0.0" in ran.error) == (6, True)
    ran = lab("evalset", "verify", published, trained, "--rows", other)
    assert (ran.code, "a result is of a published module; 'petapter evaluate' measures this one" in ran.error) == (
        1, True,
    )  # fmt: skip
    ran = lab("evalset", "verify", published, f"hf:{published}")
    assert (ran.code, "are on different remotes" in ran.error) == (1, True)
    assert lab("evalset", "verify", f"{published}-none", published).code == 4


def test_rows_of_which_nothing_is_declared_are_measured_and_not_handed_in(
    lab: Petapter, published: str, backbone: Path, ada: str, tmp_path: Path
) -> None:
    assert ada
    other, name = tmp_path / "other.csv", f"{published}-other"
    other.write_text(_OTHER)
    lab("evalset", "create", other, "--out", tmp_path / "more", "--name", name.partition("/")[2])
    lab("evalset", "push", tmp_path / "more", name)
    ran = lab("evalset", "hand-in", name, published)
    assert (ran.code, "so that there is nothing to reproduce or dispute" in ran.error) == (1, True)
    ran = lab("evalset", "verify", name, published, "--backbone", backbone)
    assert (ran.code, "the module declares nothing on them" in ran.out) == (0, True)


def test_figures_that_do_not_come_out_are_disputed_with_their_own_code(
    lab: Petapter, published: str, backbone: Path, ada: str, trained: Path, tmp_path: Path
) -> None:
    assert ada
    data = trained.parent / "reviews.csv"
    module = Path(shutil.copytree(trained, tmp_path / "claiming"))
    path = module / "petapter.json"
    manifest = json.loads(path.read_text())
    (figure,) = (each for each in manifest["evaluation"] if each["metric"] == "log_loss")
    figure["value"], figure["interval"] = 0.123, {**figure["interval"], "low": 0.1, "high": 0.2}
    path.write_text(json.dumps(manifest))
    assert lab("push", module, published, "--bump", "minor", "-q").code == 0
    ran = lab("evalset", "verify", published, published, "--rows", data, "--backbone", backbone)
    assert (ran.code, "is not what it declares" in ran.out, "outside" in ran.out) == (10, True, True)
    ran = lab("evalset", "hand-in", published, published, "--rows", data, "--backbone", backbone, "-q")
    assert (ran.code, ran.out) == (10, "disputed\n")


def test_hand_in_without_key_or_token_ends_before_it_measures(lab: Petapter, published: str, data: Path) -> None:
    ran = lab("evalset", "hand-in", published, published, "--rows", data)
    assert (ran.code, "there is no key to sign with" in ran.error) == (1, True)
    lab("keys", "new", "ada")
    lab("logout", "lab")
    ran = lab("evalset", "hand-in", published, published, "--rows", data)
    assert (ran.code, "there is no token for remote 'lab'" in ran.error) == (5, True)


def test_results_that_their_keys_did_not_sign_are_told(
    lab: Petapter, published: str, data: Path, backbone: Path, ada: str
) -> None:
    assert ada
    options = hub.MeasureOptions(rows=data, backbone=str(backbone))
    state = hub.hand_in(published, published, options=options).state
    trusted = hub.list_trusted_keys()
    assert _judged(state, {}, trusted) == ("trusted", "signed by 'ada'")
    assert _judged(state, {}, ())[0] == "unknown"
    better = state.model_copy(
        update={"figures": tuple(each.model_copy(update={"value": 1.5}) for each in state.figures)}
    )
    assert _judged(better, {}, trusted) == ("broken", "what was signed is not what the registry tells")
    assert _judged(_with_payload_of(state, state.envelope["payload"][::-1]), {}, trusted)[0] == "broken"
    other = public_pem(read_private_key(new_key_pem(), source="x").public_key()).decode()
    claimed = WorkerKeyState(name="w", fingerprint=state.key, public_key=other, created="2026-01-01T00:00:00.000Z")
    assert _judged(state, {state.key: claimed}, ()) == ("broken", "its key did not sign it: it was changed")
    real = claimed.model_copy(update={"public_key": public_pem(trusted[0].public_key).decode()})
    assert _judged(state, {state.key: real}, ()) == ("worker", "signed by the worker 'w'")
    gone = real.model_copy(update={"revoked": "2026-01-02T00:00:00.000Z"})
    assert _judged(state, {state.key: gone}, ())[0] == "revoked"
    hub.revoke_key("ada", "lost")
    assert _judged(state, {state.key: real}, hub.list_trusted_keys()) == ("revoked", "the key 'ada' was revoked: lost")


def _with_payload_of(state: EvaluationState, payload: str) -> EvaluationState:
    return state.model_copy(update={"envelope": {**state.envelope, "payload": payload}})
