"""What modules were measured to be: ask for it, look at the queue, read results, and hand one in."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from petapter_registry_server.api.dependencies import AllServices, CurrentCaller, json_body
from petapter_registry_server.api.problems import PROBLEMS
from petapter_registry_server.api.raw_path import Segment
from petapter_schemas.measuring_api import (
    EvaluationJobList,
    EvaluationJobState,
    EvaluationList,
    EvaluationRequest,
    EvaluationState,
    Reproduction,
    WorkerKeyList,
)
from petapter_schemas.registry_api import API

router = APIRouter(prefix=API, tags=["evaluations"], responses=PROBLEMS)


@router.post("/modules/{namespace}/{name}/evaluation-jobs", status_code=202)
def request_evaluation(
    namespace: Segment,
    name: Segment,
    asked: Annotated[EvaluationRequest, Depends(json_body(EvaluationRequest))],
    caller: CurrentCaller,
    services: AllServices,
) -> EvaluationJobState:
    """Let a worker measure a revision on an evaluation set; what is asked for already is not asked for twice."""
    return services.evaluations.request(caller, f"{namespace}/{name}", asked.evaluation_set, asked.revision)


@router.get("/modules/{namespace}/{name}/evaluation-jobs")
def list_evaluation_jobs(
    namespace: Segment, name: Segment, caller: CurrentCaller, services: AllServices
) -> EvaluationJobList:
    """The last jobs of a module, newest first."""
    return services.evaluations.jobs(caller, f"{namespace}/{name}")


@router.get("/modules/{namespace}/{name}/evaluation-jobs/{job}")
def show_evaluation_job(
    namespace: Segment,
    name: Segment,
    job: Annotated[int, Path(ge=1, lt=1 << 31)],
    caller: CurrentCaller,
    services: AllServices,
) -> EvaluationJobState:
    """One job: whether it waits, runs, is done or failed, and why."""
    return services.evaluations.job(caller, f"{namespace}/{name}", job)


@router.get("/modules/{namespace}/{name}/evaluations")
def list_evaluations(
    namespace: Segment,
    name: Segment,
    caller: CurrentCaller,
    services: AllServices,
    revision: Annotated[str | None, Query(max_length=200)] = None,
) -> EvaluationList:
    """What was measured of a module, with the signed statements; of one `revision`, or of all."""
    return services.evaluations.list(caller, f"{namespace}/{name}", revision)


@router.post("/modules/{namespace}/{name}/evaluations", status_code=201)
def hand_in_evaluation(
    namespace: Segment,
    name: Segment,
    handed: Annotated[Reproduction, Depends(json_body(Reproduction))],
    caller: CurrentCaller,
    services: AllServices,
) -> EvaluationState:
    """Hand in a signed result: it says that the declared figures are reproduced, or disputed."""
    return services.evaluations.reproduce(caller, f"{namespace}/{name}", handed)


@router.get("/worker-keys")
def list_worker_keys(services: AllServices) -> WorkerKeyList:
    """The public keys of those who measure for this registry, by which everybody can verify what they signed."""
    return WorkerKeyList(keys=tuple(services.worker_keys.list()))
