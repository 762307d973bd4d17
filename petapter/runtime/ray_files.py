# ruff: noqa: PLC0415 (Ray is an extra and is imported when a run over a cluster starts, not before)
"""Answers a whole file over the workers of a Ray cluster, to the same bytes as on one machine.

Ray Data carries the texts of the file, chunk by chunk, to actors that hold an engine each, and their answers back in
order. This process reads the file too, so that rows, broken rows, results and going on after a kill are those of
`petapter.runtime.files`; no answer waits here but in Ray's object store, which holds reading back when it fills up.
"""

import logging
import os
import socket
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petapter.backbone import Precision
from petapter.runtime.answers import Prediction
from petapter.runtime.engine import Engine
from petapter.runtime.files import FileReport, FileRun, OnProgress
from petapter.runtime.files.checkpoint import Checkpoint
from petapter.runtime.files.chunks import Chunk
from petapter.runtime.files.running import Ask, answer_file
from petapter_schemas.errors import DataError, InputError
from petapter_schemas.file_contents import ALLOWED_SUFFIXES
from petapter_schemas.fingerprints import backbone_digests

if TYPE_CHECKING:
    from petapter.runtime.ray_worker import LoadModules, Payload, Reading

_LOCAL = "local"
_STDERR = 2
_CONNECT_SECONDS = 3.0
_ROOM_SECONDS = 30.0
"""How long a run waits for room in silence."""
_LOCAL_STORE_BYTES = 512 << 20
_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
_LOCAL_SETTINGS = _SETTINGS | {"RAY_worker_niceness": "0"}  # 15 by default: beside other work a tenth as fast
_JOINING_SETTINGS = _SETTINGS | {  # where something else than Ray listens it would try for minutes
    "RAY_gcs_server_port_wait_time_s": "1",
    "RAY_py_gcs_connect_timeout_s": "5",
}
"""What Ray reads from the environment, unless the user has set it."""

