"""What the load generator makes of what came back."""

from __future__ import annotations

import csv
from pathlib import Path

import grpc
import numpy as np
import pytest

from bench.load import Flow, Outcomes, Traffic, VoidRun

MS = 1_000_000
OK = grpc.StatusCode.OK
FULL = grpc.StatusCode.RESOURCE_EXHAUSTED
LATE = grpc.StatusCode.DEADLINE_EXCEEDED

Request = tuple[grpc.StatusCode, float]
"""(status, latency ms)"""


def outcomes(
    *requests: Request, lag_ms: float = 0.0, degraded: tuple[int, ...] = (), warm_up_s: float = 0.0
) -> Outcomes:
    """One request a ms, each due after 100 ms."""
    count = len(requests)
    intended = np.arange(count, dtype=np.int64) * MS
    return Outcomes(
        traffic=Traffic("nowhere", (Flow("LIVE", 1000.0, 100.0, (b"",)),), 0.001 * count, warm_up_s),
        start_ns=0,
        intended_ns=intended,
        sent_ns=intended + int(lag_ms * MS),
        answered_ns=intended + np.array([int(latency * MS) for _, latency in requests]),
        status=np.array([status.value[0] for status, _ in requests], np.int32),
        flow=np.zeros(count, np.int32),
        payload=np.zeros(count, np.int32),
        degraded=np.array([at in degraded for at in range(count)]),
        answers=[b""] * count,
    )


def test_only_whole_answers_inside_the_deadline_are_goodput() -> None:
    run = outcomes((OK, 20), (OK, 101), (LATE, 100), (FULL, 1), (OK, 50), degraded=(4,))
    assert run.good.tolist() == [True, False, False, False, False]
    assert run.summary().goodput_per_s == pytest.approx(200)
    assert run.summary().statuses == {"OK": 2, "DEADLINE_EXCEEDED": 1, "RESOURCE_EXHAUSTED": 1, "OK (degraded)": 1}


def test_late_refusal_counts_as_admitted_and_one_at_once_does_not() -> None:
    run = outcomes((OK, 20), (FULL, 9), (FULL, 11), (grpc.StatusCode.UNAVAILABLE, 1))
    assert run.summary().admitted == 2
    assert run.summary().admitted_in_deadline == 0.5


def test_latencies_count_from_the_intended_send() -> None:
    run = outcomes(*[(OK, float(ms)) for ms in range(1, 101)], lag_ms=40.0)
    assert (run.summary().p50_ms, run.summary().p99_ms, run.summary().p999_ms) == (50, 99, 100)


def test_run_without_an_answer_has_infinite_latencies() -> None:
    assert outcomes((LATE, 100)).summary("LIVE").p50_ms == float("inf")


def test_warm_up_is_not_counted() -> None:
    run = outcomes((FULL, 1), (FULL, 1), (OK, 5), (OK, 5), warm_up_s=0.002)
    assert run.summary().requests == 2
    assert run.summary().good_share == 1


def test_generator_that_lagged_voids_the_run() -> None:
    outcomes((OK, 5), lag_ms=0.9).require_punctual()
    with pytest.raises(VoidRun, match=r"1\.10 ms late at p99"):
        outcomes((OK, 5), lag_ms=1.1).require_punctual()


def test_every_request_is_written_down(tmp_path: Path) -> None:
    outcomes((OK, 20), (LATE, 100), lag_ms=0.5).write_csv(tmp_path / "run.csv")
    with (tmp_path / "run.csv").open(encoding="utf-8") as stream:
        first, second = csv.DictReader(stream)
    assert first == {
        "flow": "LIVE",
        "intended_ms": "0.000",
        "sent_ms": "0.500",
        "answered_ms": "20.000",
        "status": "OK",
        "degraded": "0",
        "deadline_ms": "100",
        "good": "1",
        "counted": "1",
    }
    assert (second["status"], second["good"]) == ("DEADLINE_EXCEEDED", "0")
