"""`petapter serve` as a process: it starts, drains on a signal, and refuses in one line what it cannot serve."""

import json
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from petapter_hub_client.exit_codes import ExitCode
from tests.hub_client.conftest import Petapter
from tests.hub_client.serving.conftest import AS_ADMIN, WAIT_S, App, StartProcess

TEXT = "great food " * 8
pytestmark = pytest.mark.slow

EVERYWHERE = "0.0.0.0"  # noqa: S104 (what is warned of)
LINES = [{"module": "reviews", "text": TEXT}] * 256


def post(url: str, inputs: list[dict[str, str]]) -> httpx.Response:
    return httpx.post(f"{url}/v1/predict", json={"inputs": inputs}, timeout=WAIT_S)


def waiting(url: str) -> float:
    """How many texts wait."""
    text = httpx.get(f"{url}/metrics", timeout=WAIT_S).text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("petapter_queue_texts "))


def test_what_was_accepted_is_answered_after_sigterm_and_the_end_is_zero(
    start_process: StartProcess, served_modules: dict[str, Path]
) -> None:
    running = start_process("--module", served_modules["reviews"], "--batch", "1", "--queue", "8192")
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(post, running.url, LINES) for _ in range(8)]
        while waiting(running.url) < 1024:
            assert not all(one.done() for one in asked), "the engine was too fast for this test"
        running.process.send_signal(signal.SIGTERM)
        answers = [one.result(WAIT_S) for one in asked]
    accepted = [answer for answer in answers if answer.status_code == 200]
    assert len(accepted) >= 4
    assert all(len(answer.json()["answers"]) == 256 for answer in accepted)
    assert {answer.json()["error"]["code"] for answer in answers if answer.status_code != 200} <= {"draining"}
    assert running.process.wait(WAIT_S) == 0


@pytest.mark.parametrize("how", ["second signal", "--drain-seconds"])
def test_a_second_signal_or_the_end_of_patience_drops_what_waits(
    start_process: StartProcess, served_modules: dict[str, Path], tmp_path: Path, how: str
) -> None:
    patience = "0" if how == "--drain-seconds" else "600"
    running = start_process(
        "--module", served_modules["reviews"], "--batch", "1", "--queue", "8192", "--drain-seconds", patience
    )
    with ThreadPoolExecutor(24) as pool:
        asked = [pool.submit(post, running.url, LINES) for _ in range(24)]
        while waiting(running.url) < 4096:
            assert not all(one.done() for one in asked), "the engine was too fast for this test"
        running.process.send_signal(signal.SIGINT)
        if how == "second signal":
            while httpx.get(f"{running.url}/readyz", timeout=WAIT_S).status_code == 200:
                pass
            running.process.send_signal(signal.SIGTERM)
        answers = [one.result(WAIT_S) for one in asked]
    assert "draining" in {answer.json()["error"]["code"] for answer in answers if answer.status_code == 503}
    assert running.process.wait(WAIT_S) == 1
    assert "were dropped" in (tmp_path / "serve.log").read_text().splitlines()[-1]


def test_a_full_queue_is_429_over_the_wire(start_process: StartProcess, served_modules: dict[str, Path]) -> None:
    running = start_process("--module", served_modules["reviews"], "--batch", "1", "--queue", "256")
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: post(running.url, LINES), range(6)))
    by_status = {answer.status_code: answer for answer in answers}
    assert set(by_status) == {200, 429}
    assert int(by_status[429].headers["Retry-After"]) >= 1


def test_a_module_is_loaded_from_the_registry_while_others_are_asked(
    start_process: StartProcess, served_modules: dict[str, Path], lab: Petapter, repo_id: str
) -> None:
    assert lab("push", served_modules["moods"], repo_id).code == 0
    running = start_process("--module", served_modules["reviews"])
    with running.client(**AS_ADMIN) as client, ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(post, running.url, LINES[:16]) for _ in range(40)]
        statuses = []
        for _ in range(4):
            statuses.append(client.put("/v1/modules/fresh", json={"module": f"lab:{repo_id}"}).status_code)
            statuses.append(client.put("/v1/modules/fresh", json={"module": f"lab:{repo_id}"}).status_code)
            assert post(running.url, [{"module": "fresh", "text": TEXT}]).status_code == 200
            statuses.append(client.delete("/v1/modules/fresh").status_code)
        assert {one.result(WAIT_S).status_code for one in asking} == {200}
    assert statuses == [201, 200, 204] * 4


