"""The command `petapter-registry worker` as an operator runs it: a real module, measured and signed."""

from pathlib import Path

import pytest

from petapter_registry_server.settings import Settings
from petapter_schemas.ed25519 import is_signed_by, read_public_key
from petapter_schemas.evaluation_result import parse_evaluation
from petapter_schemas.signature import Envelope
from tests.registry_process import run
from tests.registry_server.browser_caller import Browser, text_of
from tests.registry_server.conftest import Registry, running
from tests.registry_server.measured_modules import NewSet
from tests.registry_server.trained_bench import ROWS, Bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench.at(tmp_path_factory.mktemp("bench"))


def test_worker_command_needs_key_and_backbones_and_says_so(tmp_path: Path) -> None:
    with running(Settings(data=tmp_path / "data")) as registry:
        key = tmp_path / "worker.pem"
        made = run("petapter-registry", "worker-key", "create", *registry.place, "bench", "--file", key)
        assert (made.returncode, made.stdout.startswith("made worker key bench ("), key.stat().st_mode & 0o777) == (
            0, True, 0o600,
        )  # fmt: skip
        listed = run("petapter-registry", "worker-key", "list", *registry.place)
        assert (listed.stdout.split("\t")[0], listed.stdout.strip().split("\t")[-1]) == ("bench", "counts")
        again = run("petapter-registry", "worker-key", "create", *registry.place, "other", "--file", key)
        assert (again.returncode, again.stderr) == (
            1, f"petapter-registry: {key} is there already: choose another file for the key\n",
        )  # fmt: skip
        options = ["--key", key, "--backbones", tmp_path]
        for wrong, said in (
            (options[:2], "a worker needs --backbones DIR"),
            (options[2:], "a worker needs --key FILE"),
            (["--key", tmp_path / "none", *options[2:]], "cannot be read: No such file"),
        ):
            refused = run("petapter-registry", "worker", *registry.place, "--once", *wrong)
            assert (refused.returncode, refused.stderr.count("\n"), said in refused.stderr) == (1, 1, True)
        run("petapter-registry", "worker-key", "revoke", *registry.place, "bench")
        refused = run("petapter-registry", "worker", *registry.place, "--once", *options)
        assert (refused.returncode, "(bench) was revoked" in refused.stderr) == (1, True)


@pytest.mark.slow
def test_worker_measures_what_the_author_declared_and_signs_it(bench: Bench, tmp_path: Path) -> None:
    with running(Settings(data=tmp_path / "data")) as registry:
        ada = registry.caller("ada")
        assert ada.create("team/tickets").status_code == 200
        ada.published("team/tickets", bench.files)
        assert ada.call("POST", "/api/models/team/tickets/tag/main", json={"tag": "v1.0.0"}).status_code == 200
        NewSet(rows=ROWS).put(registry)
        _ask_on_the_page(registry, ada.token or "")
        done = bench.work(registry, tmp_path)
        assert done.returncode == 0, done.stderr
        (job,) = ada.get("/api/petapter/v1/modules/team/tickets/evaluation-jobs").json()["jobs"]
        assert (job["status"], job["problem"]) == ("done", None), done.stderr
        (told,) = ada.get("/api/petapter/v1/modules/team/tickets/evaluations").json()["evaluations"]
        assert (told["status"], told["by"]) == ("verified", "bench")
        assert {each["metric"] for each in told["figures"]} >= {"accuracy", "macro_f1"}
        assert sum(map(sum, told["confusion"])) == len(ROWS)
        (key,) = ada.get("/api/petapter/v1/worker-keys").json()["keys"]
        envelope = Envelope.model_validate(told["envelope"])
        assert is_signed_by(envelope, read_public_key(key["public_key"].encode()))
        assert parse_evaluation(envelope, source="it").predicate.result == "PASSED"
        text = text_of(Browser.of(registry, ada.token).get("/team/tickets"))
        assert "verified" in text
        assert "worker bench" in text
        board = ada.get("/api/petapter/v1/evalsets/team/reviews/leaderboard?metric=accuracy").json()
        assert "verified" in str(board)


def _ask_on_the_page(registry: Registry, token: str) -> None:
    """By the form, as a maintainer does."""
    browser = Browser.of(registry, token)
    assert "Run an evaluation" in text_of(browser.get("/team/tickets"))
    sent = browser.post("/team/tickets/evaluations", {"evaluation_set": "team/reviews@1.0.0", "revision": "v1.0.0"})
    assert (sent.status_code, sent.headers["location"]) == (303, "/team/tickets?revision=v1.0.0#job-1")
    assert "queued" in text_of(browser.get("/team/tickets?revision=v1.0.0"))
    reader = registry.caller("grace")
    assert "Run an evaluation" not in text_of(Browser.of(registry, reader.token).get("/team/tickets"))
    refused = Browser.of(registry, reader.token).post(
        "/team/tickets/evaluations", {"evaluation_set": "team/reviews", "revision": "v1.0.0"}
    )
    assert refused.status_code == 403
