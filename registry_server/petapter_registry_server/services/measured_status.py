"""What a module's figures are worth here: declared by its author, or measured again by somebody else.

A manifest may claim any status for its figures; here it counts as declared until somebody else has measured.
"""

from collections.abc import Mapping

from sqlalchemy.orm import Session

from petapter_registry_server.db import evaluations, module_index
from petapter_registry_server.db.evaluation_tables import Evaluation
from petapter_registry_server.db.evaluations import Counting
from petapter_registry_server.services.evaluation_records import status_of
from petapter_schemas.measuring_api import MeasuredFigure
from petapter_schemas.module_facts import MetricFacts, ModuleFacts


def read_facts(session: Session, repository_of: Mapping[str, int]) -> dict[str, ModuleFacts]:
    """The facts of commits, each given with its repository; their figures have the status that they have here."""
    known = module_index.read_facts(session, repository_of)
    measured = {repository_of[oid] for oid, facts in known.items() if facts.metrics}
    counting = evaluations.that_count(session, evaluations.list_evaluations(session, measured))
    return {oid: _with_statuses(facts, repository_of[oid], counting) for oid, facts in known.items()}


def _with_statuses(facts: ModuleFacts, repository_id: int, counting: Counting) -> ModuleFacts:
    figures = (_figure(each, counting.get((repository_id, facts.digest or "", each.sha256))) for each in facts.metrics)
    return facts.model_copy(update={"metrics": tuple(figures)}) if facts.metrics else facts


def _figure(declared: MetricFacts, evaluation: Evaluation | None) -> MetricFacts:
    status = "declared" if evaluation is None else _status(declared.metric, evaluation)
    return declared if declared.status == status else declared.model_copy(update={"status": status})


def _status(metric: str, evaluation: Evaluation) -> str:
    """Of one figure: what differs is disputed, what does not is verified, whatever became of the others."""
    for each in map(MeasuredFigure.model_validate, evaluation.metrics):
        if each.metric == metric and each.is_within is not None:
            return status_of(each.is_within, by_worker=evaluation.by_worker)
    return "declared"