_BACKBONE_SUFFIXES = frozenset({".json", ".safetensors", ".txt", ".model"})
_SPARE_DEATHS = 3
"""How often workers may die between two chunks, beyond once for each: a machine may be taken away with all on it."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cluster:
    """Where a run goes.

    Attributes:
        address: `HOST:PORT` of a cluster that this machine belongs to, or `auto` for the one that runs on it. By
            default RAY_ADDRESS; without that, Ray is started for the run and stopped afterwards.
        workers: How many engines; by default one for each GPU of the cluster or, without any, each processor.

    Raises:
        InputError: Ray is missing, or this is no address or no number of workers.
    """

    address: str | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        if find_spec("ray") is None or find_spec("pyarrow") is None:
            raise InputError("Ray is not installed: pip install 'petapter[ray]'")
        if self.workers is not None and self.workers < 1:
            raise InputError(f"a run needs one worker or more, not {self.workers}")
        if "://" in self.place:
            raise InputError(
                f"{self.place} is no address that can be used: run this on a machine of the cluster and give HOST:PORT"
            )

    @property
    def place(self) -> str:
        """The address that is meant."""
        return self.address or os.environ.get("RAY_ADDRESS") or _LOCAL


def load_modules(engine: Engine, modules: Mapping[str, Path]) -> None:
    """Load module directories by alias.

    Raises:
        PetapterError: A module must not be used or does not fit the backbone.
    """
    for alias, directory in modules.items():
        engine.load(directory, alias)


@dataclass(frozen=True)
class ModuleSet:
    """Who answers: a backbone and modules, as directories on this machine.

    Attributes:
        backbone: The backbone's directory.
        repo: The backbone's name to record.
        revision: The backbone's commit to record.
        modules: What `load` needs, by name: by default each module's directory by the alias in the run.
        load: Loads the modules of the run in its order, in each worker; by default as `Engine.load` does.
        precision: Of the backbone's layers.
    """

    backbone: Path
    modules: Mapping[str, Path]
    repo: str
    revision: str | None = None
    load: "LoadModules" = load_modules
    precision: Precision = "float32"


def predict_file_on_ray(
    module_set: ModuleSet,
    run: FileRun,
    cluster: Cluster,
    *,
    on_progress: OnProgress | None = None,
    most_rows: int | None = None,
) -> FileReport:
    """Do what `predict_file` does over the workers of a cluster; each of the two goes on with what the other left.

    Where this process is connected to a cluster already, that one is taken and stays connected.

    Args:
        module_set: Who answers.
        run: What and where to.
        cluster: Where the workers are.
        on_progress: Told how far it has come.
        most_rows: Of a chunk; by default as `predict_file`.

    Raises:
        InputError: As `predict_file`; or the cluster cannot be reached, or its workers die again and again.
        DataError: As `predict_file`.
        PetapterError: A worker refuses a module or the backbone.
    """

    @contextmanager
    def open_ask(state: Checkpoint) -> Iterator[Ask]:
        with _connected(cluster), _stream(module_set, run, cluster, state) as answers:

            def ask(chunk: Chunk) -> Sequence[Mapping[str, Prediction]]:
                return _answers_to(chunk, run, answers)

            yield ask

    return answer_file(open_ask, run, module_set.precision, on_progress=on_progress, most_rows=most_rows)


@contextmanager
def _connected(cluster: Cluster) -> Iterator[None]:
    for name, value in (_LOCAL_SETTINGS if cluster.place == _LOCAL else _JOINING_SETTINGS).items():
        os.environ.setdefault(name, value)
    import ray
    import ray.data  # gives its logger a level of its own

    with _hushed("ray", "ray.data"):
        if ray.is_initialized():
            yield
            return
        _join(cluster)
        try:
            yield
        finally:
            ray.shutdown()


def _join(cluster: Cluster) -> None:
    import ray

    place = cluster.place
    _check_listening(place)
    own: dict[str, Any] = {}
    if place == _LOCAL:
        own = {"num_cpus": max(cluster.workers or 1, os.cpu_count() or 1), "object_store_memory": _LOCAL_STORE_BYTES}
    try:
        with _silent_stderr():
            ray.init(place, include_dashboard=False, log_to_driver=False, configure_logging=False, **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(
            f"no Ray cluster can be joined at {place}: {_line(error)} (if it asks for a token, set RAY_AUTH_MODE=token)"
        ) from error


def _check_listening(place: str) -> None:
    """Find out quickly that nobody is there; Ray itself would try for half a minute."""
    host, colon, port = place.rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(
            f"no Ray cluster answers at {place}: start one with 'ray start --head', or leave --ray-address out"
        ) from error


@contextmanager
def _hushed(*names: str) -> Iterator[None]:
    """Keep what Ray tells from the terminal; its log files have it."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Keep from the terminal that RAY_BACKEND_LOG_LEVEL was read, which Ray's native code tells; errors are raised."""
    sys.stderr.flush()
    kept = os.dup(_STDERR)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, _STDERR)
        yield
    finally:
        os.dup2(kept, _STDERR)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _stream(
    module_set: ModuleSet, run: FileRun, cluster: Cluster, state: Checkpoint
) -> Iterator[Iterator[tuple[int, bytes]]]:
    """Number and answers of each chunk that has texts, in order."""
    from petapter.runtime.ray_worker import Reading

    reading = Reading(_absolute(run), state.rows, state.run.chunk_rows)
    with closing(_answered(reading, _pack(module_set, cluster), cluster)) as answers:
        yield answers


def _answered(reading: "Reading", payload: "Payload", cluster: Cluster) -> Generator[tuple[int, bytes], None, None]:
    import ray
    from ray.data import ActorPoolStrategy, DataContext, read_datasource

    from petapter.runtime.ray_worker import Deaths, Texts, Worker, read_block

    workers, with_gpu = _workers(cluster)
    _await_room(cluster, with_gpu=with_gpu)
    here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}  # where the file can be read
    deaths: Any = ray.remote(num_cpus=0, label_selector=here)(Deaths).remote()
    context = DataContext.get_current().copy()
    context.target_max_block_size = 1  # so that no two chunks share a block
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    with DataContext.current(context):
        texts = read_datasource(Texts(reading), override_num_blocks=1, num_cpus=0, label_selector=here)
        answers = texts.map_batches(
            Worker,
            fn_constructor_args=(payload, deaths, workers + _SPARE_DEATHS),
            compute=ActorPoolStrategy(min_size=1, initial_size=workers, max_size=workers),
            num_cpus=1,
            num_gpus=1 if with_gpu else None,
            batch_size=1,
            batch_format="pyarrow",
        )
    for block in answers.iter_batches(batch_size=1, batch_format="pyarrow"):
        yield read_block(block)
        deaths.forget.remote()


