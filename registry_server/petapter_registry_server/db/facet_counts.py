"""What facets count: the terms and figures of thousands of modules that a search found, given by their ids.

The ids are one parameter. As thousands they took as long to be written into the statement, and read there, as the
counting itself.
"""

import json
from collections.abc import Sequence

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Integer,
    Row,
    Select,
    String,
    any_,
    column,
    func,
    literal,
    select,
    values,
)
from sqlalchemy.orm import Session

from petapter_registry_server.db.dialects import end_of, is_postgresql
from petapter_registry_server.db.module_tables import IndexedMetric, IndexedTerm


def count_terms(session: Session, ids: Sequence[int], prefixes: Sequence[str]) -> Sequence[tuple[str, int]]:
    """How many of some modules have each term that begins with a prefix."""
    rows = [(prefix, end_of(prefix)) for prefix in prefixes]
    ranges = values(column("begins", String), column("ends", String)).data(rows).cte("ranges")  # a third of OR's time
    within = (IndexedTerm.term >= ranges.c.begins) & (IndexedTerm.term < ranges.c.ends)
    found = select(IndexedTerm.term, func.count()).join(ranges, within).where(_among(session, ids, IndexedTerm))
    if is_postgresql(session):  # it would read all terms of each module
        found = found.where(IndexedTerm.term >= min(rows)[0], IndexedTerm.term < max(rows)[1])
    return _pairs(session, found.group_by(IndexedTerm.term))


def count_metrics(session: Session, ids: Sequence[int]) -> Sequence[tuple[str, int]]:
    """How many of some modules have a figure of each metric."""
    return _count_figures(session, ids, IndexedMetric.metric.expression)


def count_statuses(session: Session, ids: Sequence[int]) -> Sequence[tuple[str, int]]:
    """How many of some modules have a figure of each status."""
    return _count_figures(session, ids, IndexedMetric.status.expression)


def _count_figures(session: Session, ids: Sequence[int], what: ColumnElement[str]) -> Sequence[tuple[str, int]]:
    modules = func.count(IndexedMetric.repository_id.distinct())
    return _pairs(session, select(what, modules).where(_among(session, ids, IndexedMetric)).group_by(what))


def _pairs(session: Session, statement: Select[str, int]) -> Sequence[tuple[str, int]]:
    rows: Sequence[Row[str, int]] = session.execute(statement).all()
    return [(value, count) for value, count in rows]


def _among(session: Session, ids: Sequence[int], table: type[IndexedTerm | IndexedMetric]) -> ColumnElement[bool]:
    """Whether a row is of one of some modules."""
    if is_postgresql(session):
        return table.repository_id == any_(literal(list(ids), ARRAY(Integer)))
    return table.repository_id.in_(select(func.json_each(json.dumps(list(ids))).table_valued("value").c.value))
