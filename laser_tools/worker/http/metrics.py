"""Prometheus metrics. Labels are bounded: templates, statuses and codes, never input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from laser_tools.errors import Cancelled, DeadlineExceeded
from laser_tools.schema import GroundedAnswer, ZoomResult
from laser_tools.worker.backends.base import Backend
from laser_tools.worker.http.admission import Gate
from laser_tools.worker.http.health import Health
from laser_tools.worker.http.quantile import quantile
from laser_tools.worker.http.record import Record
from laser_tools.worker.http.store import KeyedImages

STAGES = ("encode", "attend", "crop", "decode", "total")
SHED = ("busy", "quota_exceeded", "draining", "model_unavailable")
QUANTILES = (0.5, 0.95, 1.0)
LATENCY_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Counters of one worker, in a registry of its own."""

    def __init__(self, *state: Collector) -> None:
        self._registry = CollectorRegistry()
        for collector in state:
            self._registry.register(collector)
        self._requests = self._counter("requests", "Responses.", "route", "method", "status")
        self._refusals = self._counter("refusals", "Refusals by their code.", "route", "code")
        self._shed = self._counter("shed", "Requests not let in.", "code")
        self._cancelled = self._counter("cancelled", "Requests whose caller hung up.")
        self._late = self._counter("deadline_exceeded", "Requests not answered in time.")
        self._prefix_hits = self._counter("prefix_hits", "Image prefixes that were there already.")
        self._answers = self._counter("answers", "Answers by how they were reached.", "route")
        self._seconds = self._histogram("request_seconds", "From headers to the end.", "route")
        self._stages = self._histogram("stage_seconds", "The model's share of it.", "stage")

    def observe(self, record: Record) -> None:
        """Count a request that has ended."""
        self._requests.labels(record.route, record.method, str(record.status)).inc()
        self._seconds.labels(record.route).observe(record.age_s)
        if record.code:
            self._refusals.labels(record.route, record.code).inc()
        if record.code in SHED:
            self._shed.labels(record.code).inc()
        if record.code == Cancelled.code:  # a stream that has begun keeps its status
            self._cancelled.inc()
        if record.code == DeadlineExceeded.code:
            self._late.inc()

    def served(self, result: GroundedAnswer | ZoomResult) -> None:
        """Count a result's prefix hits and route, and record its stage times."""
        self._prefix_hits.inc(result.prefix_hits)
        if isinstance(result, GroundedAnswer):
            self._answers.labels(result.route).inc()
        for stage in STAGES:
            if stage in result.timings_s:
                self._stages.labels(stage).observe(result.timings_s[stage])

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def _counter(self, name: str, help_: str, *labels: str) -> Counter:
        return Counter(f"laser_{name}", help_, labels, registry=self._registry)

    def _histogram(self, name: str, help_: str, *labels: str) -> Histogram:
        return Histogram(f"laser_{name}", help_, labels, registry=self._registry, buckets=LATENCY_S)


class State(Collector):
    """Gauges that are read when somebody asks."""

    def __init__(self, backend: Backend, gate: Gate, images: KeyedImages, health: Health) -> None:
        self._backend = backend
        self._gate = gate
        self._images = images
        self._health = health

    def collect(self) -> Iterator[GaugeMetricFamily]:
        numbers = self._backend.numbers()
        n_images, image_bytes = self._images.held()
        for name, help_, value in (
            ("queue_depth", "Requests that wait for the model.", numbers.queue_depth),
            ("batch_in_flight", "Requests in the running batch.", numbers.in_flight),
            ("http_in_flight", "Requests let in and not yet ended.", self._gate.in_flight),
            ("images", "Images held.", n_images),
            ("image_store_bytes", "Pixels held.", image_bytes),
            ("ready", "1 while work is taken.", self._health.why_not_ready() is None),
            ("heartbeat_age_seconds", "Of the model's thread.", self._backend.heartbeat_age_s()),
        ):
            yield GaugeMetricFamily(f"laser_{name}", help_, value=float(value))
        yield _quantiles("batch_size", "Of the last batches.", numbers.batch_sizes)
        yield _quantiles("queue_wait_seconds", "Of the last requests.", numbers.waits_s)


def _quantiles(name: str, help_: str, values: Sequence[float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"laser_{name}", help_, labels=["quantile"])
    ordered = sorted(values)
    for share in QUANTILES:
        if (value := quantile(ordered, share)) is not None:
            family.add_metric([str(share)], value)
    return family
