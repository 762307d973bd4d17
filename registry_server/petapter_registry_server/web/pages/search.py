"""The search for modules, which is also the first page; every choice stands in its address."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends, Request, Response

from petapter_registry_server.api.dependencies import AllServices
from petapter_registry_server.api.modules.search import (
    BackboneQuery,
    ShownQuery,
    WhatQuery,
    question_of,
    refuse_unknown,
)
from petapter_registry_server.services.module_search import ORDERS
from petapter_registry_server.web.rendering import page
from petapter_registry_server.web.routing import page_router
from petapter_registry_server.web.visitors import CurrentVisitor
from petapter_schemas.registry_api import ModulePage

router = page_router()

COUNTED = 300
"""Modules that the facets of a page count: twice as many take twice as long."""

_FACETS = {
    "task": "Task",
    "label": "Labels",
    "language": "Language",
    "backbone": "Backbone",
    "adapter": "Adapter",
    "metric": "Figures",
    "status": "Figures are",
}
_SHOWN_VALUES = 8
_MANY = frozenset({"label", "language", "where", "status"})
_NAMES = {
    "text": "words", "label": "label", "labels": "labels are", "task": "task", "language": "language",
    "backbone": "backbone", "config": "config", "weights": "weights", "tokenizer": "tokenizer", "adapter": "adapter",
    "kind": "kind", "namespace": "by", "where": "figure", "status": "figures are",
}  # fmt: skip

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Choice:
    """A value that one can filter by, or take out of the filter."""

    text: str
    href: str
    modules: int | None = None
    is_chosen: bool = False


@dataclass(frozen=True)
class Facet:
    """What one can choose of one property; `more` choices are folded away."""

    title: str
    choices: Sequence[Choice]
    more: Sequence[Choice]


@router.get("/", dependencies=[Depends(refuse_unknown)])
def search_page(
    request: Request,
    what: Annotated[WhatQuery, Depends()],
    on: Annotated[BackboneQuery, Depends()],
    shown: Annotated[ShownQuery, Depends()],
    visitor: CurrentVisitor,
    services: AllServices,
) -> Response:
    """Modules by what they classify, run on and were measured at."""
    question = replace(question_of(what, on, shown), facets=tuple(_FACETS), counted=COUNTED)
    found = services.module_search.search(visitor.caller, question)
    pairs = [(name, value) for name, value in request.query_params.multi_items() if name != "facet"]
    is_part = "hx-request" in request.headers and "hx-history-restore-request" not in request.headers
    return page(
        request,
        "found.html" if is_part else "search.html",
        found=found,
        what=what,
        bounds=[str(bound) for bound in shown.bounds],
        chosen=_chosen(pairs),
        kept=[(name, value) for name, value in pairs if name not in {"text", "where", "sort", "cursor", "limit"}],
        facets=[_facet(name, title, found, pairs) for name, title in _FACETS.items()],
        orders=[
            Choice(order, _address(_with(pairs, "sort", order)), is_chosen=order == shown.order) for order in ORDERS
        ],
        order=shown.order,
        next=_address([*_without(pairs, "cursor"), ("cursor", found.next)]) if found.next else None,
        first=_address(_without(pairs, "cursor")) if shown.cursor else None,
    )


def _facet(name: str, title: str, found: ModulePage, pairs: Pairs) -> Facet:
    parameter = "where" if name == "metric" else name
    choices = []
    for value in found.facets.get(name, ()):
        chosen = f"{value.value}>=0" if name == "metric" else value.value
        if any(chosen.casefold() == text.casefold() for key, text in pairs if key == parameter):
            continue  # it stands above, with what was chosen
        href = _address(_with(pairs, parameter, chosen))
        choices.append(Choice(value.value, href, value.modules if found.complete else None))
    return Facet(title, choices[:_SHOWN_VALUES], choices[_SHOWN_VALUES:])


def _chosen(pairs: Pairs) -> list[Choice]:
    """What is filtered by; each leads to the search without it."""
    return [
        Choice(f"{_NAMES[name]}: {value}", _address(_dropped(pairs, number)), is_chosen=True)
        for number, (name, value) in enumerate(pairs)
        if name in _NAMES
    ]


def _with(pairs: Pairs, name: str, value: str) -> Pairs:
    kept = [pair for pair in _without(pairs, "cursor") if pair[0] != name or name in _MANY]
    return [*kept, (name, value)]


def _without(pairs: Pairs, name: str) -> list[tuple[str, str]]:
    return [pair for pair in pairs if pair[0] != name]


def _dropped(pairs: Pairs, number: int) -> Pairs:
    left = [pair for place, pair in enumerate(pairs) if place != number and pair[0] != "cursor"]
    has_bound = any(name == "where" for name, _ in left)
    return left if has_bound else [pair for pair in left if pair != ("sort", "metric")]


def _address(pairs: Iterable[tuple[str, str]]) -> str:
    query = urlencode(list(pairs))
    return f"/?{query}" if query else "/"
