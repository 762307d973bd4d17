"""What a registry says was measured of a module, and whether the signatures under it hold here."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from petapter_hub_client.hub import Hub, open_hub
from petapter_hub_client.native import ask
from petapter_hub_client.signing.keys import SHOWN_DIGITS, TrustedKey, list_trusted_keys, today
from petapter_schemas.ed25519 import is_signed_by, read_public_key
from petapter_schemas.errors import InputError, SignatureError
from petapter_schemas.evaluation_result import EvaluationStatement, parse_evaluation
from petapter_schemas.measuring_api import EvaluationList, EvaluationState, WorkerKeyList, WorkerKeyState
from petapter_schemas.references import Reference
from petapter_schemas.signature import parse_envelope

ResultVerdict = Literal["worker", "trusted", "unknown", "expired", "revoked", "broken"]


@dataclass(frozen=True)
class CheckedResult:
    """A result, and what the signature under it is worth here.

    Attributes:
        state: As the registry tells it.
        verdict: `worker`: a key signed it that the registry names as one of its workers. `trusted`: a key that is
            trusted here. `unknown`: one that is not. `expired`, `revoked`: one that no longer counts. `broken`: its key
            did not sign what the registry tells.
        detail: One clause for people.
    """

    state: EvaluationState
    verdict: ResultVerdict
    detail: str


def list_results(module: str) -> list[CheckedResult]:
    """All results of a module, of all its versions or of one, newest first; each signature is verified here.

    Args:
        module: `[remote:]namespace/name[@revision]`.

    Raises:
        RemoteError: The remote said no, or nothing, or is no registry.
    """
    parsed = Reference.parse(module)
    hub = open_hub(parsed.remote)
    parameters = [] if parsed.revision is None else [("revision", parsed.revision)]
    found = ask(hub, f"/modules/{parsed.repo_id}/evaluations", EvaluationList, parameters=parameters)
    workers = _worker_keys(hub) if any(each.by_worker for each in found.evaluations) else {}
    trusted = list_trusted_keys()
    return [CheckedResult(each, *_judged(each, workers, trusted)) for each in found.evaluations]


def _worker_keys(hub: Hub) -> Mapping[str, WorkerKeyState]:
    return {key.fingerprint: key for key in ask(hub, "/worker-keys", WorkerKeyList).keys}


def _judged(
    state: EvaluationState, workers: Mapping[str, WorkerKeyState], trusted: Sequence[TrustedKey]
) -> tuple[ResultVerdict, str]:
    mine = next((key for key in trusted if key.fingerprint == state.key), None)
    worker = workers.get(state.key)
    if mine is None and worker is None:
        return "unknown", f"by a key that is not trusted here ({state.key[:SHOWN_DIGITS]})"
    try:
        key = mine.public_key if mine is not None else read_public_key(worker.public_key.encode() if worker else b"")
        envelope = parse_envelope(json.dumps(state.envelope).encode(), source="the result")
        if not is_signed_by(envelope, key):
            return "broken", "its key did not sign it: it was changed"
        statement = parse_evaluation(envelope, source="the result")
    except (SignatureError, InputError) as error:
        return "broken", str(error)
    if not _says(statement, state):
        return "broken", "what was signed is not what the registry tells"
    return _worth(mine, worker)


def _worth(mine: TrustedKey | None, worker: WorkerKeyState | None) -> tuple[ResultVerdict, str]:
    """What a key is worth that has signed; what is known here of it comes before what the registry says."""
    if mine is not None and mine.revoked is not None:
        return "revoked", f"the key {mine.name!r} was revoked: {mine.revoked}"
    if mine is not None and mine.has_expired(today()):
        return "expired", f"the key {mine.name!r} was trusted until {mine.until}"
    if mine is not None:
        return "trusted", f"signed by {mine.name!r}"
    name = worker.name if worker is not None else ""
    if worker is not None and worker.revoked is not None:
        return "revoked", f"the key of the worker {name!r} was revoked"
    return "worker", f"signed by the worker {name!r}"


def _says(statement: EvaluationStatement, state: EvaluationState) -> bool:
    """Whether a statement is about the same module and rows, and has the same figures."""
    detail = statement.detail
    signed = {figure.metric: figure.value for figure in detail.figures}
    return (
        statement.manifest_sha256 == state.digest
        and detail.evaluation_set.sha256 == state.rows_sha256
        and signed == {figure.metric: figure.value for figure in state.figures}
    )
