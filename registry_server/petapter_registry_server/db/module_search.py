"""The search for modules: conditions on indexed terms and figures, an order, and pages by key.

A database does not know how rare a condition is, so every condition is counted first, up to a cap, and the rarest one
leads: in the order of its own index where that is the order asked for, else by collecting its modules and sorting them.
Where even the rarest one is common, the index of the order leads, and mostly soon finds enough. Conditions that are
common, but rarely met together, show by the few that it finds at first; then the rarest one is collected after all, if
that is the shorter way. PostgreSQL gathers the modules that meet all rare conditions, and sorts them before it looks
anything up. Measured in tests/benchmarks/results/registry_search.md.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Select,
    SelectBase,
    Tuple,
    func,
    intersect,
    literal,
    literal_column,
    or_,
    select,
    tuple_,
)
from sqlalchemy.orm import Session

from petapter_registry_server.db.dialects import begins_with, is_postgresql
from petapter_registry_server.db.module_tables import IndexedMetric, IndexedModule, IndexedTerm
from petapter_registry_server.db.tables import Repository
from petapter_registry_server.db.visibility import Viewer, visible
from petapter_schemas.metric_bound import MetricBound

Order = Literal["updated", "name", "size", "metric"]

COLLECTED = 10_000
"""Up to so many modules of the rarest condition are collected and sorted; beyond, the index of the order leads."""
LOOKED_AT = 5_000
"""Modules to which the index of the order leads before it is asked whether that is the shorter way."""
FAR = 200_000
"""Up to so many modules are collected instead."""

_BY_INDEXES = select(*(func.set_config(name, value, literal_column("true")) for name, value in {
    "plan_cache_mode": "force_custom_plan",  # a plan for any word is one for none
    "random_page_cost": "1.1",  # 4 is for disks that turn: it reads whole tables for some thousand modules
    "max_parallel_workers_per_gather": "0",
}.items()))  # fmt: skip
"""How PostgreSQL is to plan for the rest of a transaction."""
_COLUMNS = {"updated": IndexedModule.updated_ms, "name": IndexedModule.name, "size": IndexedModule.size_bytes}


@dataclass(frozen=True)
class Term:
    """A term that must be there, or one that begins so."""

    text: str
    is_prefix: bool = False

    @property
    def clause(self) -> ColumnElement[bool]:
        """The condition on a row of terms."""
        if self.is_prefix:
            return begins_with(IndexedTerm.term.expression, self.text)
        return IndexedTerm.term == self.text


@dataclass(frozen=True)
class Figure:
    """A figure that must be there: one that keeps to the bound, if any, and is worth one of `statuses`, or anything."""

    bound: MetricBound | None
    statuses: tuple[str, ...] = ()


Condition = Term | Figure


@dataclass(frozen=True)
class Position:
    """A module in an order: the value it was ordered by, and its id."""

    value: int | float | str
    id: int


@dataclass(frozen=True)
class ModuleQuery:
    """What to find; all terms and figures must be there. `metric` orders by the first figure, which has a bound, its
    best values first.

    `after` is the last module of the page before.
    """

    terms: tuple[Term, ...] = ()
    figures: tuple[Figure, ...] = ()
    order: Order = "updated"
    limit: int = 20
    after: Position | None = None


@dataclass(frozen=True)
class Found:
    """A module and the value that it was ordered by."""

    module: IndexedModule
    repository: Repository
    value: int | float | str


@dataclass(frozen=True)
class _Plan:
    """How to find: modules with the keys that order them, and the conditions that are left to be looked up.

    Attributes:
        statement: Modules that meet all conditions.
        value: By which they are ordered, then by id.
        id: Of the repository.
        is_descending: Whether the greatest come first.
        index: The keys alone, of all modules to which the leading index leads.
    """

    statement: Select[IndexedModule, Repository, Any]
    value: ColumnElement[Any]
    id: ColumnElement[int]
    is_descending: bool
    index: Select[Any, int]

    def places(self, session: Session, limit: int, after: Position | None, until: Position | None) -> list[Position]:
        """The first places behind one, and none behind another."""
        statement = self.statement.with_only_columns(self.value, self.id).order_by(*self._keys).limit(limit)
        if until is not None:
            statement = statement.where(self._not_behind(until))
        return [Position(value, row) for value, row in session.execute(self._begun(statement, after))]

    def place_at(self, session: Session, number: int, after: Position | None) -> Position | None:
        """Where the index comes to after so many modules behind a place; None where it ends before."""
        statement = self._begun(self.index, after).order_by(*self._keys).offset(number - 1).limit(1)
        row = session.execute(statement).first()
        return None if row is None else Position(*row)

    @property
    def _keys(self) -> list[ColumnElement[Any]]:
        return [self.value.desc(), self.id.desc()] if self.is_descending else [self.value, self.id]

    def _begun(self, statement: Select[Any, Any], after: Position | None) -> Select[Any, Any]:
        return statement if after is None else statement.where(self._behind(after))

    def _behind(self, place: Position) -> ColumnElement[bool]:
        there = tuple_(literal(place.value), literal(place.id))
        return self._here < there if self.is_descending else self._here > there

    def _not_behind(self, place: Position) -> ColumnElement[bool]:
        """Said without NOT, since then the index itself ends there."""
        there = tuple_(literal(place.value), literal(place.id))
        return self._here >= there if self.is_descending else self._here <= there

    @property
    def _here(self) -> Tuple:
        return tuple_(self.value, self.id)


def find_places(session: Session, query: ModuleQuery, viewer: Viewer) -> Sequence[Position]:
    """Where the modules that somebody may see stand in the order of the query, as many as its limit says."""
    if is_postgresql(session):
        session.execute(_BY_INDEXES)
    figures = query.figures[1:] if query.order == "metric" else query.figures
    conditions: list[Condition] = [*query.terms, *figures]
    counted = sorted(((_count(session, one, COLLECTED), one) for one in conditions), key=lambda pair: pair[0])
    search = _Searched(session, query, [one for _, one in counted], viewer)
    rare = [one for count, one in counted if count < COLLECTED]
    return search.led_by(rare).places(session, query.limit, query.after, None) if rare else search.along_order()


@dataclass(frozen=True)
class _Searched:
    """One search; its conditions are ordered by how rare they are, as far as they were counted."""

    session: Session
    query: ModuleQuery
    conditions: Sequence[Condition]
    viewer: Viewer

    def along_order(self) -> Sequence[Position]:
        """The places, by an index that has the order asked for, unless that leads too far."""
        session, query = self.session, self.query
        leader = self._ordered()
        plan = self._plan(leader, None)
        others = [one for one in self.conditions if one is not leader]
        until = plan.place_at(session, LOOKED_AT, query.after) if others else None
        found = plan.places(session, query.limit, query.after, until)
        if until is None or len(found) == query.limit:
            return found
        to_come = LOOKED_AT * query.limit // (len(found) + 1)
        shorter = self._rare(others, to_come)
        if shorter:
            return self.led_by(shorter).places(session, query.limit, query.after, None)
        return [*found, *plan.places(session, query.limit - len(found), until, None)]

    def led_by(self, rare: Sequence[Condition]) -> _Plan:
        """By the modules of the first of some rare conditions; on PostgreSQL by those that meet all of them."""
        first = rare[0]
        is_ordered = self.query.order == "updated" and isinstance(first, Term) and not first.is_prefix
        if is_ordered and len(rare) == 1:
            return self._plan(first, None)
        if is_postgresql(self.session):
            return self._living(_gathered(self.query, rare), rare)
        return self._plan(first, None) if is_ordered else self._plan(None, first)

    def _ordered(self) -> Condition | None:
        """The rarest condition whose index has the order asked for."""
        if self.query.order != "updated":
            return None
        return next((one for one in self.conditions if isinstance(one, Term) and not one.is_prefix), None)

    def _rare(self, others: Sequence[Condition], to_come: int) -> list[Condition]:
        """The conditions by which a search would see less than by so many modules to come, the rarest first.

        By its index of terms alone PostgreSQL gathers eight modules and more in the time that it looks one up.
        """
        gathers = is_postgresql(self.session) and self.query.order == "updated"
        counted = []
        for number, one in enumerate(self.conditions if gathers else others):
            most = min(FAR, 8 * to_come if gathers and isinstance(one, Term) else to_come)
            if (count := _count(self.session, one, most)) < most:
                counted.append((count, number, one))
        return [one for _, _, one in sorted(counted, key=lambda each: each[:2])]

    def _plan(self, ordered: Condition | None, collected: Condition | None) -> _Plan:
        if isinstance(ordered, Term):
            return self._living(_along_term(ordered), [ordered])
        if collected is None:
            return self._living(_along_order(self.query, None), [])
        return self._living(_along_order(self.query, _modules_with(collected)), [collected])

    def _living(self, plan: _Plan, met: Sequence[Condition]) -> _Plan:
        """The plan with what is left to be looked up."""
        living = (Repository.deleted_ms.is_(None), visible(self.viewer))
        others = [_has(one) for one in self.conditions if not any(one is each for each in met)]
        return replace(plan, statement=plan.statement.where(*others, *living))


def read_found(session: Session, places: Sequence[Position]) -> Sequence[Found]:
    """The modules that stand at some places, in their order."""
    rows = session.execute(
        select(IndexedModule, Repository)
        .join(Repository, Repository.id == IndexedModule.repository_id)
        .where(IndexedModule.repository_id.in_([place.id for place in places]))
    )
    by_id = {module.repository_id: (module, repository) for module, repository in rows}
    return [Found(*by_id[place.id], place.value) for place in places]


def _count(session: Session, condition: Condition, most: int) -> int:
    some = _modules_with(condition).limit(most).subquery()
    return session.scalar(select(func.count()).select_from(some)) or 0


def _along_term(term: Term) -> _Plan:
    """The index of terms holds the modules of one term in the order of `updated`."""
    statement = (
        select(IndexedModule, Repository, IndexedTerm.updated_ms)
        .select_from(IndexedTerm)
        .join(IndexedModule, IndexedModule.repository_id == IndexedTerm.repository_id)
        .join(Repository, Repository.id == IndexedTerm.repository_id)
        .where(term.clause)
    )
    value, row = IndexedTerm.updated_ms.expression, IndexedTerm.repository_id.expression
    return _Plan(statement, value, row, is_descending=True, index=select(value, row).where(term.clause))


def _gathered(query: ModuleQuery, conditions: Sequence[Condition]) -> _Plan:
    """The modules that meet all of some conditions by the indexes of these alone, sorted before anything is looked up.

    Without OFFSET everything would be looked up first and sorted in the end.
    """
    is_descending = query.order == "updated"
    terms = [one for one in conditions if isinstance(one, Term)]
    if is_descending and len(terms) == len(conditions):  # the index of terms holds the time
        places = [select(IndexedTerm.updated_ms, IndexedTerm.repository_id).where(one.clause) for one in terms]
        keys = intersect(*places).subquery() if len(places) > 1 else places[0].distinct().subquery()
    else:
        found = [_modules_with(one) for one in conditions]
        plan = _along_order(query, intersect(*found) if len(found) > 1 else found[0])
        keys, is_descending = plan.index.subquery(), plan.is_descending
    value, row = keys.c
    in_order = (value.desc(), row.desc()) if is_descending else (value, row)
    led = select(value.label("value"), row.label("id")).order_by(*in_order).offset(literal_column("0")).subquery()
    statement = select(IndexedModule, Repository, led.c.value).select_from(led)
    statement = statement.join(IndexedModule, IndexedModule.repository_id == led.c.id)
    statement = statement.join(Repository, Repository.id == led.c.id)
    return _Plan(statement, led.c.value, led.c.id, is_descending, index=select(led.c.value, led.c.id))


def _along_order(query: ModuleQuery, ids: SelectBase | None) -> _Plan:
    if query.order == "metric":
        return _along_metric(query.figures[0], ids)
    column = _COLUMNS[query.order]
    value: ColumnElement[Any] = column.expression
    is_descending = query.order == "updated"
    statement = select(IndexedModule, Repository, value).join(Repository, Repository.id == IndexedModule.repository_id)
    row = IndexedModule.repository_id.expression
    index = select(value, row)
    if ids is not None:
        value = _without_index(value)
        statement = statement.where(IndexedModule.repository_id.in_(ids))
        index = select(value, row).where(row.in_(ids))
    return _Plan(statement, value, row, is_descending, index)


def _along_metric(figure: Figure, ids: SelectBase | None) -> _Plan:
    """Each module once, by the best of its figures that the bound is about."""
    wants_more = figure.bound is not None and figure.bound.wants_more
    better = IndexedMetric.__table__.alias("better")
    beaten = _without_index(better.c.value) > IndexedMetric.value
    if not wants_more:
        beaten = _without_index(better.c.value) < IndexedMetric.value
    tied = (_without_index(better.c.value) == IndexedMetric.value) & (better.c.position < IndexedMetric.position)
    about = _about(better.c, figure, _without_index)  # else SQLite looks through all figures of the set, for each
    own = (better.c.repository_id == IndexedMetric.repository_id, *about, or_(beaten, tied))
    is_best = ~_looked_up(select(better.c.repository_id).where(*own).correlate(IndexedMetric))
    value: ColumnElement[Any] = IndexedMetric.value.expression
    within = (*_about(IndexedMetric.__table__.c, figure), *_reaches(IndexedMetric.value, figure))
    statement = (
        select(IndexedModule, Repository, value)
        .select_from(IndexedMetric)
        .join(IndexedModule, IndexedModule.repository_id == IndexedMetric.repository_id)
        .join(Repository, Repository.id == IndexedMetric.repository_id)
        .where(*within, is_best)
    )
    row = IndexedMetric.repository_id.expression
    index = select(value, row).where(*within)
    if ids is not None:
        value = _without_index(value)
        statement = statement.where(IndexedMetric.repository_id.in_(ids))
        index = select(value, row).where(*within, is_best, row.in_(ids))
    return _Plan(statement, value, row, is_descending=wants_more, index=index)


def _modules_with(condition: Condition) -> Select[int]:
    if isinstance(condition, Term):
        return select(IndexedTerm.repository_id).where(condition.clause).correlate(None)
    figures = IndexedMetric.__table__.c
    clauses = (*_about(figures, condition), *_reaches(figures.value, condition))
    return select(IndexedMetric.repository_id).where(*clauses).correlate(None)


def _has(condition: Condition) -> ColumnElement[bool]:
    table = IndexedTerm if isinstance(condition, Term) else IndexedMetric
    own = _modules_with(condition).where(table.repository_id == IndexedModule.repository_id)
    if isinstance(condition, Term) and not condition.is_prefix:
        own = own.where(IndexedTerm.updated_ms == IndexedModule.updated_ms)  # the same, and the whole primary key
    return _looked_up(own.correlate(IndexedModule))


def _looked_up(rows: Select[int]) -> ColumnElement[bool]:
    """Whether there are rows, as something to look up for each module, that never leads the search.

    PostgreSQL makes a join of EXISTS, unless that has an OFFSET, and then leads by the condition. It takes ranges of
    terms for single rows: looking up the 100,000 modules of a common word took seconds.
    """
    return rows.offset(literal_column("0")).exists()


def _about(
    columns: Any,  # noqa: ANN401 (columns of a table or its alias)
    figure: Figure,
    wrap: Callable[[ColumnElement[Any]], ColumnElement[Any]] = lambda column: column,
) -> list[ColumnElement[bool]]:
    """Whether a row is of the figure that is asked for, whatever its value."""
    about = [columns.status.in_(figure.statuses)] if figure.statuses else []
    bound = figure.bound
    if bound is None:
        return about
    about.append(wrap(columns.metric) == bound.metric)
    if bound.rows is not None:
        about.append(wrap(columns.evaluation_set) == bound.rows.casefold())
    if bound.sha256 is not None:
        about.append(begins_with(columns.sha256, bound.sha256))
    return about


def _reaches(value: Any, figure: Figure) -> list[ColumnElement[bool]]:  # noqa: ANN401 (a column)
    bound = figure.bound
    if bound is None:
        return []
    comparisons = {">=": value >= bound.value, ">": value > bound.value, "<=": value <= bound.value}
    clause: ColumnElement[bool] = comparisons.get(bound.relation, value < bound.value)
    return [clause]


def _without_index(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """The same value as an expression that no index serves, so that the database uses another one."""
    return func.coalesce(value, value)
