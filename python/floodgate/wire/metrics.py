"""Prometheus metrics. Labels are bounded: rpc, lane, status code, stage, head, state; never an id. What alerts count
is there from the start, at zero: to Prometheus a counter that appears with its first event has not grown.

Histograms of stages share one name, ``floodgate_stage_seconds{stage,lane}``: parse, submit (checks, and the copy
into the arena), queue (waiting for a decode worker and a batch), decode (and views), infer, answer (until what the core
answered has been read), policy, total. Gauges and counters of the core and the inference
server are read when Prometheus asks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from floodgate.types import Action, Decision, DegradationKind, Lane
from floodgate.wire.admission import InFlight
from floodgate.wire.status import STATUS_OF

_SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
RPCS = ("Moderate", "ModerateStream")
UNKNOWN_LANE = "unknown"
"""Of a request that failed before its lane was read."""
_LATE_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)


# A second series beside each counter, with the time of its making, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """One server's metrics in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(namespace="floodgate", registry=self.registry)
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
        self._frames = Counter(
            "floodgate_frames",
            "Frames of videos and animations: judged, left out as near copies, planned and not reached in time",
            ["outcome"],
            registry=self.registry,
        )
        for outcome in ("judged", "similar", "missed"):
            self._frames.labels(outcome)
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
        self._stage_children: dict[tuple[str, str], Histogram] = {}
        self._counter_children: dict[tuple[Counter, tuple[str, ...]], Counter] = {}
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
        lanes = [lane.name for lane in Lane]
        codes = {"OK", *(code.name for code in STATUS_OF.values())}
        for lane, rpc, code in itertools.product((*lanes, UNKNOWN_LANE), RPCS, sorted(codes)):
            self._requests.labels(rpc, lane, code)
        for lane, action in itertools.product(lanes, Action):
            self._decisions.labels(lane, action.name)
        for lane in (*lanes, UNKNOWN_LANE):
            self._late.labels(lane)
        for kind in DegradationKind:
            self._degraded.labels(kind.name)

    def reloaded(self, outcome: str) -> None:
        """SIGHUP had the policies read again: "taken", or "refused" and the old ones kept."""
        self._reloads.labels(outcome).inc()

    def ended(self, rpc: str, lane: str, code: str) -> None:
        """A request ended with a gRPC status code name."""
        self._count(self._requests, rpc, lane, code)

    def _count(self, counter: Counter, *labels: str) -> None:
        """Adds one, without looking the labels up anew each time."""
        key = (counter, labels)
        child = self._counter_children.get(key)
        if child is None:
            child = self._counter_children[key] = counter.labels(*labels)
        child.inc()

    def _observe(self, stage: str, lane: str, seconds: float) -> None:
        child = self._stage_children.get((stage, lane))
        if child is None:
            child = self._stage_children[stage, lane] = self._stages.labels(stage, lane)
        child.observe(seconds)

    def decided(self, decision: Decision, *, parse_ns: int) -> None:
        """A decision was made."""
        lane = decision.item.lane.name
        self._count(self._decisions, lane, decision.verdict.action.name)
        for part in decision.parts:
            self._count(self._parts, part.modality.value, part.state.value, part.reason_code)
            if part.plan is not None:
                self._frames.labels("judged").inc(part.frames_sampled)
                self._frames.labels("similar").inc(part.frames_dropped)
                self._frames.labels("missed").inc(part.frames_missed)
        for degradation in decision.degraded:
            self._degraded.labels(degradation.kind.name).inc()
        review = decision.verdict.review
        if review is not None:
            self._reviews.labels(review.queue, str(review.hold).lower()).inc()
        timings = decision.timings
        for stage, micros in (
            ("parse", parse_ns / 1e3),
            ("submit", timings.submit_us),
            ("queue", timings.queue_us),
            ("decode", timings.decode_us),
            ("infer", timings.infer_us),
            ("answer", timings.answer_us),
            ("policy", timings.policy_us),
            ("total", timings.total_us),
        ):
            self._observe(stage, lane, micros / 1e6)

    def late(self, lane: str, late_ns: int) -> None:
        """An answer was ready ``late_ns`` after its effective deadline; negative means in time."""
        if late_ns > 0:
            self._late.labels(lane).observe(late_ns / 1e9)

    def watch_door(self, in_flight: InFlight) -> None:
        """Registers what is being handled, read at scrape time."""
        Gauge("floodgate_in_flight_items", "Items being handled", registry=self.registry).set_function(
            lambda: in_flight.items
        )
        Gauge("floodgate_in_flight_bytes", "Message bytes being handled", registry=self.registry).set_function(
            lambda: in_flight.bytes
        )

    def watch(
        self,
        core_stats: Callable[[], Mapping[str, Any]],
        backend_facts: Callable[[], Mapping[str, Any]],
        log_stats: Callable[[], Mapping[str, int]],
        versions: Callable[[], Mapping[str, str]],
    ) -> None:
        """Registers what the core, the inference server and the decision log count, read at scrape time. ``versions``:
        label -> value of ``floodgate_info``, always with the same labels; one series at a time."""
        self.registry.register(_Scraped(core_stats, backend_facts, log_stats, versions))


