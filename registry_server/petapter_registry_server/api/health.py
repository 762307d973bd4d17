"""Whether the server answers, and whether it can do its work."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from petapter_registry_server.api.dependencies import AllServices

router = APIRouter()


@router.get("/health")
async def health() -> dict[str, str]:
    """Answers as soon as requests are taken."""
    return {"status": "ok"}


@router.get("/readyz")
def readiness(services: AllServices) -> JSONResponse:
    """200 when the database answers, files can be written and no sync failed, else 503 with reasons; for balancers."""
    if problems := services.readiness.problems():
        return JSONResponse({"status": "not ready", "problems": problems}, status_code=503)
    return JSONResponse({"status": "ready"})
