"""Leaderboards: how modules were measured on the rows of an evaluation set, and which of them are apart beyond chance.

What a module says of itself is declared, whatever status its manifest gives it; verified, reproduced and disputed is
what evaluations found that were signed. A declared figure stands below every measured one unless a caller asks for the
order of the values themselves.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import cast, get_args

from sqlalchemy.orm import Session

from petapter_registry_server.clock import hub_date
from petapter_registry_server.db import board_figures, evaluation_sets, evaluations
from petapter_registry_server.db.board_figures import Declared, FiguresOf, Measured
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.evaluation_set_tables import EvaluationSet, EvaluationSetVersion
from petapter_registry_server.db.visibility import Viewer
from petapter_registry_server.errors import EvaluationSetNotFoundError, InvalidRequestError
from petapter_registry_server.services.access import Access, Caller
from petapter_registry_server.services.evaluation_records import status_of
from petapter_schemas.evaluation_api import BoardLine, BoardSort, Leaderboard, MetricCount, Standing
from petapter_schemas.metric_order import higher_is_better, is_better

STANDINGS: tuple[Standing, ...] = get_args(Standing)
"""From the first to the last of a board."""
BOARD_SORTS: tuple[BoardSort, ...] = get_args(BoardSort)
MAX_LINES = 100

_COMMON = ("macro_f1", "accuracy", "micro_f1", "subset_accuracy")
_MOST_NAMED = 10


@dataclass(frozen=True)
class BoardQuestion:
    """What a caller wants of a leaderboard.

    Attributes:
        version: Of the set; None is the newest.
        metric: None is the first of the common ones that there is a figure of.
        standings: Which figures; empty is all.
        sort: `standing`: by how far figures can be believed, and then best first; `value`: best first, whoever says
            it; `name` of the module; `updated`: the latest first.
        limit: How many lines.
    """

    version: str | None = None
    metric: str | None = None
    standings: tuple[Standing, ...] = ()
    sort: BoardSort = "standing"
    limit: int = MAX_LINES


class Leaderboards:
    """The leaderboards of one registry."""

    def __init__(self, database: Database, access: Access) -> None:
        self._database = database
        self._access = access

    def board(self, caller: Caller, full_name: str, question: BoardQuestion) -> Leaderboard:
        """What modules that the caller may see were measured at.

        Raises:
            EvaluationSetNotFoundError: There is no such set or version for this caller.
            InvalidRequestError: No module has a figure of that metric.
        """
        viewer = self._access.viewer(caller)
        with self._database.read() as session:
            found = self._access.evaluation_set(session, caller, full_name, "read")
            version = _version(session, found, question.version)
            declared = board_figures.count_declared(session, version.rows_sha256, viewer)
            measured = _last_of_each(session, version.rows_sha256, viewer)
            counts = _counts(declared, measured)
            metric = _chosen(counts, question.metric)
            figures: Sequence[Declared] = ()
            if metric is not None:
                wanted = FiguresOf(version.rows_sha256, metric)
                highest_first = higher_is_better(metric)
                figures = board_figures.list_declared(
                    session, wanted, viewer, highest_first=highest_first, limit=MAX_LINES + 1
                )
            return _board(question, metric, _Figures(found, version, measured, figures, counts))

    def sets_of(self, caller: Caller, digests: Collection[str]) -> dict[str, tuple[str, str]]:
        """By the digest of rows the name and version of a set of them that the caller may see."""
        with self._database.read() as session:
            return evaluation_sets.sets_of_rows(session, [*digests], self._access.viewer(caller))


@dataclass(frozen=True)
class _Figures:
    """What there is on the rows of a version of a set: of the metric that was chosen, and how many of each."""

    of: EvaluationSet
    version: EvaluationSetVersion
    measured: Sequence[Measured]
    declared: Sequence[Declared]
    counts: Counter[str]


def _board(question: BoardQuestion, metric: str | None, found: _Figures) -> Leaderboard:
    n = int(found.version.document["n"])
    lines = _lines(found.measured, [each for each in found.declared if each.figure.n == n], metric or "")
    kept = [line for line in lines if line.status in (question.standings or STANDINGS)]
    ordered = _ordered(kept, question.sort, metric or "")
    return Leaderboard(
        id=found.of.full_name,
        version=found.version.version,
        rows_sha256=found.version.rows_sha256,
        metric=metric,
        higher_is_better=higher_is_better(metric or ""),
        metrics=tuple(MetricCount(metric=name, modules=found.counts[name]) for name in sorted(found.counts)),
        sort=question.sort,
        lines=tuple(ordered[: question.limit]),
        complete=len(ordered) <= question.limit and len(found.declared) <= MAX_LINES,
        contradicting=sum(each.figure.n != n for each in found.declared),
    )


def check_standings(names: Iterable[str]) -> tuple[Standing, ...]:
    """The names, each once.

    Raises:
        InvalidRequestError: One is no standing.
    """
    asked = tuple(dict.fromkeys(names))
    if unknown := [name for name in asked if name not in STANDINGS]:
        raise InvalidRequestError(f"status {unknown[0][:40]!r} is unknown: use {', '.join(STANDINGS)}")
    return cast("tuple[Standing, ...]", asked)


def _version(session: Session, found: EvaluationSet, wanted: str | None) -> EvaluationSetVersion:
    number = wanted or found.newest
    version = None if "\0" in number else evaluation_sets.find_version(session, found.id, number)
    if version is None:
        raise EvaluationSetNotFoundError(f"{found.full_name} of version {number!r}")
    return version


def _last_of_each(session: Session, rows_sha256: str, viewer: Viewer) -> list[Measured]:
    """Of each module the version that was measured last, with the evaluation of it that counts."""
    measured = board_figures.list_measured(session, rows_sha256, viewer)
    counting = evaluations.that_count(session, [each.evaluation for each in measured]).values()
    ids = {evaluation.id for evaluation in counting}
    last: dict[int, Measured] = {}
    for each in measured:
        if each.evaluation.id in ids:
            last.setdefault(each.repository.id, each)
    return list(last.values())


def _counts(declared: Counter[str], measured: Iterable[Measured]) -> Counter[str]:
    """Modules by metric: those that declare it, and those that were measured and do not."""
    figures = (figure for each in measured for figure in each.evaluation.metrics)
    return declared + Counter(figure["metric"] for figure in figures if figure["declared"] is None)


def _chosen(counts: Counter[str], asked: str | None) -> str | None:
    if asked is not None and asked not in counts:
        known = f"use {', '.join(sorted(counts)[:_MOST_NAMED])}" if counts else "there is no figure at all"
        raise InvalidRequestError(f"metric {asked[:40]!r}: no module has a figure of it on these rows; {known}")
    if asked is not None or not counts:
        return asked
    return next((name for name in _COMMON if name in counts), max(sorted(counts), key=counts.__getitem__))


def _lines(measured: Iterable[Measured], declared: Iterable[Declared], metric: str) -> list[BoardLine]:
    """One line for each module that was measured, and one for what a module declares of another version, or alone."""
    found = [line for each in measured for line in _measured_lines(each, metric)]
    known = {(line.id, line.digest) for line in found}
    return [*found, *(line for line in map(_declared_line, declared) if (line.id, line.digest) not in known)]


def _measured_lines(each: Measured, metric: str) -> list[BoardLine]:
    of = each.evaluation
    return [
        BoardLine.model_validate(
            {
                "rank": None,
                "tied": False,
                "id": each.repository.full_name,
                "version": each.version,
                "revision": f"v{each.version}" if each.version else of.commit_oid,
                "digest": of.manifest_sha256,
                "private": each.repository.private,
                "n": of.n,
                "status": status_of(figure["is_within"], by_worker=of.by_worker),
                "by": of.measured_by,
                "at": hub_date(of.measured_ms),
                **{name: figure[name] for name in ("value", "low", "high", "level", "declared")},
            }
        )
        for figure in of.metrics
        if figure["metric"] == metric
    ]


def _declared_line(each: Declared) -> BoardLine:
    figure = each.figure
    return BoardLine(
        rank=None,
        tied=False,
        id=each.repository.full_name,
        version=each.version,
        revision=f"v{each.version}" if each.version else "main",
        digest=each.digest,
        private=each.repository.private,
        value=figure.value,
        low=figure.low,
        high=figure.high,
        level=figure.level,
        n=figure.n,
        status="declared",
        by=each.by,
        at=hub_date(each.at_ms),
    )


def _ordered(lines: Sequence[BoardLine], sort: BoardSort, metric: str) -> list[BoardLine]:
    sign = -1 if higher_is_better(metric) else 1
    best_first = sorted(lines, key=lambda line: (sign * line.value, line.id))
    if sort == "value":
        return _ranked(best_first, metric)
    groups = {name: [line for line in best_first if line.status == name] for name in STANDINGS}
    standing = [line for name in STANDINGS for line in _ranked(groups[name], metric)]
    if sort == "name":
        return sorted(standing, key=lambda line: line.id)
    return sorted(standing, key=lambda line: line.at, reverse=True) if sort == "updated" else standing


def _ranked(best_first: Sequence[BoardLine], metric: str) -> list[BoardLine]:
    """The lines with their ranks; a figure that was found otherwise than it was declared has none."""
    sure = [line for line in best_first if line.status != "disputed"]
    ranks = [1 + sum(is_better(metric, other, line) for other in sure) for line in sure]
    shared = Counter(ranks)
    ranked = iter([_with_rank(line, rank, tied=shared[rank] > 1) for line, rank in zip(sure, ranks, strict=True)])
    return [line if line.status == "disputed" else next(ranked) for line in best_first]


def _with_rank(line: BoardLine, rank: int, *, tied: bool) -> BoardLine:
    return line.model_copy(update={"rank": rank, "tied": tied})
