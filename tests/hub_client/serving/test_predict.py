"""`/v1/predict`: answers, limits, and errors that never quote a text."""

import asyncio
import json
import logging
from pathlib import Path

import httpx
import pytest

from petapter import Backbone, Engine
from petapter.runtime import BatchLimits
from petapter_schemas.manifest import MANIFEST_FILE, manifest_digest
from tests.hub_client.serving.conftest import App, Hold, StartApp

GOOD = {"module": "reviews", "text": "great food"}
SECRET = "my-secret-words"


async def until_waiting(app: App, texts: int) -> None:
    """Let the loop's other tasks run until so many texts wait."""
    batcher = app.service._batcher
    while batcher is None or batcher.waiting < texts:  # noqa: ASYNC110 (the batcher knows nothing of loops)
        await asyncio.sleep(0)


def test_answers_are_those_of_the_engine_in_order_and_name_the_version(
    app: App, served_modules: dict[str, Path]
) -> None:
    asked = [("reviews", "great food"), ("moods", "awful film"), ("reviews", "i hate this")]
    answer = app.predict(*({"module": module, "text": text} for module, text in asked))
    with Engine(Backbone.load(served_modules["tiny-bert"], device="cpu")) as engine:
        for alias in ("reviews", "moods"):
            engine.load(served_modules[alias], alias)
        expected = engine.predict(asked)
    assert answer.status_code == 200
    for found, one in zip(answer.json()["answers"], expected, strict=True):
        digest = manifest_digest((served_modules[one.alias] / MANIFEST_FILE).read_bytes())
        assert found == {
            "module": one.alias,
            "digest": digest,
            "label": one.label,
            "labels": list(one.labels),
            "probabilities": pytest.approx(one.probabilities, abs=1e-6),
            "lost_tokens": 0,
        }


def test_fields_do_instead_of_a_text(app: App) -> None:
    by_field = app.predict({"module": "reviews", "fields": {"text": "great food"}})
    assert by_field.json() == app.predict(GOOD).json()


