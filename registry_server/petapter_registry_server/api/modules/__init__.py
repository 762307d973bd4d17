"""The registry's native API about modules, `/api/petapter/v1`: what the Hub's protocol has no words for."""

from petapter_registry_server.api.modules import (
    compatibility,
    evaluation_sets,
    evaluations,
    feeds,
    leaderboard,
    maintaining,
    module,
    openapi,
    search,
)

PARTS = (search, module, maintaining, compatibility, evaluation_sets, leaderboard, evaluations, feeds, openapi)
"""The files with routes."""