class _Scraped(Collector):
    def __init__(
        self,
        core_stats: Callable[[], Mapping[str, Any]],
        backend_facts: Callable[[], Mapping[str, Any]],
        log_stats: Callable[[], Mapping[str, int]],
        versions: Callable[[], Mapping[str, str]],
    ) -> None:
        self._core_stats = core_stats
        self._backend_facts = backend_facts
        self._log_stats = log_stats
        self._versions = versions

    def collect(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        versions = self._versions()
        info = GaugeMetricFamily("floodgate_info", "What runs: always 1, the labels tell", labels=list(versions))
        info.add_metric(list(versions.values()), 1)
        yield info
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
    guards = GaugeMetricFamily(
        "floodgate_core_lane_guard",
        "Factor on what is expected of a lane's new work, so that promises hold",
        labels=["lane"],
    )
    for lane, factor in stats["lane_guards"].items():
        guards.add_metric([lane], factor)
    yield guards
    losses = CounterMetricFamily(
        "floodgate_decode_worker_losses", "Sandboxed decode workers that had to be replaced", labels=["reason"]
    )
    for reason, count in stats["worker_losses"].items():
        losses.add_metric([reason], count)
    yield losses
    yield GaugeMetricFamily(
        "floodgate_decode_sandboxed", "1 while decoding runs in sandboxed processes", value=stats["sandboxed"]
    )
    yield from _device_families(stats["device"])
    for name in ("open_tickets", "arena_used_bytes", "arena_free_bytes"):
        yield GaugeMetricFamily(f"floodgate_core_{name}", f"Core: {name.replace('_', ' ')}", value=stats[name])
    yield GaugeMetricFamily(
        "floodgate_core_waiting_decode_seconds",
        "Expected decode time of what is not decoded yet, of one worker",
        value=stats["waiting_decode_ns"] / 1e9,
    )
    yield from _ensemble_families([each for each in stats["ensembles"] if not each["retired"]])


def _device_families(device: Mapping[str, Any]) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
    yield GaugeMetricFamily("floodgate_device_used", "1 while pictures are decoded on a GPU", value=device["used"])
    yield GaugeMetricFamily(
        "floodgate_device_lost", "1 once the GPU has failed: the CPU decodes until a restart", value=device["lost"]
    )
    yield CounterMetricFamily(
        "floodgate_device_pictures", "Pictures decoded and rendered on the GPU", value=device["pictures"]
    )
    yield CounterMetricFamily(
        "floodgate_device_batches", "Batches in which the GPU decoded them", value=device["batches"]
    )
    yield CounterMetricFamily(
        "floodgate_device_busy_seconds",
        "Time that streams spent on those batches: decoding, kernels, copies",
        value=device["busy_ns"] / 1e9,
    )
    yield CounterMetricFamily(
        "floodgate_device_rows_staged", "Rows made on the CPU and copied to the GPU", value=device["rows_staged"]
    )
    fallbacks = CounterMetricFamily(
        "floodgate_device_fallbacks", "What the CPU did in the GPU's place", labels=["reason"]
    )
    for reason, count in device["fallbacks"].items():
        fallbacks.add_metric([reason], count)
    yield fallbacks


def _ensemble_families(ensembles: Sequence[Mapping[str, Any]]) -> Iterable[GaugeMetricFamily]:
    buffers = GaugeMetricFamily("floodgate_core_buffers", "Batch buffers by state", labels=["ensemble", "state"])
    rows = GaugeMetricFamily("floodgate_core_ready_rows", "Decoded rows waiting for a batch", labels=["ensemble"])
    fixed = GaugeMetricFamily("floodgate_core_batch_fixed_us", "Fitted service time: a of a + b n", labels=["ensemble"])
    slope = GaugeMetricFamily("floodgate_core_batch_row_us", "Fitted service time: b of a + b n", labels=["ensemble"])
    guard = GaugeMetricFamily(
        "floodgate_core_batch_guard", "Factor on predicted service time that 95% of batches keep", labels=["ensemble"]
    )
    waiting = GaugeMetricFamily("floodgate_core_waiting_rows", "Rows that no worker has taken", labels=["ensemble"])
    for each in ensembles:
        # The modality: an ensemble's digest would make a new series of every model change.
        name = each["ensemble"].partition("@")[0]
        for state, count in each["buffers"].items():
            buffers.add_metric([name, state], count)
        rows.add_metric([name], each["ready_rows"])
        fixed.add_metric([name], each["fixed_us"])
        slope.add_metric([name], each["per_row_us"])
        guard.add_metric([name], each["guard"])
        waiting.add_metric([name], each["waiting_rows"])
    return buffers, rows, waiting, fixed, slope, guard


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
    inline = CounterMetricFamily(
        "floodgate_triton_inline_bytes",
        "Tensor bytes copied into requests; none where the server maps the batch buffers",
        value=facts["inline_bytes"],
    )
    return up, restarts, breakers, inline
