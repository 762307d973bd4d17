# ruff: noqa: PLC0415 (Ray is an extra and is imported when members are trained over a cluster, not before)
"""Trains the members of a tuning over the workers of a Ray cluster; they say what they would say in one process.

Each worker holds the backbone and trains one part of the members after the other; what a part says is yielded when it
is finished, so that `Work` keeps it. A part whose worker died is trained by another. A member does not depend on those
it trains among, so neither do results depend on the number of workers.
"""

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petapter.runtime.ray_backbone import BackbonePayload, pack_backbone
from petapter.runtime.ray_cluster import SPARE_DEATHS, Cluster, await_room, connected, last_line, workers_of
from petapter.tuning.members import Asked, Member, OnMembers, Said, Trains, parts_of
from petapter.tuning.options import TuneOptions
from petapter_schemas.errors import InputError

if TYPE_CHECKING:
    from petapter.tuning.ray_trainer import MembersPayload

logger = logging.getLogger(__name__)


@contextmanager
def members_on_ray(
    cluster: Cluster, backbone: tuple[Path, str, str | None], options: TuneOptions
) -> Iterator[Callable[[Asked], Trains]]:
    """What `tune` takes as `trains` to train members over a cluster, for as long as this process is connected to it.

    Where it is connected already, it stays so.

    Args:
        cluster: Where the workers are.
        backbone: Directory of the backbone that tuning has here, and name and commit to record.
        options: Those of the tuning.

    Raises:
        InputError: Nobody answers there, or there are no processors.
    """
    with connected(cluster):
        workers_of(cluster)
        packed = pack_backbone(backbone, cluster)
        yield lambda asked: _RayMemberRuns(asked, cluster, packed, options)


class _RayMemberRuns:
    """See `Trains`; workers are there while members train."""

    def __init__(self, asked: Asked, cluster: Cluster, backbone: BackbonePayload, options: TuneOptions) -> None:
        self._asked, self._cluster, self._backbone, self._options = asked, cluster, backbone, options

    def __call__(self, members: Sequence[Member], on_members: OnMembers | None = None) -> Generator[Said, None, None]:
        """Train members.

        Raises:
            InputError: Workers die again and again.
            PetapterError: A worker refuses; not even one member fits its memory, for instance.
        """
        from petapter.tuning.ray_trainer import MembersPayload, read_said

        if not members:
            return
        workers, with_gpu = workers_of(self._cluster)
        parts = parts_of(members, min(self._options.at_once, -(-len(members) // workers)))
        workers = min(workers, len(parts))
        await_room(self._cluster, with_gpu=with_gpu)
        payload = MembersPayload.of(version("petapter"), self._backbone, self._asked, self._options, workers)
        done, words = 0, f"over {workers} worker{'s' if workers > 1 else ''}"
        pool = _Pool(payload, workers, with_gpu=with_gpu)
        try:
            for part, answer in pool.train(parts):
                said = read_said(part, answer)
                done += len(part)
                if on_members is not None:
                    on_members(done, len(members), words)
                yield said
        finally:
            pool.close()


class _Pool:
    """Workers, each of which trains one part at a time; one that dies is replaced, and its part trained by another."""

    def __init__(self, payload: "MembersPayload", workers: int, *, with_gpu: bool) -> None:
        import ray

        from petapter.tuning.ray_trainer import MemberTrainer

        self._trainer: Any = ray.remote(num_cpus=1, num_gpus=int(with_gpu))(MemberTrainer)
        self._payload = ray.put(payload)
        self._workers = workers
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, Sequence[Member]]] = {}
        self._deaths = 0

    def train(self, parts: Sequence[Sequence[Member]]) -> Iterator[tuple[Sequence[Member], tuple[str, bytes]]]:
        """Parts in the order in which they are finished, with the worker's answer.

        Raises:
            InputError: Workers die and no part is finished.
        """
        waiting = deque(parts)
        while waiting or self._busy:
            while waiting and len(self._busy) < self._workers:
                self._begin(waiting.popleft())
            part, answer = self._next()
            if answer is None:
                waiting.appendleft(part)
            else:
                yield part, answer

    def close(self) -> None:
        """End all workers, whatever they are at."""
        import ray

        for worker in (*self._idle, *(worker for worker, _ in self._busy.values())):
            ray.kill(worker)
        self._idle, self._busy = [], {}

    def _begin(self, part: Sequence[Member]) -> None:
        from petapter.tuning.ray_trainer import write_members

        worker = self._idle.pop() if self._idle else self._trainer.remote(self._payload)
        self._busy[worker.train.remote(write_members(part))] = (worker, part)

    def _next(self) -> tuple[Sequence[Member], tuple[str, bytes] | None]:
        """The next part that ends, and its answer; none if its worker died."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        ended = ray.wait(list(self._busy))[0][0]
        worker, part = self._busy.pop(ended)
        try:
            answer: tuple[str, bytes] = ray.get(ended)
        except RayTaskError:  # a bug of ours
            raise
        except RayError as error:
            ray.kill(worker)  # it may live on where it cannot be reached
            self._deaths += 1
            logger.info("a worker died (%s); its %d members are trained by another", last_line(error), len(part))
            if self._deaths > self._workers + SPARE_DEATHS:
                raise InputError(
                    f"workers of the Ray cluster died {self._deaths} times since members were last finished "
                    f"({last_line(error)}): look at its logs, put that right and run the same again, it goes on where "
                    "it was"
                ) from error
            return part, None
        self._deaths = 0
        self._idle.append(worker)
        return part, answer
