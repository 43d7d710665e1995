"""Metrics of several processes are one process's: sums, which never fall when a process ends."""

from __future__ import annotations

import json
import math
import sys
import threading

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.registry import Collector

from floodgate.acceptor.counts import Counts, snapshot
from floodgate.wire.admission import InFlight
from floodgate.wire.metrics import Metrics


class Process:
    """What one process counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("requests", "Requests", ["lane"], registry=self.registry)
        self.waiting = Gauge("waiting", "Waiting", registry=self.registry)
        self.seconds = Histogram("seconds", "Seconds", buckets=(1.0, 2.0), registry=self.registry)

    def snapshot(self, written: int = 0, pending: int = 0, refused: int = 0) -> object:
        log = {"written": written, "pending": pending}
        core = {"bytes_received": 10 * refused, "refused": {"OVERLOADED": refused}, "open_tickets": 1}
        return snapshot(self.registry, log, core)


LIKE = Process().registry


def values(counts: Counts, own: CollectorRegistry) -> dict[str, float]:
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in counts.families(own)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_counters_gauges_and_histograms_are_added_up() -> None:
    one, other, counts = Process(), Process(), Counts(LIKE)
    for process, number in ((one, 1), (other, 2)):
        process.requests.labels("LIVE").inc(number)
        process.waiting.set(number)
        process.seconds.observe(number)
    other.requests.labels("BULK").inc()
    counts.take(0, one.snapshot())
    counts.take(1, other.snapshot())
    summed = values(counts, CollectorRegistry())
    assert summed["requests_total[('lane', 'LIVE')]"] == 3
    assert summed["requests_total[('lane', 'BULK')]"] == 1
    assert summed["waiting[]"] == 3
    assert summed["seconds_count[]"] == 2
    assert summed["seconds_sum[]"] == 3
    assert summed["seconds_bucket[('le', '1.0')]"] == 1
    assert summed["seconds_bucket[('le', '2.0')]"] == 2


def test_what_a_process_counted_outlives_it_but_its_gauges_do_not() -> None:
    lost, counts = Process(), Counts(LIKE)
    lost.requests.labels("LIVE").inc(5)
    lost.waiting.set(7)
    counts.take(0, lost.snapshot(written=4, pending=3, refused=2))
    counts.end(0)
    counts.end(0)
    next_one = Process()
    next_one.requests.labels("LIVE").inc()
    counts.take(0, next_one.snapshot(written=1, pending=1, refused=1))
    summed = values(counts, CollectorRegistry())
    assert summed["requests_total[('lane', 'LIVE')]"] == 6
    assert summed["waiting[]"] == 0
    assert counts.log() == {"written": 5, "pending": 1}
    stats = counts.core({"counters": {"bytes_received": 100, "refused": {"OVERLOADED": 1, "INTERNAL": 0}}, "open": 9})
    assert stats == {"counters": {"bytes_received": 130, "refused": {"OVERLOADED": 4, "INTERNAL": 0}}, "open": 9}


def test_own_metrics_are_added_and_the_sum_can_be_scraped() -> None:
    own, other, counts = Process(), Process(), Counts(LIKE)
    own.requests.labels("LIVE").inc(2)
    other.requests.labels("LIVE").inc(3)
    counts.take(0, other.snapshot())

    class Sum(Collector):
        def describe(self) -> list[object]:  # type: ignore[override]
            return []

        def collect(self):  # type: ignore[no-untyped-def]
            return counts.families(own.registry)

    registry = CollectorRegistry()
    registry.register(Sum())
    assert 'requests_total{lane="LIVE"} 5.0' in generate_latest(registry).decode()


LABELLED = ["requests", "", "counter", [["requests_total", {"lane": "LIVE"}, 1]]]


def sent(families: object = (), log: object = None, core: object = None) -> str:
    """A line's counts, as an acceptor might write them."""
    return json.dumps({"families": families, "log": {} if log is None else log, "core": {} if core is None else core})


def requests(samples: object) -> str:
    return sent([["requests", "", "counter", samples]])


@pytest.mark.parametrize(
    "nonsense",
    [
        "{}",
        "[]",
        "null",
        '"counts"',
        sent(3),
        sent({}),
        sent([["requests"]]),
        sent([[["requests"], "", "counter", []]]),
        sent([["requests", "", "counter", {}]]),
        sent(log=[]),
        sent(log={"written": "many"}),
        sent(log={"written": "1"}),
        sent(log={"written": -1}),
        sent(log={"written": math.inf}),
        sent(log={"written": math.nan}),
        sent(log={"written": 10**400}),
        sent(log={"written": {"a": 1}}),
        sent(core=[1]),
        sent(core={"refused": 5}),
        sent(core={"refused": {"OVERLOADED": []}}),
        sent(core={"bytes_received": math.inf}),
        requests([["requests_total", {"lane": "LIVE"}, "1"]]),
        requests([["requests_total", {"lane": "LIVE"}, None]]),
        requests([["requests_total", {"lane": "LIVE"}, -1]]),
        requests([["requests_total", {"lane": "LIVE"}, math.nan]]),
        requests([["requests_total", {"lane": 1}, 1]]),
        requests([["requests_total", {"lane": "\ud800"}, 1]]),
        requests([["requests_total", {"lane": "x" * 100_000}, 1]]),
        requests([["requests_total", [], 1]]),
        requests([["requests_total", {"lane": str(number)}, 1] for number in range(10_001)]),
        sent([["seconds", "", "histogram", [["seconds_bucket", {"le": "many"}, 1]]]]),
        sent([["waiting", "", "gauge", [["waiting", {}, math.inf]]]]),
    ],
    ids=lambda line: line[:70],
)
def test_what_is_no_snapshot_is_refused_and_changes_nothing(nonsense: str) -> None:
    counts, sound = Counts(LIKE), Process()
    sound.requests.labels("LIVE").inc()
    counts.take(0, sound.snapshot(written=1))
    before = values(counts, CollectorRegistry())
    with pytest.raises(ValueError, match=r"expected|series|convert|encode"):
        counts.take(0, json.loads(nonsense))
    assert values(counts, CollectorRegistry()) == before
    assert counts.log() == {"written": 1, "pending": 0}


