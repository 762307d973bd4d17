"""The leaderboard of an evaluation set."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from petapter_registry_server.api.dependencies import AllServices, CurrentCaller
from petapter_registry_server.api.problems import PROBLEMS
from petapter_registry_server.api.raw_path import Segment
from petapter_registry_server.errors import InvalidRequestError
from petapter_registry_server.services.leaderboards import MAX_LINES, BoardQuestion, check_standings
from petapter_schemas.evaluation_api import BoardSort, Leaderboard
from petapter_schemas.registry_api import API

router = APIRouter(prefix=API, tags=["evaluation sets"], responses=PROBLEMS)

_PARAMETERS = frozenset({"version", "metric", "status", "sort", "limit"})


def refuse_unknown(request: Request) -> None:
    """A misspelt filter would otherwise show everything."""
    if unknown := sorted(set(request.query_params) - _PARAMETERS):
        raise InvalidRequestError(f"parameter {unknown[0][:40]!r} is unknown: use {', '.join(sorted(_PARAMETERS))}")


class BoardQuery:
    """Which figures to show, and in which order."""

    def __init__(
        self,
        version: Annotated[str | None, Query(max_length=100, description="Of the set; the newest by default.")] = None,
        metric: Annotated[str | None, Query(max_length=200)] = None,
        status: Annotated[
            list[str] | None, Query(max_length=10, description="verified, reproduced, declared or disputed.")
        ] = None,
        sort: Annotated[
            BoardSort, Query(description="By status and then best first, best first, by name, or the latest first.")
        ] = "standing",
        limit: Annotated[int, Query(ge=1, le=MAX_LINES)] = MAX_LINES,
    ) -> None:
        self.question = BoardQuestion(version, metric, check_standings(status or ()), sort, limit)


def _set_name(namespace: Segment, name: Segment) -> str:
    return f"{namespace}/{name}"


@router.get("/evalsets/{namespace}/{name}/leaderboard", dependencies=[Depends(refuse_unknown)])
def show_leaderboard(
    full_name: Annotated[str, Depends(_set_name)],
    query: Annotated[BoardQuery, Depends()],
    caller: CurrentCaller,
    services: AllServices,
) -> Leaderboard:
    """How modules were measured on the rows of a set, what is measured here before what is declared."""
    return services.leaderboards.board(caller, full_name, query.question)
