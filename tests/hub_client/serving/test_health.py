"""Health, readiness and metrics through the life of a service."""

import threading

import httpx
import pytest

from petapter_hub_client.serving.metrics import Metrics
from petapter_hub_client.serving.options import ServeOptions
from petapter_hub_client.serving.service import Service
from tests.hub_client.serving.conftest import App, Hold

GOOD = {"module": "reviews", "text": "great food"}


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_service_that_starts_lives_but_is_not_ready() -> None:
    app = App(Service(ServeOptions(), metrics := Metrics()), metrics)
    assert app.ask("GET", "/healthz").status_code == 200
    for method, path in (("GET", "/readyz"), ("GET", "/v1/modules")):
        assert code(app.ask(method, path)) == (503, "starting")
    assert code(app.predict(GOOD)) == (503, "starting")
    assert "petapter_queue_texts 0.0" in app.ask("GET", "/metrics").text
    app.service.close()


def test_a_started_service_is_ready(app: App) -> None:
    assert app.ask("GET", "/readyz").json() == {"status": "ready"}


def test_a_draining_service_answers_what_it_took_and_nothing_more(app: App) -> None:
    with Hold(app.service):
        taken = app.service.submit([("moods", "great")])
        app.service.refuse()
        assert code(app.ask("GET", "/readyz")) == (503, "draining")
        refused = app.predict(GOOD)
        assert code(refused) == (503, "draining")
        assert "Retry-After" in refused.headers
        assert app.ask("GET", "/healthz").status_code == 200
        assert app.ask("GET", "/metrics").status_code == 200
    app.service.close()
    assert taken.result(0)[0].prediction.alias == "moods"


def test_a_service_whose_thread_has_ended_is_not_ready(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _ended: None)
    assert app.service._batcher is not None
    app.service._batcher._on_batch = lambda _report: 1 / 0  # type: ignore[assignment,return-value]
    app.predict(GOOD)
    app.service._batcher._thread.join()
    assert code(app.ask("GET", "/readyz")) == (503, "draining")
    assert app.ask("GET", "/metrics").status_code == 200


def test_metrics_tell_what_happened(app: App) -> None:
    app.predict(GOOD, GOOD | {"module": "moods"})
    app.predict(GOOD | {"module": "nobody"})
    app.ask("GET", "/some/where")
    lines = app.ask("GET", "/metrics").text.splitlines()
    for line in (
        'petapter_requests_total{route="POST /v1/predict",status="200"} 1.0',
        'petapter_requests_total{route="POST /v1/predict",status="404"} 1.0',
        'petapter_requests_total{route="other",status="404"} 1.0',
        "petapter_queue_texts 0.0",
        "petapter_modules 2.0",
        "petapter_modules_resident 2.0",
        "petapter_encodings_total 3.0",
    ):
        assert line in lines
    assert any(line.startswith("petapter_tokens_total ") and float(line.split()[1]) > 0 for line in lines)


def test_rejections_are_counted(app: App) -> None:
    app.ask("DELETE", "/v1/modules/reviews")
    assert 'petapter_rejections_total{code="admin_off"} 1.0' in app.ask("GET", "/metrics").text


def test_every_route_that_is_not_there_answers_in_the_one_form(app: App) -> None:
    assert code(app.ask("GET", "/v2")) == (404, "no_route")
    assert code(app.ask("GET", "/v1/predict")) == (405, "method")


@pytest.mark.parametrize("closed_before", [False, True])
def test_a_service_can_be_closed_twice(app: App, closed_before: bool) -> None:
    if closed_before:
        app.service.close()
    app.service.close()
