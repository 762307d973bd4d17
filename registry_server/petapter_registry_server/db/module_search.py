"""The search for modules: conditions on indexed terms and figures, an order, and pages by key.

A database does not know how rare a condition is, so every condition is counted first, up to a cap, and the rarest one
leads: in the order of its own index where that is the order asked for, else by collecting its modules and sorting them.
Where even the rarest one is common, the index of the order leads, and mostly soon finds enough. Conditions that are
common, but rarely met together, show by the few that it finds at first; then the rarest one is collected after all, if
that is the shorter way. Measured in tests/benchmarks/results/registry_search.md.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, String, Tuple, column, exists, func, literal, or_, select, tuple_, values
from sqlalchemy.orm import Session

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

_END = "\U0010ffff"
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
            return (IndexedTerm.term >= self.text) & (IndexedTerm.term < self.text + _END)
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
    figures = query.figures[1:] if query.order == "metric" else query.figures
    conditions: list[Condition] = [*query.terms, *figures]
    counted = sorted(((_count(session, one, COLLECTED), one) for one in conditions), key=lambda pair: pair[0])
    search = _Searched(session, query, [one for _, one in counted], viewer)
    if counted and counted[0][0] < COLLECTED:
        return search.led_by(counted[0][1]).places(session, query.limit, query.after, None)
    return search.along_order()


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
        shorter = self._rarest(others, min(FAR, to_come))
        if shorter is not None:
            return self.led_by(shorter).places(session, query.limit, query.after, None)
        return [*found, *plan.places(session, query.limit - len(found), until, None)]

    def led_by(self, condition: Condition) -> _Plan:
        """By the modules of one condition."""
        is_ordered = self.query.order == "updated" and isinstance(condition, Term) and not condition.is_prefix
        return self._plan(condition, None) if is_ordered else self._plan(None, condition)

    def _ordered(self) -> Condition | None:
        """The rarest condition whose index has the order asked for."""
        if self.query.order != "updated":
            return None
        return next((one for one in self.conditions if isinstance(one, Term) and not one.is_prefix), None)

    def _rarest(self, conditions: Sequence[Condition], most: int) -> Condition | None:
        """The condition that the fewest modules meet; None where each is met by so many."""
        count, number = min((_count(self.session, one, most), number) for number, one in enumerate(conditions))
        return conditions[number] if count < most else None

    def _plan(self, ordered: Condition | None, collected: Condition | None) -> _Plan:
        plan = _along_term(ordered) if isinstance(ordered, Term) else _along_order(self.query, collected)
        living = (Repository.deleted_ms.is_(None), visible(self.viewer))
        others = [_has(one) for one in self.conditions if one is not ordered and one is not collected]
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


def count_terms(session: Session, ids: Sequence[int], prefixes: Sequence[str]) -> list[tuple[str, int]]:
    """How many of some modules have each term that begins with a prefix; a term may come more than once."""
    rows = [(prefix, prefix + _END) for prefix in prefixes]
    ranges = values(column("begins", String), column("ends", String)).data(rows).cte("ranges")  # a third of OR's time
    within = (IndexedTerm.term >= ranges.c.begins) & (IndexedTerm.term < ranges.c.ends)
    counts: list[tuple[str, int]] = []
    for part in _parts(ids):
        statement = select(IndexedTerm.term, func.count()).join(ranges, within)
        statement = statement.where(IndexedTerm.repository_id.in_(part))
        counts += [(term, count) for term, count in session.execute(statement.group_by(IndexedTerm.term))]
    return counts


def count_metrics(session: Session, ids: Sequence[int]) -> list[tuple[str, int]]:
    """How many of some modules have a figure of each metric; a metric may come more than once."""
    counts: list[tuple[str, int]] = []
    modules = func.count(IndexedMetric.repository_id.distinct())
    for part in _parts(ids):
        statement = select(IndexedMetric.metric, modules).where(IndexedMetric.repository_id.in_(part))
        counts += [(metric, count) for metric, count in session.execute(statement.group_by(IndexedMetric.metric))]
    return counts


def count_statuses(session: Session, ids: Sequence[int]) -> list[tuple[str, int]]:
    """How many of some modules have a figure of each status; a status may come more than once."""
    counts: list[tuple[str, int]] = []
    modules = func.count(IndexedMetric.repository_id.distinct())
    for part in _parts(ids):
        statement = select(IndexedMetric.status, modules).where(IndexedMetric.repository_id.in_(part))
        counts += [(status, count) for status, count in session.execute(statement.group_by(IndexedMetric.status))]
    return counts


_AT_ONCE = 5000


def _parts(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[begin : begin + _AT_ONCE] for begin in range(0, len(ids), _AT_ONCE))


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


def _along_order(query: ModuleQuery, rare: Condition | None) -> _Plan:
    if query.order == "metric":
        return _along_metric(query.figures[0], rare)
    column = _COLUMNS[query.order]
    value: ColumnElement[Any] = column.expression
    is_descending = query.order == "updated"
    statement = select(IndexedModule, Repository, value).join(Repository, Repository.id == IndexedModule.repository_id)
    if rare is not None:
        value = _without_index(value)
        statement = statement.where(IndexedModule.repository_id.in_(_modules_with(rare)))
    row = IndexedModule.repository_id.expression
    return _Plan(statement, value, row, is_descending, index=select(value, row))


def _along_metric(figure: Figure, rare: Condition | None) -> _Plan:
    """Each module once, by the best of its figures that the bound is about."""
    wants_more = figure.bound is not None and figure.bound.wants_more
    better = IndexedMetric.__table__.alias("better")
    beaten = _without_index(better.c.value) > IndexedMetric.value
    if not wants_more:
        beaten = _without_index(better.c.value) < IndexedMetric.value
    tied = (_without_index(better.c.value) == IndexedMetric.value) & (better.c.position < IndexedMetric.position)
    about = _about(better.c, figure, _without_index)  # else SQLite looks through all figures of the set, for each
    is_best = ~exists().where(better.c.repository_id == IndexedMetric.repository_id, *about, or_(beaten, tied))
    value: ColumnElement[Any] = IndexedMetric.value.expression
    within = (*_about(IndexedMetric.__table__.c, figure), *_reaches(IndexedMetric.value, figure))
    statement = (
        select(IndexedModule, Repository, value)
        .select_from(IndexedMetric)
        .join(IndexedModule, IndexedModule.repository_id == IndexedMetric.repository_id)
        .join(Repository, Repository.id == IndexedMetric.repository_id)
        .where(*within, is_best)
    )
    if rare is not None:
        value = _without_index(value)
        statement = statement.where(IndexedMetric.repository_id.in_(_modules_with(rare)))
    row = IndexedMetric.repository_id.expression
    return _Plan(statement, value, row, is_descending=wants_more, index=select(value, row).where(*within))


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
    return own.correlate(IndexedModule).exists()


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
        about += [columns.sha256 >= bound.sha256, columns.sha256 < bound.sha256 + _END]
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
