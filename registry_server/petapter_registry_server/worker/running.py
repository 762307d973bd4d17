"""The worker's loop: take a job, have it measured, sign what came out, and tell the queue; or say why it failed."""

import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from petapter_registry_server.errors import DatabaseUnavailableError
from petapter_registry_server.services.evaluation_queue import EvaluationQueue, TakenJob
from petapter_registry_server.services.evaluation_records import Finding
from petapter_registry_server.worker.confinement import Confinement, Ended
from petapter_registry_server.worker.preparing import Sources, lay_out
from petapter_schemas.ed25519 import fingerprint_of, sign_payload
from petapter_schemas.errors import ModuleError, PetapterError
from petapter_schemas.evaluation_result import EvaluationDetail, EvaluationStatement
from petapter_schemas.manifest import Manifest
from petapter_schemas.measurement import BAD_INPUT_CODE, OUT_OF_MEMORY_CODE, Measurement, parse_measurement

MEASURE = (sys.executable, "-m", "petapter.measuring")
"""The program that measures, but for its directory."""

_TRIES = 5
_MIB = 1 << 20


@dataclass(frozen=True)
class Tools:
    """What a worker works with.

    Attributes:
        sources: Where modules, rows and backbones come from.
        confinement: How the measuring process is kept.
        key: Signs.
        measure: The program that measures.
    """

    sources: Sources
    confinement: Confinement
    key: Ed25519PrivateKey
    measure: tuple[str, ...] = MEASURE


class FailedJobError(PetapterError):
    """A job has no result; the text says why, to whoever asked for it."""


class Worker:
    """Measures one job at a time until it is told to stop."""

    def __init__(self, queue: EvaluationQueue, tools: Tools) -> None:
        self._queue = queue
        self._tools = tools
        self._stop = threading.Event()
        self._log = structlog.get_logger("petapter_registry_server")

    def stop(self) -> None:
        """Take no more jobs, and give the one in progress back."""
        self._stop.set()

    def run(self, *, poll_s: float) -> None:
        """Take jobs until `stop`; where none waits, or the database does not answer, look again after `poll_s`."""
        while not self._stop.is_set():
            try:
                worked = self.run_one()
            except DatabaseUnavailableError as error:
                self._log.warning("worker", failed=str(error))
                worked = False
            if not worked:
                self._stop.wait(poll_s)

    def run_one(self) -> bool:
        """Take a job and end it; False where none waits, or the worker is to stop.

        Raises:
            DatabaseUnavailableError: The database does not answer; a job that was taken is another worker's in a while.
        """
        job = None if self._stop.is_set() else self._queue.take()
        if job is None:
            return False
        log = self._log.bind(job=job.id, module=job.module, attempt=job.attempt)
        try:
            finding = self._find(job)
        except (PetapterError, OSError) as error:
            problem = str(error).partition("\n")[0]
            told = self._told(lambda: self._queue.fail(job, problem))
            log.warning("evaluation", failed=problem, told=told)
            return True
        if finding is None:
            self._told(lambda: self._put_back(job))
            log.info("evaluation", given_back=self._stop.is_set())
            return True
        told = self._told(lambda: self._queue.finish(job, finding))
        log.info("evaluation", result=finding.statement.predicate.result, told=told)
        return True

    def _find(self, job: TakenJob) -> Finding | None:
        """What is found of a module; None where the worker is to stop or has lost the job.

        Raises:
            PetapterError: It cannot be measured.
        """
        with tempfile.TemporaryDirectory(prefix="petapter-job-") as folder:
            directory = Path(folder)
            manifest = lay_out(job, self._tools.sources, directory)
            if not self._is_wanted(job):
                return None
            command = [*self._tools.measure, str(directory)]
            ended = self._tools.confinement.run(command, directory, lambda: self._is_wanted(job))
        if ended.cause == "unwanted":
            return None
        measured = _checked(read_measurement(ended, self._tools.confinement), job)
        return _signed(measured, manifest, job, self._tools.key)

    def _is_wanted(self, job: TakenJob) -> bool:
        """An answer that the database owes does not stop a job: whose it is shows at its end."""
        if self._stop.is_set():
            return False
        try:
            return self._queue.keep(job)
        except DatabaseUnavailableError:
            return True

    def _put_back(self, job: TakenJob) -> bool:
        self._queue.put_back(job)
        return True

    def _told(self, deed: Callable[[], bool]) -> bool:
        """Tell the queue, a few times while the database does not answer."""
        for _ in range(_TRIES - 1):
            try:
                return deed()
            except DatabaseUnavailableError as error:
                time.sleep(error.retry_after_s)
        return deed()


def read_measurement(ended: Ended, confinement: Confinement) -> Measurement:
    """What a measuring process said.

    Raises:
        FailedJobError: It said nothing that counts; why, in words for whoever asked for the job.
    """
    limits = confinement.limits
    if ended.cause == "timeout":
        raise FailedJobError(f"it took longer than the {limits.seconds:g} seconds that a worker gives it")
    if ended.cause == "talkative":
        raise FailedJobError("the measuring process wrote more than a measurement can be")
    if ended.code == OUT_OF_MEMORY_CODE:
        raise FailedJobError(f"it needs more memory than the {limits.memory_bytes // _MIB} MiB that a worker gives it")
    if ended.code == BAD_INPUT_CODE:
        raise FailedJobError(ended.last_line or "it was refused without a reason")
    if ended.was_killed:
        raise FailedJobError(f"the system ended the measuring process ({_name(ended.code)}): too much time or memory")
    if ended.code != 0:
        raise FailedJobError(f"the measuring process ended with exit code {ended.code}: {ended.last_line or 'no word'}")
    try:
        return parse_measurement(ended.output)
    except ModuleError as error:
        raise FailedJobError(f"the measuring process did not say what it measured: {error}") from error


def _name(code: int) -> str:
    """The signal that a negative exit code stands for."""
    known = {each.value: each.name for each in signal.Signals}
    return known.get(-code, "SIGKILL")


def _checked(measured: Measurement, job: TakenJob) -> Measurement:
    if measured.module_sha256 != job.manifest_sha256 or measured.evaluation_set != job.rows:
        raise FailedJobError("the measuring process measured something else than it was asked to")
    return measured


def _signed(measured: Measurement, manifest: Manifest, job: TakenJob, key: Ed25519PrivateKey) -> Finding:
    detail = EvaluationDetail.of(measured, manifest, repository=job.module, tolerance=job.tolerance)
    statement = EvaluationStatement.about(manifest, job.manifest_sha256, detail)
    return Finding(statement, sign_payload(statement.to_bytes(), key), fingerprint_of(key.public_key()))