def test_a_text_that_was_cut_says_so(app: App) -> None:
    assert app.predict({"module": "reviews", "text": "great food " * 30}).json()["answers"][0]["lost_tokens"] > 0


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"inputs": [{"module": "nobody", "text": SECRET}]}, 404, "'nobody'"),
        ({"inputs": [{"module": "reviews", "fields": {SECRET: SECRET}}]}, 422, "'text' is missing"),
        ({"inputs": [{"module": "reviews", "text": SECRET, SECRET: 1}]}, 422, "inputs.0.?"),
        ({"inputs": [{"module": "reviews", "text": SECRET, "fields": {"text": SECRET}}]}, 422, "either"),
        ({"inputs": [{"module": "reviews"}]}, 422, "either"),
        ({"inputs": [{"module": "reviews", "text": [SECRET]}]}, 422, "inputs.0.text"),
        ({"inputs": [{"text": SECRET}]}, 422, "inputs.0.module"),
        ({"inputs": []}, 422, "inputs"),
        ({"inputs": SECRET}, 422, "inputs"),
        ({SECRET: []}, 422, "inputs"),
        ([SECRET], 422, "body"),
    ],
)
def test_a_bad_request_is_one_line_without_what_was_sent(
    app: App, body: object, status: int, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = app.ask("POST", "/v1/predict", json=body)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}
    assert set(answer.json()["error"]) == {"code", "message"}
    message = answer.json()["error"]["message"]
    assert words in message
    assert "\n" not in message
    assert SECRET not in answer.text + caplog.text


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"[" * 100_000, b'{"inputs": [{"module": "a", "text": "\\ud83d"}]}']
)
def test_what_is_no_json_is_refused(app: App, content: bytes) -> None:
    answer = app.ask("POST", "/v1/predict", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "bad_request"


def test_another_content_type_is_refused(app: App) -> None:
    """A browser sends such bodies to any address without asking first."""
    content = json.dumps({"inputs": [GOOD]})
    answer = app.ask("POST", "/v1/predict", content=content, headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "content_type")


def test_more_texts_than_a_request_may_have_are_refused(start_app: StartApp) -> None:
    app = start_app(inputs=2)
    assert app.predict(GOOD, GOOD).status_code == 200
    answer = app.predict(GOOD, GOOD, GOOD)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert "at most" not in answer.text
    assert "2 of one request" in answer.text


@pytest.mark.parametrize("says_its_length", [True, False])
def test_a_body_that_is_too_large_is_refused(start_app: StartApp, says_its_length: bool) -> None:
    app = start_app(body_bytes=100)

    async def pieces():  # type: ignore[no-untyped-def]  # noqa: ANN202
        for _ in range(3):
            yield b"x" * 50

    content = b"x" * 150 if says_its_length else pieces()
    answer = app.ask("POST", "/v1/predict", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_a_full_queue_answers_429_and_when_to_come_again(start_app: StartApp) -> None:
    app = start_app(inputs=2, batches=BatchLimits(waiting=2))
    with Hold(app.service) as hold:

        async def fill(client: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response]:
            waiting = asyncio.create_task(client.post("/v1/predict", json={"inputs": [GOOD, GOOD]}))
            await until_waiting(app, 2)
            refused = await client.post("/v1/predict", json={"inputs": [GOOD]})
            hold.let_go.set()
            return await waiting, refused

        waiting, refused = app.run(fill)
    assert waiting.status_code == 200
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "busy")
    assert int(refused.headers["Retry-After"]) >= 1


def test_texts_of_many_callers_run_together(app: App) -> None:
    with Hold(app.service) as hold:

        async def ask(client: httpx.AsyncClient) -> list[httpx.Response]:
            tasks = [asyncio.create_task(client.post("/v1/predict", json={"inputs": [GOOD]})) for _ in range(10)]
            await until_waiting(app, 10)
            hold.let_go.set()
            return list(await asyncio.gather(*tasks))

        answers = app.run(ask)
    assert {answer.status_code for answer in answers} == {200}
    assert 'petapter_batch_texts_bucket{le="16.0"} 2.0' in app.ask("GET", "/metrics").text
    assert "petapter_batch_texts_sum 11.0" in app.ask("GET", "/metrics").text


def test_a_bug_is_answered_and_logged_without_texts(app: App, caplog: pytest.LogCaptureFixture) -> None:
    def broken(requests: object) -> None:
        raise RuntimeError(str(requests))  # as libraries quote what they were given

    assert app.service._engine is not None
    app.service._engine.predict = broken  # type: ignore[assignment,method-assign]
    with caplog.at_level(logging.INFO):
        answer = app.predict({"module": "reviews", "text": SECRET})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    assert "RuntimeError" in caplog.text
    assert "test_predict.py" in caplog.text
    assert SECRET not in caplog.text + answer.text


def test_a_predict_token_is_asked_for(start_app: StartApp) -> None:
    app = start_app(predict="p" * 16, admin="a" * 16)
    refused = app.predict(GOOD)
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    for authorization in ("Bearer wrong", "p" * 16, "Basic " + "p" * 16, "Bearer "):
        assert app.predict(GOOD, headers={"Authorization": authorization}).status_code == 401
    for token in ("p" * 16, "a" * 16):
        assert app.predict(GOOD, headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert app.ask("GET", "/v1/modules").status_code == 401
    assert app.ask("GET", "/healthz").status_code == 200


def test_the_contract_is_described(app: App) -> None:
    described = app.ask("GET", "/openapi.json").json()
    assert described["info"]["title"] == "petapter serve"
    body = described["paths"]["/v1/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]["inputs"]["items"]["properties"]) == {"module", "text", "fields"}
    assert "$ref" not in json.dumps(body)
