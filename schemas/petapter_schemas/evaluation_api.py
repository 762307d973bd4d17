"""The answers of a registry's native API about evaluation sets and what was measured on them (see registry_api.py)."""

from typing import Literal, Self

from pydantic import Field

from petapter_schemas.digests import Sha256
from petapter_schemas.evaluation_set import EvaluationSetSpec
from petapter_schemas.frozen import Frozen
from petapter_schemas.module_facts import Known
from petapter_schemas.registry_api import Date

Standing = Literal["verified", "reproduced", "declared", "disputed"]
"""How far a figure can be believed: measured here and found as declared; measured here; its author's word; measured
here and found otherwise than declared."""

BoardSort = Literal["standing", "value", "name", "updated"]


class EvaluationSetFacts(Known):
    """One version of an evaluation set: what its document says, and what is known of its rows here.

    Attributes:
        rows_bytes: Size of rows.jsonl; None where the rows are not here.
        withdrawn: When the rows were taken back; None where they never were.
    """

    id: str
    version: str
    digest: Sha256
    rows_sha256: Sha256
    description: str
    license: str | None
    languages: tuple[str, ...]
    source: str
    type: Literal["single-label", "multi-label"]
    fields: tuple[str, ...]
    labels: tuple[str, ...]
    counts: tuple[int, ...]
    split: str
    n: int
    published: Date
    by: str
    rows_bytes: int | None
    withdrawn: Date | None

    @classmethod
    def of(cls, spec: EvaluationSetSpec, **others: object) -> Self:
        """The facts of a document, with what a registry adds."""
        return cls.model_validate({**spec.model_dump(exclude={"name", "schema_version"}), **others})


class FoundEvaluationSet(Known):
    """An evaluation set in a list, at its newest version; `modules` have a figure on its rows."""

    id: str
    private: bool
    updated: Date
    modules: int
    facts: EvaluationSetFacts


class EvaluationSetPage(Known):
    """One page of evaluation sets; `next` is the `cursor` of the page after it."""

    sets: tuple[FoundEvaluationSet, ...]
    next: str | None = None


class EvaluationSetDetail(Known):
    """All about one evaluation set; versions are the highest first."""

    id: str
    private: bool
    versions: tuple[EvaluationSetFacts, ...]


class MetricCount(Known):
    """A metric, and how many modules have a figure of it on some rows."""

    metric: str
    modules: int


class BoardLine(Known):
    """A module's figure on the rows of an evaluation set.

    Attributes:
        rank: One more than the number of lines of the same status that are better beyond chance
            (`metric_order.exceeds`), or of all lines where these are sorted by value; None of disputed figures.
        tied: Whether another line has the same rank among these.
        revision: What names the version for clients.
        digest: Of petapter.json.
        status: Of the figure; what the module says of it itself is `declared`, whatever it says.
        declared: Of a measured figure what the module says itself; None where it says nothing.
        by: Who vouches for it: whoever published it, or whoever measured it here.
        at: When that was.
    """

    rank: int | None
    tied: bool
    id: str
    version: str | None
    revision: str
    digest: Sha256
    private: bool
    value: float
    low: float
    high: float
    level: float
    n: int
    status: Standing
    by: str
    at: Date
    declared: float | None = None


class Leaderboard(Known):
    """What modules were measured at on the rows of an evaluation set, in one metric.

    Attributes:
        metric: None where there is no figure.
        metrics: All metrics that there are figures of, with how many modules have one.
        complete: Whether these are all lines; else the best ones.
        contradicting: Figures that name these rows with another number of them; they are left out.
    """

    id: str
    version: str
    rows_sha256: Sha256
    metric: str | None
    higher_is_better: bool
    metrics: tuple[MetricCount, ...]
    sort: BoardSort
    lines: tuple[BoardLine, ...] = Field(default=())
    complete: bool = True
    contradicting: int = 0


class EvaluationSetSettings(Frozen):
    """Who may see an evaluation set."""

    private: bool