@pytest.mark.parametrize(
    "family",
    [
        ["evil", "", "counter", [["evil_total", {}, 1]]],
        ["requests", "", "gauge", [["requests", {}, 1]]],
        ["requests", "", "counter", [["requests_total", {}, 1]]],
        ["requests", "", "counter", [["requests_total", {"lane": "LIVE", 'a"}b': "x"}, 1]]],
        ["requests", "", "counter", [["requests", {"lane": "LIVE"}, 1]]],
        ["requests", "", "counter", [["seconds_sum", {"lane": "LIVE"}, 1]]],
        ["seconds", "", "histogram", [["seconds_bucket", {}, 1]]],
    ],
)
def test_what_no_acceptor_counts_is_left_out_of_a_snapshot(family: list[object]) -> None:
    counts = Counts(LIKE)
    counts.take(0, json.loads(sent([family, LABELLED], log={"evil": 1, "written": 2}, core={"refused": {"EVIL": 1}})))
    for _ in range(2):
        assert values(counts, CollectorRegistry()) == {"requests_total[('lane', 'LIVE')]": 1}
        assert counts.log() == {"written": 2}
        stats = counts.core({"counters": {"bytes_received": 0, "refused": {"OVERLOADED": 0}}})
        assert stats["counters"]["refused"] == {"OVERLOADED": 0}
        counts.end(0)


def test_made_up_labels_do_not_pile_up_over_many_lives() -> None:
    counts, sound = Counts(LIKE), Process()
    sound.requests.labels("LIVE").inc()
    counts.take(0, sound.snapshot())
    counts.end(0)
    for life in range(4):
        made_up = [["requests_total", {"lane": f"{life}-{number}"}, 1] for number in range(4_000)]
        counts.take(0, json.loads(requests([*made_up, ["requests_total", {"lane": "LIVE"}, 1]])))
        counts.end(0)
    summed = values(counts, CollectorRegistry())
    assert len(summed) < 10_001
    assert summed["requests_total[('lane', 'LIVE')]"] == 5


def test_no_counter_falls_while_processes_end_and_another_thread_scrapes() -> None:
    process, counts, own = Process(), Counts(LIKE), CollectorRegistry()
    process.requests.labels("LIVE").inc(1000)
    latest = process.snapshot()
    stopping = threading.Event()

    def end_and_begin() -> None:
        while not stopping.is_set():
            counts.take(0, latest)
            counts.end(0)

    counts.take(1, latest)
    other = threading.Thread(target=end_and_begin)
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    other.start()
    try:
        seen = [values(counts, own)["requests_total[('lane', 'LIVE')]"] for _ in range(2_000)]
    finally:
        stopping.set()
        other.join()
        sys.setswitchinterval(before_s)
    assert seen == sorted(seen)


def test_all_that_an_acceptor_counts_is_known_and_it_began_when_the_first_process_did() -> None:
    metrics = Metrics()
    metrics.watch_door(InFlight(1, 1))
    metrics.ended("Moderate", "LIVE", "OK")
    metrics.late("LIVE", 1_000_000)
    latest = json.loads(json.dumps(snapshot(metrics.registry, {}, {})))
    counts = Counts(Metrics().registry)
    counts.take(0, latest)
    assert "floodgate_in_flight_items[]" not in values(counts, CollectorRegistry())
    like = Metrics()
    like.watch_door(InFlight(0, 0))
    counts = Counts(like.registry)
    counts.take(0, latest)
    counts.take(1, latest)
    alone, summed = values(Counts(like.registry), metrics.registry), values(counts, CollectorRegistry())
    assert summed.keys() == alone.keys()
    began = "floodgate_process_start_time_seconds[]"
    assert summed[began] == alone[began]
    assert summed["floodgate_requests_total[('code', 'OK'), ('lane', 'LIVE'), ('rpc', 'Moderate')]"] == 2


def test_label_names_of_a_family_without_a_sample_are_known() -> None:
    """They come from where prometheus_client keeps them, which another version of it may change."""
    counted = Metrics()
    counts = Counts(Metrics().registry)
    samples = [["floodgate_parts_total", {"modality": "image", "state": "JUDGED", "reason": ""}, 1]]
    assert not [
        each for family in counted.registry.collect() if family.name == "floodgate_parts" for each in family.samples
    ]
    counts.take(0, json.loads(sent([["floodgate_parts", "", "counter", samples]])))
    assert list(values(counts, CollectorRegistry()).values()) == [1]
