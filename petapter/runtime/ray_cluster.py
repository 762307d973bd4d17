# ruff: noqa: PLC0415 (Ray is an extra and is imported when a run over a cluster starts, not before)
"""Where the Ray cluster of a run is: joining it or starting one, how many workers it has room for, what it may say."""

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from petapter_schemas.errors import InputError

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

SPARE_DEATHS = 3
"""How often workers may die between two finished pieces of work, beyond once for each: a machine may be taken away with
all on it."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cluster:
    """Where a run goes.

    Attributes:
        address: `HOST:PORT` of a cluster that this machine belongs to, or `auto` for the one that runs on it. By
            default RAY_ADDRESS; without that, Ray is started for the run and stopped afterwards.
        workers: How many processes, each with a backbone of its own; by default one for each GPU of the cluster or,
            without any, each processor.

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

    @property
    def is_alone(self) -> bool:
        """Whether it is this machine and no other; asked while connected."""
        import ray

        return self.place == _LOCAL and len(ray.nodes()) == 1


@contextmanager
def connected(cluster: Cluster) -> Iterator[None]:
    """Join the cluster, or start Ray, until the end; a process that is connected already stays so.

    Raises:
        InputError: Nobody answers there.
    """
    for name, value in (_LOCAL_SETTINGS if cluster.place == _LOCAL else _JOINING_SETTINGS).items():
        os.environ.setdefault(name, value)
    import ray

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
            f"no Ray cluster can be joined at {place}: {last_line(error)} (if it asks for a token, set "
            "RAY_AUTH_MODE=token)"
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


def workers_of(cluster: Cluster) -> tuple[int, bool]:
    """How many workers, and whether each takes a GPU.

    Raises:
        InputError: There are no processors, and nobody says how many workers there will be.
    """
    import ray

    there = ray.cluster_resources()
    gpus = int(there.get("GPU", 0))
    workers = cluster.workers or gpus or int(there.get("CPU", 0))
    if not workers:
        raise InputError(
            f"the Ray cluster at {cluster.place} has no processors yet: say how many workers will be there"
        )
    return workers, gpus > 0


def await_room(cluster: Cluster, *, with_gpu: bool) -> None:
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


def last_line(error: Exception) -> str:
    """What an error of Ray's says in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
