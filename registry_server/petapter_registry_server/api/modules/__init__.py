"""The registry's native API about modules, `/api/petapter/v1`: what the Hub's protocol has no words for."""

from petapter_registry_server.api.modules import openapi

PARTS = (*openapi.DESCRIBED, openapi)
"""The files with routes: those that the description describes, and the description."""
