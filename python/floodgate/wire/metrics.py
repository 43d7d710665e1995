"""Prometheus metrics. Labels are bounded: rpc, lane, status code, stage, head, state; never an id.

Histograms of stages share one name, ``floodgate_stage_seconds{stage,lane}``: parse, queue (waiting for a decode
worker and a batch), decode (and views), infer, policy, total. Gauges and counters of the core and the inference
server are read when Prometheus asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from floodgate.types import Decision
from floodgate.wire.admission import InFlight

_SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
_LATE_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)


class Metrics:
    """One server's metrics in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "floodgate_requests", "Requests by outcome", ["rpc", "lane", "code"], registry=self.registry
        )
        self._decisions = Counter(
            "floodgate_decisions", "Decisions by action", ["lane", "action"], registry=self.registry
        )
        self._parts = Counter(
            "floodgate_parts", "Parts by state", ["modality", "state", "reason"], registry=self.registry
        )
        self._degraded = Counter("floodgate_degraded", "Decisions that rest on less", ["kind"], registry=self.registry)
        self._reviews = Counter(
            "floodgate_reviews", "Decisions that ask for a review", ["queue", "hold"], registry=self.registry
        )
        self._stages = Histogram(
            "floodgate_stage_seconds",
            "Time a request spent in a stage",
            ["stage", "lane"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._late = Histogram(
            "floodgate_answer_lateness_seconds",
            "How long after its effective deadline an answer was handed to gRPC (late answers only)",
            ["lane"],
            buckets=_LATE_SECONDS,
            registry=self.registry,
        )

        self._reloads = Counter(
            "floodgate_policy_reloads", "Policies read again, by outcome", ["outcome"], registry=self.registry
        )
        for outcome in ("taken", "refused"):
            self._reloads.labels(outcome)

    def reloaded(self, outcome: str) -> None:
        """SIGHUP had the policies read again: "taken", or "refused" and the old ones kept."""
        self._reloads.labels(outcome).inc()

    def ended(self, rpc: str, lane: str, code: str) -> None:
        """A request ended with a gRPC status code name."""
        self._requests.labels(rpc, lane, code).inc()

    def decided(self, decision: Decision, *, parse_ns: int) -> None:
        """A decision was made."""
        lane = decision.item.lane.name
        self._decisions.labels(lane, decision.verdict.action.name).inc()
        for part in decision.parts:
            self._parts.labels(part.modality.value, part.state.value, part.reason_code).inc()
        for degradation in decision.degraded:
            self._degraded.labels(degradation.kind.name).inc()
        review = decision.verdict.review
        if review is not None:
            self._reviews.labels(review.queue, str(review.hold).lower()).inc()
        timings = decision.timings
        for stage, micros in (
            ("parse", parse_ns / 1e3),
            ("queue", timings.queue_us),
            ("decode", timings.decode_us),
            ("infer", timings.infer_us),
            ("policy", timings.policy_us),
            ("total", timings.total_us),
        ):
            self._stages.labels(stage, lane).observe(micros / 1e6)

    def late(self, lane: str, late_ns: int) -> None:
        """An answer was ready ``late_ns`` after its effective deadline; negative means in time."""
        if late_ns > 0:
            self._late.labels(lane).observe(late_ns / 1e9)

    def watch(
        self,
        in_flight: InFlight,
        core_stats: Callable[[], Mapping[str, Any]],
        backend_facts: Callable[[], Mapping[str, Any]],
        log_stats: Callable[[], Mapping[str, int]],
    ) -> None:
        """Registers what is read at scrape time."""
        Gauge("floodgate_in_flight_items", "Items being handled", registry=self.registry).set_function(
            lambda: in_flight.items
        )
        Gauge("floodgate_in_flight_bytes", "Message bytes being handled", registry=self.registry).set_function(
            lambda: in_flight.bytes
        )
        self.registry.register(_Scraped(core_stats, backend_facts, log_stats))


class _Scraped(Collector):
    def __init__(
        self,
        core_stats: Callable[[], Mapping[str, Any]],
        backend_facts: Callable[[], Mapping[str, Any]],
        log_stats: Callable[[], Mapping[str, int]],
    ) -> None:
        self._core_stats = core_stats
        self._backend_facts = backend_facts
        self._log_stats = log_stats

    def collect(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        yield from _core_families(self._core_stats())
        yield from _backend_families(self._backend_facts())
        for name, value in self._log_stats().items():
            family = GaugeMetricFamily if name == "pending" else CounterMetricFamily
            yield family(f"floodgate_decision_log_{name}", f"Decision log: {name}", value=value)


def _core_families(stats: Mapping[str, Any]) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
    counters = dict(stats["counters"])
    refused = CounterMetricFamily("floodgate_core_refused", "Parts refused on arrival", labels=["code"])
    for code, count in counters.pop("refused").items():
        refused.add_metric([code], count)
    yield refused
    for name, count in counters.items():
        yield CounterMetricFamily(f"floodgate_core_{name}", f"Core: {name.replace('_', ' ')}", value=count)
    queued = GaugeMetricFamily("floodgate_core_queued_rows", "Rows waiting to be decoded", labels=["lane"])
    for lane, rows in stats["queued_rows"].items():
        queued.add_metric([lane], rows)
    yield queued
    for name in ("open_tickets", "arena_used_bytes", "arena_free_bytes"):
        yield GaugeMetricFamily(f"floodgate_core_{name}", f"Core: {name.replace('_', ' ')}", value=stats[name])
    yield from _ensemble_families([each for each in stats["ensembles"] if not each["retired"]])


def _ensemble_families(ensembles: Sequence[Mapping[str, Any]]) -> Iterable[GaugeMetricFamily]:
    buffers = GaugeMetricFamily("floodgate_core_buffers", "Batch buffers by state", labels=["ensemble", "state"])
    rows = GaugeMetricFamily("floodgate_core_ready_rows", "Decoded rows waiting for a batch", labels=["ensemble"])
    fixed = GaugeMetricFamily("floodgate_core_batch_fixed_us", "Fitted service time: a of a + b n", labels=["ensemble"])
    slope = GaugeMetricFamily("floodgate_core_batch_row_us", "Fitted service time: b of a + b n", labels=["ensemble"])
    for each in ensembles:
        # The modality: an ensemble's digest would make a new series of every model change.
        name = each["ensemble"].partition("@")[0]
        for state, count in each["buffers"].items():
            buffers.add_metric([name, state], count)
        rows.add_metric([name], each["ready_rows"])
        fixed.add_metric([name], each["fixed_us"])
        slope.add_metric([name], each["per_row_us"])
    return buffers, rows, fixed, slope


def _backend_families(facts: Mapping[str, Any]) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
    up = GaugeMetricFamily(
        "floodgate_triton_up", "1 while the inference server is ready", value=facts["state"] == "READY"
    )
    restarts = CounterMetricFamily("floodgate_triton_restarts", "Restarts of the server", value=facts["restarts"])
    breakers = GaugeMetricFamily(
        "floodgate_head_breaker_open", "1 while a head's breaker is not closed", labels=["head"]
    )
    for head, breaker in facts["breakers"].items():
        breakers.add_metric([head.partition(":")[0]], breaker["state"] != "closed")
    return up, restarts, breakers
