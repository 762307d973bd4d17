"""What the service counts, in a Prometheus registry of its own."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from petapter.runtime import BatchReport, EngineStats

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

_REJECTIONS = frozenset({401, 403, 413, 429, 503})


class Metrics:
    """Counters of one service; safe to use from all threads."""

    def __init__(self) -> None:
        """All at zero."""
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "petapter_requests", "Requests by route and status.", ("route", "status"), registry=self.registry
        )
        self._request_seconds = Histogram(
            "petapter_request_seconds", "Seconds of a request.", ("route",), buckets=_SECONDS, registry=self.registry
        )
        self._batch_texts = Histogram(
            "petapter_batch_texts", "Texts of a batch.", buckets=_TEXTS, registry=self.registry
        )
        self._batch_seconds = Histogram(
            "petapter_batch_seconds", "Seconds of a batch.", buckets=_SECONDS, registry=self.registry
        )
        self._rejections = Counter(
            "petapter_rejections", "Requests turned away, by the error's code.", ("code",), registry=self.registry
        )

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests.labels(route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def count_batch(self, report: BatchReport) -> None:
        """Count a batch that ran."""
        self._batch_texts.observe(report.texts)
        self._batch_seconds.observe(report.seconds)

    def reject(self, code: str, status: int) -> None:
        """Count a request that was turned away, if that is what the status says."""
        if status in _REJECTIONS:
            self._rejections.labels(code).inc()

    def watch(self, waiting: Callable[[], int], stats: Callable[[], EngineStats | None]) -> None:
        """Ask these whenever the metrics are read."""
        self.registry.register(_Engine(waiting, stats))

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)


class _Engine(Collector):
    """What queue and engine say of themselves."""

    def __init__(self, waiting: Callable[[], int], stats: Callable[[], EngineStats | None]) -> None:
        self._waiting = waiting
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        """The figures of this moment; those of the engine are missing while there is none."""
        yield GaugeMetricFamily("petapter_queue_texts", "Texts that wait.", value=self._waiting())
        if (stats := self._stats()) is None:
            return
        yield GaugeMetricFamily("petapter_modules", "Loaded modules.", value=stats.modules)
        yield GaugeMetricFamily("petapter_modules_resident", "Of these, on the device.", value=stats.resident)
        yield GaugeMetricFamily("petapter_module_bytes", "Bytes of modules on the device.", value=stats.resident_bytes)
        yield GaugeMetricFamily("petapter_module_host_bytes", "Bytes kept in host memory.", value=stats.host_bytes)
        yield CounterMetricFamily("petapter_tokens", "Tokens that ran.", value=stats.tokens)
        yield CounterMetricFamily("petapter_encodings", "Texts that ran, by pattern and window.", value=stats.encodings)
        yield CounterMetricFamily("petapter_residency_misses", "Modules brought back for a pass.", value=stats.misses)
