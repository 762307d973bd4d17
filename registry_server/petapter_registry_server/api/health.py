"""Whether the server answers."""

from fastapi import APIRouter

router = APIRouter()


@router.get("/health")
def health() -> dict[str, str]:
    """Answers as soon as requests are taken."""
    return {"status": "ok"}