def test_a_stack_is_served(
    start_process: StartProcess, served_modules: dict[str, Path], petapter: Petapter, tmp_path: Path
) -> None:
    stack = tmp_path / "stack.yaml"
    stars = {"module": str(served_modules["moods"]), "patterns": [1]}
    stack.write_text(json.dumps({"backbone": str(served_modules["tiny-bert"]), "modules": {"stars": stars}}))
    locked = petapter("stack", "lock", stack)
    assert locked.code == 0, locked
    with start_process("--stack", stack).client() as client:
        (module,) = client.get("/v1/modules").json()["modules"]
        assert (module["alias"], module["patterns"]) == ("stars", ["it was {mask} . {text}"])
        answer = client.post("/v1/predict", json={"inputs": [{"module": "stars", "text": TEXT}]}).json()["answers"][0]
    assert answer["digest"] == module["digest"]


def test_a_stack_that_drifted_is_not_served(
    served_modules: dict[str, Path], petapter: Petapter, tmp_path: Path
) -> None:
    stack = tmp_path / "stack.yaml"
    modules = {"stars": str(served_modules["moods"])}
    stack.write_text(json.dumps({"backbone": str(served_modules["tiny-bert"]), "modules": modules}))
    assert "stack.lock" in petapter("serve", "--stack", stack, "--port", "0").error
    ran = petapter("serve", "--stack", stack, "--module", served_modules["reviews"])
    assert "give --stack alone" in ran.error


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "nothing to serve"),
        (["--module", "{reviews}", "--module", "{reviews}"], "two modules"),
        (["--module", "{tiny-bert}"], "petapter.json"),
        (["--module", "nowhere:team/x"], "'nowhere'"),
        (["--module", "{reviews}", "--queue", "10"], "--max-inputs"),
        (["--module", "{reviews}", "--admin-token-file", "{short}"], "no usable token"),
        (["--module", "{reviews}", "--admin-token-file", "/nowhere"], "No such file"),
        (["--module", "{reviews}", "--host", "nobody.invalid"], "cannot listen"),
        (["--stack", "/nowhere/stack.yaml"], "/nowhere/stack.yaml"),
    ],
)
def test_what_cannot_be_served_is_one_line(
    petapter: Petapter, served_modules: dict[str, Path], tmp_path: Path, options: list[str], words: str
) -> None:
    short = tmp_path / "short"
    short.write_text("short\n")
    places = {**served_modules, "short": short}
    filled = [option.format(**{name: str(path) for name, path in places.items()}) for option in options]
    assert words in petapter("serve", "--port", "0", *filled).error


def test_without_its_libraries_one_line_says_what_to_install(
    petapter: Petapter, served_modules: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("petapter_hub_client.commands.serve.find_spec", lambda _name: None)
    assert "petapter[serve]" in petapter("serve", "--module", served_modules["reviews"]).error


def test_a_port_that_is_taken_is_one_line(petapter: Petapter, served_modules: dict[str, Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "choose another --port" in petapter("serve", "--module", served_modules["reviews"], "--port", port).error


def test_a_service_open_to_others_warns_without_a_predict_token(
    petapter: Petapter, served_modules: dict[str, Path]
) -> None:
    ran = petapter("serve", "--module", served_modules["tiny-bert"], "--host", EVERYWHERE, "--port", "0")
    assert ran.code == ExitCode.UNFIT_MODULE  # a backbone is no module, so nothing is served
    assert "--predict-token-file" in ran.err


def test_a_service_in_bfloat16_answers_but_for_the_rounding(
    start_process: StartProcess, app: App, served_modules: dict[str, Path]
) -> None:
    asked = [{"module": "reviews", "text": text} for text in ("great food", "awful food", TEXT)]
    running = start_process("--module", served_modules["reviews"], "--precision", "bfloat16")
    half, single = (
        [answer["probabilities"]["good"] for answer in answered.json()["answers"]]
        for answered in (post(running.url, asked), app.predict(*asked))
    )
    assert half != single
    assert half == pytest.approx(single, abs=0.05)
