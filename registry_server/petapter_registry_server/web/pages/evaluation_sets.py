"""Evaluation sets as pages: all of them, and one with its leaderboard; every choice stands in the address."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends, Request, Response

from petapter_registry_server.api.addresses import address_of
from petapter_registry_server.api.dependencies import AllServices
from petapter_registry_server.api.modules import leaderboard
from petapter_registry_server.api.modules.evaluation_sets import SetsQuery, refuse_unknown
from petapter_registry_server.api.modules.leaderboard import BoardQuery
from petapter_registry_server.api.raw_path import Segment
from petapter_registry_server.errors import BlobUnavailableError, EvaluationSetNotFoundError, RowsNotHereError
from petapter_registry_server.services.evaluation_sets import SetName
from petapter_registry_server.services.leaderboards import BOARD_SORTS, STANDINGS
from petapter_registry_server.services.wired import Services
from petapter_registry_server.web.drawing import whisker
from petapter_registry_server.web.rendering import page
from petapter_registry_server.web.routing import page_router
from petapter_registry_server.web.visitors import CurrentVisitor, Visitor
from petapter_schemas.evaluation_api import EvaluationSetDetail, EvaluationSetFacts, Leaderboard

router = page_router()

SHOWN_ROWS = 5
"""Of a set whose rows are here."""

Pairs = Sequence[tuple[str, str]]

_SORTS = {"standing": "status", "value": "value, whoever says it", "name": "name", "updated": "date"}


@dataclass(frozen=True)
class Choice:
    """A value that one can choose, and where that leads."""

    text: str
    href: str
    is_chosen: bool
    modules: int | None = None


@dataclass(frozen=True)
class Baseline:
    """What it is worth to say the commonest label of every row."""

    label: str
    accuracy: float


def _set_name(namespace: Segment, name: Segment) -> str:
    return f"{namespace}/{name}"


@router.get("/evalsets", dependencies=[Depends(refuse_unknown)])
def evaluation_sets_page(
    request: Request, query: Annotated[SetsQuery, Depends()], visitor: CurrentVisitor, services: AllServices
) -> Response:
    """Evaluation sets by words and whose they are."""
    asked = query.question
    pairs = request.query_params.multi_items()
    found = services.evaluation_sets.search(visitor.caller, asked)
    return page(
        request,
        "evalsets.html",
        found=found,
        asked=asked,
        orders=[
            Choice(text, _address("/evalsets", _with(pairs, "sort", order)), order == asked.order)
            for order, text in (("updated", "date"), ("name", "name"))
        ],
        next=_address("/evalsets", _with(pairs, "cursor", found.next)) if found.next else None,
        first=_address("/evalsets", _without(pairs, "cursor")) if asked.cursor else None,
    )


@router.get("/evalsets/{namespace}/{name}", dependencies=[Depends(leaderboard.refuse_unknown)])
def evaluation_set_page(
    full_name: Annotated[str, Depends(_set_name)],
    request: Request,
    query: Annotated[BoardQuery, Depends()],
    visitor: CurrentVisitor,
    services: AllServices,
) -> Response:
    """A set at one version, and what modules were measured at on its rows."""
    detail = services.evaluation_sets.detail(visitor.caller, full_name)
    board = services.leaderboards.board(visitor.caller, full_name, query.question)
    facts = _facts_at(detail, board.version)
    path, pairs = f"/evalsets/{detail.id}", request.query_params.multi_items()
    return page(
        request,
        "evalset.html",
        detail=detail,
        facts=facts,
        is_newest=facts == detail.versions[0],
        board=board,
        lines=[(line, whisker(line)) for line in board.lines],
        metrics=_metrics(path, pairs, board),
        standings=_standings(path, pairs, query.question.standings),
        sorts=[
            Choice(_SORTS[sort], _address(path, _with(pairs, "sort", sort)), sort == board.sort) for sort in BOARD_SORTS
        ],
        baseline=_baseline(facts, board),
        rows=_first_rows(visitor, services, facts),
        endpoint=address_of(request),
    )


def _facts_at(detail: EvaluationSetDetail, version: str) -> EvaluationSetFacts:
    facts = next((each for each in detail.versions if each.version == version), None)
    if facts is None:  # published between two reads
        raise EvaluationSetNotFoundError(f"{detail.id} of version {version!r}")
    return facts


def _metrics(path: str, pairs: Pairs, board: Leaderboard) -> list[Choice]:
    return [
        Choice(
            each.metric, _address(path, _with(pairs, "metric", each.metric)), each.metric == board.metric, each.modules
        )
        for each in board.metrics
    ]


def _standings(path: str, pairs: Pairs, chosen: Iterable[str]) -> list[Choice]:
    """Each turns figures of a status on or off; none chosen is all."""
    every = Choice("all", _address(path, _without(pairs, "status")), not [*chosen])
    choices = []
    for name in STANDINGS:
        is_chosen = name in chosen
        others = [pair for pair in pairs if pair != ("status", name)]
        choices.append(Choice(name, _address(path, others if is_chosen else [*others, ("status", name)]), is_chosen))
    return [every, *choices]


def _baseline(facts: EvaluationSetFacts, board: Leaderboard) -> Baseline | None:
    if facts.type != "single-label" or board.metric != "accuracy":
        return None
    most = max(facts.counts)
    return Baseline(facts.labels[facts.counts.index(most)], most / facts.n)


def _first_rows(visitor: Visitor, services: Services, facts: EvaluationSetFacts) -> list[dict[str, str]]:
    """Some rows, where they are here; a page can do without."""
    try:
        stored = services.evaluation_sets.rows(visitor.caller, SetName(facts.id, facts.version))
        return services.evaluation_sets.first_rows(stored, SHOWN_ROWS)
    except (RowsNotHereError, BlobUnavailableError):
        return []


def _with(pairs: Pairs, name: str, value: str) -> Pairs:
    return [*(pair for pair in _without(pairs, name) if pair[0] != "cursor"), (name, value)]


def _without(pairs: Pairs, name: str) -> list[tuple[str, str]]:
    return [pair for pair in pairs if pair[0] != name]


def _address(path: str, pairs: Iterable[tuple[str, str]]) -> str:
    query = urlencode(list(pairs))
    return f"{path}?{query}" if query else path
