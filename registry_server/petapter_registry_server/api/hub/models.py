"""model_info and list_models."""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse

from petapter_registry_server.api.addresses import next_page
from petapter_registry_server.api.at_once import at_once
from petapter_registry_server.api.dependencies import AllServices, CurrentCaller
from petapter_registry_server.api.hub.model_filters import MATCHED_BY_NONE, read_gated, read_parameter_bounds
from petapter_registry_server.api.hub.model_shapes import Shape, check_expand, model_shape
from petapter_registry_server.api.hub.notices import warning_header
from petapter_registry_server.api.hub.revision import revision_of
from petapter_registry_server.api.raw_path import Segment
from petapter_registry_server.db.repositories import MAIN
from petapter_registry_server.db.search import ListQuery, Order, Position
from petapter_registry_server.errors import InvalidRequestError, RepositoryNotFoundError
from petapter_registry_server.services.access import Caller
from petapter_registry_server.services.revisions import At
from petapter_registry_server.services.wired import Services

router = APIRouter()

_MAX_PAGE = 1000
"""As the Hub; who asks for more follows `Link`."""
_MAX_PAGE_OF_TREES = 100
"""Where each model comes with its files, of which it may have a thousand."""
_CURSOR = re.compile(rb"([0-9]{1,18})\.([0-9]{1,9})")
_ORDERS: dict[str, Order] = {
    "lastModified": "lastModified",
    "last_modified": "lastModified",
    "createdAt": "createdAt",
    "created_at": "createdAt",
    "downloads": "downloads",
    "trendingScore": "downloads",
    "trending_score": "downloads",
    "likes": "createdAt",
}
"""Nobody likes anything here, so all are alike by that and the newest come first; what is downloaded most trends."""


@dataclass(frozen=True)
class InfoQuery:
    """What a client wants to see of a model."""

    expand: Sequence[str] | None
    blobs: bool


async def _info_query(
    expand: Annotated[list[str] | None, Query()] = None,
    expand_js: Annotated[list[str] | None, Query(alias="expand[]")] = None,
    *,
    blobs: Annotated[bool, Query()] = False,
) -> InfoQuery:
    """`expand[]` is how JavaScript clients write it."""
    return InfoQuery(check_expand([*(expand or []), *(expand_js or [])]), blobs)


AskedInfo = Annotated[InfoQuery, Depends(_info_query)]


class SearchQuery:
    """What a client looks for; repeated words and filters must all match."""

    def __init__(
        self,
        request: Request,
        author: Annotated[str | None, Query()] = None,
        pipeline_tag: Annotated[str | None, Query()] = None,
        sort: Annotated[str, Query()] = "lastModified",
        limit: Annotated[int, Query(ge=1)] = 100,
        cursor: Annotated[str | None, Query()] = None,
    ) -> None:
        asked = request.query_params
        if sort not in _ORDERS:
            raise InvalidRequestError(
                f"this registry cannot sort by {sort[:40]!r}: use lastModified, createdAt, downloads, likes "
                "or trendingScore"
            )
        if zero := [name for name, value in asked.multi_items() if "\0" in value]:
            raise InvalidRequestError(f"{zero[0]}: a zero byte is no text")  # SQLite would end the word there
        self.query = ListQuery(
            author=author,
            words=tuple(word.casefold() for word in asked.getlist("search") if word),
            tags=tuple(tag for tag in asked.getlist("filter") if tag),
            pipeline_tag=pipeline_tag,
            order=_ORDERS[sort],
            limit=min(limit, _MAX_PAGE),
            after=_read_cursor(cursor) if cursor else None,
            gated=read_gated(asked.get("gated")),
            parameters=read_parameter_bounds(asked.get("num_parameters")),
        )
        self.finds_nothing = any(asked.get(name) for name in MATCHED_BY_NONE)


class ListShape:
    """How much of each listed model a client wants."""

    def __init__(
        self,
        info: AskedInfo,
        *,
        full: Annotated[bool, Query()] = False,
        card: Annotated[bool, Query(alias="cardData")] = False,
    ) -> None:
        self.shape = Shape(expand=info.expand, siblings=full, card=full or card)
        self.with_trees = full or "siblings" in (info.expand or ())


@router.get("/api/models")
def list_models(
    request: Request,
    search: Annotated[SearchQuery, Depends()],
    wanted: Annotated[ListShape, Depends()],
    caller: CurrentCaller,
    services: AllServices,
) -> JSONResponse:
    """One page of models, newest first, and the address of the next page."""
    if search.finds_nothing:
        return JSONResponse([])
    query = (
        replace(search.query, limit=min(search.query.limit, _MAX_PAGE_OF_TREES)) if wanted.with_trees else search.query
    )
    page = services.reading.list_models(caller, query, with_trees=wanted.with_trees)
    headers = next_page(request, cursor=_write_cursor(page.next)) if page.next else {}
    return JSONResponse([model_shape(model, wanted.shape) for model in page.models], headers=headers)


@router.get("/api/models/{namespace}/{name}")
async def model_info(
    namespace: Segment,
    name: Segment,
    info: AskedInfo,
    caller: CurrentCaller,
    services: AllServices,
) -> Response:
    """A model at the head of main."""
    return await at_once(lambda: _info(At(f"{namespace}/{name}", MAIN), info, caller, services, {}))


@router.get("/api/models/{namespace}/{name}/revision/{revision}")
def model_info_at(
    at: Annotated[At, Depends(revision_of)],
    info: AskedInfo,
    caller: CurrentCaller,
    services: AllServices,
) -> Response:
    """A model at a revision."""
    return _info(at, info, caller, services, warning_header(services.reading.notice(caller, at)))


@router.get("/api/models/{name}")
def model_without_namespace(name: Segment, caller: CurrentCaller) -> None:
    """Every model of this registry has a namespace."""
    del caller
    raise RepositoryNotFoundError(name)


def _info(at: At, info: InfoQuery, caller: Caller, services: Services, headers: Mapping[str, str]) -> Response:
    model = services.reading.model(caller, at)
    shape = Shape(expand=info.expand, siblings=True, blobs=info.blobs, card=True)
    stored = services.reading.stored_bytes(caller, at.repo_id)
    return JSONResponse(model_shape(model, shape, stored_bytes=stored), headers=headers)


def _write_cursor(position: Position) -> str:
    return base64.urlsafe_b64encode(f"{position.value}.{position.id}".encode()).decode()


def _read_cursor(cursor: str) -> Position:
    try:
        match = _CURSOR.fullmatch(base64.urlsafe_b64decode(cursor))
    except ValueError:
        match = None
    if match is None:
        raise InvalidRequestError("cursor: use the address of the Link header as it is")
    return Position(int(match[1]), int(match[2]))
