"""The registry's native API about modules, `/api/petapter/v1`: what the Hub's protocol has no words for."""

from fastapi import Response

from petapter_registry_server.api.modules import feeds, openapi
from petapter_schemas.registry_api import API_HEADER

PARTS = (*openapi.DESCRIBED, feeds, openapi)
"""The files with routes: those that the description describes, the feeds, and the description."""


async def mark(response: Response) -> None:
    """Say that the answer is one of this API, by which clients know a registry from the Hub."""
    response.headers[API_HEADER] = "1"
