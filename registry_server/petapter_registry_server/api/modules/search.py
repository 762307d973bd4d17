"""The search for modules."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from petapter_registry_server.api.dependencies import AllServices, CurrentCaller
from petapter_registry_server.api.problems import PROBLEMS
from petapter_registry_server.db.module_search import Order
from petapter_registry_server.errors import InvalidRequestError
from petapter_registry_server.services.module_search import MAX_PAGE, LabelMode, ModuleQuestion, check_facets
from petapter_schemas.card_metadata import published_backbone
from petapter_schemas.evaluation_api import Standing
from petapter_schemas.metric_bound import MetricBound
from petapter_schemas.registry_api import API, ModulePage

router = APIRouter(prefix=API, tags=["modules"], responses=PROBLEMS)

_MAX_TEXT = 500
_PARAMETERS = frozenset(
    {"text", "label", "labels", "task", "language", "backbone", "config", "weights", "tokenizer", "adapter", "kind",
     "namespace", "where", "status", "sort", "limit", "cursor", "facet"}
)  # fmt: skip
Words = Annotated[str | None, Query(max_length=_MAX_TEXT)]
Many = Annotated[list[str] | None, Query(max_length=20)]


class WhatQuery:
    """What a module classifies, and how it is called."""

    def __init__(
        self,
        text: Annotated[str, Query(max_length=_MAX_TEXT, description="Words that its words begin with.")] = "",
        label: Annotated[list[str] | None, Query(max_length=20, description="A label; may be repeated.")] = None,
        labels: Annotated[LabelMode, Query(description="All of them, exactly them, or as many.")] = "superset",
        task: Annotated[str | None, Query(description="single-label or multi-label.")] = None,
        language: Many = None,
        namespace: Words = None,
    ) -> None:
        self.text = text
        self.labels = tuple(label or ())
        self.label_mode = labels
        self.properties = [("language", each) for each in language or ()]
        self.properties += [(name, value) for name, value in (("task", task), ("namespace", namespace)) if value]


class BackboneQuery:
    """What a module runs on."""

    def __init__(
        self,
        backbone: Annotated[str | None, Query(max_length=_MAX_TEXT, description="The backbone's name.")] = None,
        weights: Annotated[str | None, Query(description="How the sha256 of its weights begins.")] = None,
        config: Annotated[str | None, Query(description="Likewise, of its configuration.")] = None,
        tokenizer: Annotated[str | None, Query(description="Likewise, of its tokenizer.")] = None,
        adapter: Annotated[str | None, Query(max_length=_MAX_TEXT, description="lora, ia3, bottleneck, …")] = None,
        kind: Annotated[str | None, Query(description="petapter, or peft for a plain adapter.")] = None,
    ) -> None:
        named = (("backbone", backbone and published_backbone(backbone)), ("adapter", adapter), ("kind", kind))
        self.properties = [(name, value) for name, value in named if value]
        digests = (("weights", weights), ("config", config), ("tokenizer", tokenizer))
        self.fingerprints = tuple((name, value) for name, value in digests if value)


class ShownQuery:
    """Which results to show, and in which order."""

    def __init__(
        self,
        where: Annotated[list[str] | None, Query(max_length=20, description="macro_f1@SET>=0.74")] = None,
        status: Annotated[
            list[Standing] | None, Query(max_length=4, description="verified, reproduced, declared or disputed.")
        ] = None,
        sort: Annotated[
            Order, Query(description="Newest, by name, smallest, or best by the first 'where'.")
        ] = "updated",
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20,
        cursor: Words = None,
        facet: Annotated[list[str] | None, Query(max_length=20, description="What to count by.")] = None,
    ) -> None:
        self.bounds = tuple(MetricBound.parse(text) for text in where or ())
        self.statuses = tuple(dict.fromkeys(status or ()))
        self.order = sort
        self.limit = limit
        self.cursor = cursor
        self.facets = check_facets(facet or ())


def refuse_unknown(request: Request) -> None:
    """A misspelt filter would otherwise find everything."""
    if unknown := sorted(set(request.query_params) - _PARAMETERS):
        raise InvalidRequestError(f"parameter {unknown[0][:40]!r} is unknown: use {', '.join(sorted(_PARAMETERS))}")
    if any("\0" in value for value in request.query_params.values()):
        raise InvalidRequestError("a zero byte is no text")


@router.get("/modules", dependencies=[Depends(refuse_unknown)])
def search_modules(
    what: Annotated[WhatQuery, Depends()],
    on: Annotated[BackboneQuery, Depends()],
    shown: Annotated[ShownQuery, Depends()],
    caller: CurrentCaller,
    services: AllServices,
) -> ModulePage:
    """Modules by text, labels, language, backbone and measured figures, each at its latest version."""
    return services.module_search.search(caller, question_of(what, on, shown))


def question_of(what: WhatQuery, on: BackboneQuery, shown: ShownQuery) -> ModuleQuestion:
    """The parameters as one question."""
    return ModuleQuestion(
        text=what.text,
        labels=what.labels,
        label_mode=what.label_mode,
        properties=(*what.properties, *on.properties),
        fingerprints=on.fingerprints,
        bounds=shown.bounds,
        statuses=shown.statuses,
        order=shown.order,
        limit=shown.limit,
        cursor=shown.cursor,
        facets=shown.facets,
    )
