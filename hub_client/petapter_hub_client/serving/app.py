"""The one place that wires the service: a service in, an ASGI application out."""

from fastapi import FastAPI

from petapter_hub_client.serving.errors import add_error_answers
from petapter_hub_client.serving.gate import Gate
from petapter_hub_client.serving.metrics import Metrics
from petapter_hub_client.serving.routes import router
from petapter_hub_client.serving.service import Service

_DESCRIPTION = (
    "Few-shot text classification modules on one frozen backbone. Every error is "
    '`{"error": {"code": …, "message": …}}`; no text that was sent appears in an error or a log.'
)


def create_app(service: Service, metrics: Metrics, version: str) -> FastAPI:
    """The application over a service, which is started and closed by the caller.

    Args:
        service: What answers.
        metrics: Those of the service.
        version: To be shown in /openapi.json.
    """
    app = FastAPI(title="petapter serve", version=version, description=_DESCRIPTION, redirect_slashes=False)
    app.state.service = service
    app.state.metrics = metrics
    app.include_router(router)
    add_error_answers(app)
    app.add_middleware(Gate, metrics=metrics, body_bytes=service.options.body_bytes)
    return app
