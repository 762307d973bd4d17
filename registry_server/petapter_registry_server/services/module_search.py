"""The search for modules as a caller asks: parameters become terms and bounds, rows become answers."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from sqlalchemy.orm import Session

from petapter_registry_server.clock import hub_date
from petapter_registry_server.db import facet_counts, module_search
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.module_search import Figure, Found, ModuleQuery, Order, Position, Term
from petapter_registry_server.errors import InvalidRequestError
from petapter_registry_server.services.access import Access, Caller
from petapter_registry_server.services.cursors import read_cursor, write_cursor
from petapter_registry_server.services.measured_status import read_facts
from petapter_registry_server.services.terms import (
    FACETS,
    METRIC_FACET,
    STATUS_FACET,
    label_count_term,
    label_set_term,
    label_term,
    property_term,
    words_of,
)
from petapter_schemas.evaluation_api import Standing
from petapter_schemas.metric_bound import MetricBound
from petapter_schemas.module_facts import ModuleFacts
from petapter_schemas.registry_api import FacetValue, FoundModule, ModulePage

LabelMode = Literal["superset", "exact", "mappable"]
ORDERS: tuple[Order, ...] = get_args(Order)

MAX_CONDITIONS = 20
MAX_PAGE = 100
FACET_VALUES = 20
COUNTED = 5_000
"""Modules that facets count at most."""

_DIGEST = re.compile(r"[0-9a-f]{16,64}")
_FINGERPRINT_KINDS = ("weights", "config", "tokenizer")


@dataclass(frozen=True)
class ModuleQuestion:
    """What a caller looks for; everything given must hold.

    Attributes:
        text: Words, each of which a word of the name, labels, backbone or description must begin with.
        labels: Label names, compared without regard to case and separators.
        label_mode: `superset`: the module has all of them; `exact`: these and no others; `mappable`: as many.
        properties: Pairs such as ("language", "de"); names are those of `terms.FACETS`, and "namespace".
        fingerprints: How digests of the backbone begin, such as ("weights", "0123456789abcdef"): 16 to 64 digits of
            that of its weights, configuration (`config`) or tokenizer.
        bounds: On figures.
        statuses: What the figures that bounds are about are worth here, one of these; without bounds, what one of the
            module's figures is. Empty is anything.
        order: Of the results.
        limit: Modules of one page.
        cursor: What the page before said.
        facets: What to count modules by.
        counted: How many modules facets count at most.
    """

    text: str = ""
    labels: tuple[str, ...] = ()
    label_mode: LabelMode = "superset"
    properties: tuple[tuple[str, str], ...] = ()
    fingerprints: tuple[tuple[str, str], ...] = ()
    bounds: tuple[MetricBound, ...] = ()
    statuses: tuple[Standing, ...] = ()
    order: Order = "updated"
    limit: int = 20
    cursor: str | None = None
    facets: tuple[str, ...] = ()
    counted: int = COUNTED


class ModuleSearch:
    """Finds modules of one registry."""

    def __init__(self, database: Database, access: Access) -> None:
        self._database = database
        self._access = access

    def search(self, caller: Caller, question: ModuleQuestion) -> ModulePage:
        """One page of the modules that the caller may see.

        Raises:
            InvalidRequestError: The question contradicts itself or asks for too much.
        """
        query = _query(question)
        viewer = self._access.viewer(caller)
        with self._database.read() as session:
            places = module_search.find_places(session, _with_counted(query, question), viewer)
            rows = module_search.read_found(session, places[: query.limit])
            page = rows[: question.limit]
            facts = read_facts(session, {row.module.commit_oid: row.repository.id for row in page})
            shown = tuple(found_module(row, facts[row.module.commit_oid]) for row in page)
            following = _cursor(question.order, page[-1]) if len(rows) > len(page) else None
            if not question.facets:
                return ModulePage(modules=shown, next=following)
            if query.after is not None:  # facets count all that match, from the first page on
                places = module_search.find_places(session, _with_counted(replace(query, after=None), question), viewer)
            ids = [place.id for place in places[: question.counted + 1]]
            counts = _counts(session, ids, question.facets)
        return ModulePage(
            modules=shown,
            next=following,
            facets={name: _facet(name, counts) for name in question.facets},
            counted=min(len(ids), question.counted),
            complete=len(ids) <= question.counted,
        )


def _with_counted(query: ModuleQuery, question: ModuleQuestion) -> ModuleQuery:
    """The query for a page, and at once for what facets count where that is the first page."""
    is_both = question.facets and query.after is None
    return replace(query, limit=max(query.limit, question.counted + 1)) if is_both else query


def _counts(session: Session, ids: Sequence[int], facets: Sequence[str]) -> list[tuple[str, int]]:
    """How many of some modules have each term of the facets; figures are no terms and are counted by their names."""
    prefixes = [f"{name}:" for name in facets if name not in {METRIC_FACET, STATUS_FACET}]
    counts = [*facet_counts.count_terms(session, ids, prefixes)] if prefixes else []
    if METRIC_FACET in facets:
        counts += [(f"{METRIC_FACET}:{name}", count) for name, count in facet_counts.count_metrics(session, ids)]
    if STATUS_FACET in facets:
        counts += [(f"{STATUS_FACET}:{name}", count) for name, count in facet_counts.count_statuses(session, ids)]
    return counts


def found_module(row: Found, facts: ModuleFacts) -> FoundModule:
    """A row of the index as lists show it."""
    return FoundModule(
        id=row.repository.full_name,
        version=row.module.version,
        revision=f"v{row.module.version}" if row.module.version else "main",
        commit=row.module.commit_oid,
        updated=hub_date(row.module.updated_ms),
        private=row.repository.private,
        facts=facts,
    )


def _query(question: ModuleQuestion) -> ModuleQuery:
    terms = [Term(f"word:{word}", is_prefix=True) for word in words_of(question.text)]
    terms += _label_terms(question)
    terms += [Term(property_term(name, value)) for name, value in question.properties]
    terms += [_fingerprint_term(kind, digest) for kind, digest in question.fingerprints]
    if question.text.strip() and not words_of(question.text):
        raise InvalidRequestError("text: there is no letter or digit to look for")
    if len(terms) + len(question.bounds) > MAX_CONDITIONS:
        raise InvalidRequestError(f"too many conditions: at most {MAX_CONDITIONS} words, labels and filters together")
    if question.order == "metric" and not question.bounds:
        raise InvalidRequestError("sort=metric needs a bound on that metric: add for example where=accuracy>=0")
    if not 1 <= question.limit <= MAX_PAGE:
        raise InvalidRequestError(f"limit: at least 1 and at most {MAX_PAGE}")
    return ModuleQuery(
        terms=tuple(dict.fromkeys(terms)),
        figures=_figures(question),
        order=question.order,
        limit=question.limit + 1,
        after=_position(question.order, question.cursor) if question.cursor else None,
    )


def _figures(question: ModuleQuestion) -> tuple[Figure, ...]:
    if question.statuses and not question.bounds:
        return (Figure(None, question.statuses),)
    return tuple(Figure(bound, question.statuses) for bound in question.bounds)


def _label_terms(question: ModuleQuestion) -> list[Term]:
    if not question.labels:
        return []
    if question.label_mode == "exact":
        return [Term(label_set_term(question.labels))]
    if question.label_mode == "mappable":
        return [Term(label_count_term(len({label_term(name) for name in question.labels})))]
    return [Term(label_term(name)) for name in question.labels]


def _fingerprint_term(kind: str, digest: str) -> Term:
    if kind not in _FINGERPRINT_KINDS or not _DIGEST.fullmatch(digest):
        raise InvalidRequestError(f"{kind}: give 16 to 64 digits of a sha256, 0-9 and a-f")
    return Term(f"{kind}:{digest}", is_prefix=True)


def _facet(name: str, counts: Sequence[tuple[str, int]]) -> tuple[FacetValue, ...]:
    totals: dict[str, int] = {}
    for term, count in counts:
        if term.startswith(f"{name}:"):
            value = term.partition(":")[2]
            totals[value] = totals.get(value, 0) + count
    ordered = sorted(totals.items(), key=lambda item: (-item[1], item[0]))
    return tuple(FacetValue(value=value, modules=count) for value, count in ordered[:FACET_VALUES])


def check_facets(names: Iterable[str]) -> tuple[str, ...]:
    """The names, each once.

    Raises:
        InvalidRequestError: One is no facet.
    """
    asked = tuple(dict.fromkeys(names))
    if unknown := [name for name in asked if name not in FACETS]:
        raise InvalidRequestError(f"facet {unknown[0][:40]!r} is unknown: use {', '.join(FACETS)}")
    return asked


def _cursor(order: Order, last: Found) -> str:
    return write_cursor(order, last.value, last.module.repository_id)


def _position(order: Order, cursor: str) -> Position:
    kinds = {"name": (str,), "metric": (int, float)}.get(order, (int,))
    return Position(*read_cursor(order, cursor, *kinds))