def _workers(cluster: Cluster) -> tuple[int, bool]:
    """How many workers, and whether each takes a GPU."""
    import ray

    there = ray.cluster_resources()
    gpus = int(there.get("GPU", 0))
    workers = cluster.workers or gpus or int(there.get("CPU", 0))
    if not workers:
        raise InputError(
            f"the Ray cluster at {cluster.place} has no processors yet: say how many workers will be there"
        )
    return workers, gpus > 0


def _await_room(cluster: Cluster, *, with_gpu: bool) -> None:
    """Tell where there is no room for one worker; the run waits on, as other work may end and a cluster may grow."""
    import ray

    probe = ray.remote(num_cpus=1, num_gpus=int(with_gpu), max_retries=0)(_nothing).remote()
    if ray.wait([probe], timeout=_ROOM_SECONDS)[0]:
        return
    ray.cancel(probe)
    free, there = ray.available_resources(), ray.cluster_resources()
    kinds = {"CPU": "processors"} | ({"GPU": "GPUs"} if with_gpu else {})
    room = " and ".join(f"{free.get(kind, 0):g} of {there.get(kind, 0):g} {what}" for kind, what in kinds.items())
    logger.warning(
        "the Ray cluster at %s has had no room for a worker for %g seconds (%s are free) and the run waits on: end "
        "other work there, add a machine, or stop this and run the same without Ray",
        cluster.place,
        _ROOM_SECONDS,
        room,
    )


def _nothing() -> None:
    """Takes the room of a worker for a moment."""


def _answers_to(chunk: Chunk, run: FileRun, answers: Iterator[tuple[int, bytes]]) -> Sequence[Mapping[str, Prediction]]:
    from ray.exceptions import RayError, RayTaskError

    from petapter.runtime.ray_worker import is_for, read_answers

    try:
        number, data = next(answers, (None, b""))
    except RayTaskError:  # a bug of ours
        raise
    except RayError as error:
        raise InputError(
            f"the workers of the Ray cluster failed ({_line(error)}): look at its logs, put that right and run the "
            "same again, it goes on where it was"
        ) from error
    if number is None or not is_for(number, chunk):
        raise DataError(f"{run.input} was changed while it was read: leave it alone and begin anew with --restart")
    return read_answers(data, run.modules)


def _pack(module_set: ModuleSet, cluster: Cluster) -> "Payload":
    import ray

    from petapter.runtime.ray_worker import BackbonePayload, Payload

    directory = module_set.backbone.absolute()
    is_alone = cluster.place == _LOCAL and len(ray.nodes()) == 1  # else a worker may come up where the files are not
    files = {} if is_alone else _backbone_files(directory)
    digests = backbone_digests(directory)
    backbone = BackbonePayload(
        directory, module_set.repo, module_set.revision, digests, files, precision=module_set.precision
    )
    modules = {alias: _module_files(directory) for alias, directory in module_set.modules.items()}
    return Payload(version("petapter"), backbone, modules, module_set.load)


def _module_files(directory: Path) -> dict[str, bytes]:
    """A module's or an ensemble's files by path; whoever opens it looks at those that it names."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.suffix in ALLOWED_SUFFIXES
    }


def _backbone_files(directory: Path) -> dict[str, Any]:
    """Ray's references to the bytes of a backbone's files, by name; one at a time in memory."""
    import ray

    return {
        path.name: ray.put(path.read_bytes())
        for path in sorted(directory.iterdir())
        if path.is_file() and path.suffix in _BACKBONE_SUFFIXES
    }


def _absolute(run: FileRun) -> FileRun:
    return replace(run, input=run.input.absolute())


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
