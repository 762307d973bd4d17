"""What Prometheus reads: requests by route, their seconds, and the database's connections; no names and no ids."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import QueuePool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db import evaluation_jobs
from petapter_registry_server.db.engine import Database
from petapter_registry_server.errors import PassingError

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE"})
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

router = APIRouter()


@dataclass(frozen=True)
class Summary:
    """The requests of one process: how many by class of status, and by route those that failed on our side."""

    totals: Mapping[str, int]
    failed: Sequence[tuple[str, str, int]]


class Metrics:
    """The figures of one process."""

    def __init__(self, database: Database) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "petapter_registry_requests", "Requests", ("method", "route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "petapter_registry_request_seconds",
            "Seconds from a request to the end of its answer",
            ("method", "route"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._watch_connections(database)
        self.registry.register(_EvaluationQueue(database))

    def count(self, scope: Scope, status: int, seconds: float) -> None:
        """Add a request. The route is its template, such as `/api/models/{namespace}/{name}`."""
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = getattr(scope.get("route"), "path", "none")
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def summary(self) -> Summary:
        """What was counted since the process began."""
        totals: dict[str, int] = {}
        failed: dict[tuple[str, str], int] = {}
        for sample in next(iter(self._requests.collect())).samples:
            if not sample.name.endswith("_total"):
                continue
            status = sample.labels["status"]
            totals[f"{status[0]}xx"] = totals.get(f"{status[0]}xx", 0) + int(sample.value)
            if status >= "500":
                route = f"{sample.labels['method']} {sample.labels['route']}", status
                failed[route] = failed.get(route, 0) + int(sample.value)
        lines = sorted(((route, status, count) for (route, status), count in failed.items()), key=lambda line: -line[2])
        return Summary(totals, lines)

    def _watch_connections(self, database: Database) -> None:
        pool = database.engine.pool
        if not isinstance(pool, QueuePool):
            return
        in_use = Gauge("petapter_registry_database_connections_in_use", "Connections in use", registry=self.registry)
        in_use.set_function(pool.checkedout)
        idle = Gauge(
            "petapter_registry_database_connections_idle", "Connections that wait for use", registry=self.registry
        )
        idle.set_function(pool.checkedin)


class _EvaluationQueue(Collector):
    """The queue of evaluations, which all processes of a registry share; nothing where the database does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering it does not ask the database."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Jobs by status, and how long the oldest has waited."""
        try:
            with self._database.read() as session:
                queue = evaluation_jobs.measure_queue(session)
        except PassingError:
            return
        jobs = GaugeMetricFamily("petapter_registry_evaluation_jobs", "Evaluations by status", labels=("status",))
        for status, count in queue.by_status.items():
            jobs.add_metric((status,), count)
        yield jobs
        waited_ms = 0 if queue.oldest_queued_ms is None else max(now_ms() - queue.oldest_queued_ms, 0)
        yield GaugeMetricFamily(
            "petapter_registry_evaluation_oldest_seconds",
            "Seconds that the oldest evaluation has waited for a worker",
            value=waited_ms / 1000,
        )


class RequestMetrics:
    """ASGI middleware that counts; it stands next to the router, which leaves the route in the scope."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500  # what a client sees when the application fails before it answers

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, answer)
        finally:
            self._metrics.count(scope, status, time.perf_counter() - began)


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """The figures in Prometheus' text format."""
    return Response(generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST)
