"""Runs loads in processes of their own and gathers what became of them."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from types import TracebackType

import numpy as np

from bench.load.arrivals import schedule
from bench.load.outcomes import Outcomes, degraded_answers
from bench.load.sender import Sent, Share, send
from bench.load.traffic import Traffic

# From the word to send to the first moment of the schedule: connecting takes a part of it.
HEAD_START_S = 0.5


class Generator:
    """Sending processes that wait for loads. Use as a context manager."""

    def __init__(self, processes: int = 1) -> None:
        """Raises ValueError for less than one process."""
        # Not forked: gRPC's threads do not survive it.
        self._pool = ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))
        self._processes = processes

    def run(self, traffic: Traffic) -> Outcomes:
        """Sends ``traffic`` and waits for the last answer. The caller decides whether a lag voids the run
        (``Outcomes.require_punctual``). Raises ConnectionError, TimeoutError; ValueError for a rate that is not
        positive."""
        whole = _plan(traffic)
        shares = [_every(whole, first, self._processes) for first in range(self._processes)]
        start_ns = time.monotonic_ns() + int(HEAD_START_S * 1e9)
        running = [self._pool.submit(send, traffic, share, start_ns) for share in shares]
        return _gather(traffic, whole, [each.result() for each in running], start_ns)

    def __enter__(self) -> Generator:
        # Interpreters take long to start and to import gRPC: before the first schedule, not within it. Each task waits
        # a little, so that no process takes two of them while another has not been started.
        for started in [self._pool.submit(time.sleep, 0.2) for _ in range(self._processes)]:
            started.result()
        for imported in [self._pool.submit(_imported) for _ in range(self._processes)]:
            imported.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()


def generate(traffic: Traffic, processes: int = 1) -> Outcomes:
    """One load by a generator made for it; see ``Generator.run``."""
    with Generator(processes) as generator:
        return generator.run(traffic)


def _imported() -> None:
    """Unpickling this function's name has imported this module."""
    time.sleep(0.2)


def _plan(traffic: Traffic) -> Share:
    """Every flow by its own process of arrivals, merged."""
    seconds = traffic.warm_up_s + traffic.seconds
    times = [
        schedule(traffic.arrivals, flow.rate_per_s, seconds, traffic.seed * 1000 + number)
        for number, flow in enumerate(traffic.flows)
    ]
    intended = np.concatenate(times)
    order = np.argsort(intended, kind="stable")
    flow = np.concatenate([np.full(len(each), number, np.int32) for number, each in enumerate(times)])
    payload = np.concatenate(
        [np.arange(len(each)) % len(traffic.flows[number].payloads) for number, each in enumerate(times)]
    ).astype(np.int32)
    return Share(intended[order], flow[order], payload[order])


def _every(whole: Share, first: int, step: int) -> Share:
    return Share(whole.intended_ns[first::step], whole.flow[first::step], whole.payload[first::step])


def _gather(traffic: Traffic, whole: Share, sent: list[Sent], start_ns: int) -> Outcomes:
    count, step = len(whole.intended_ns), len(sent)
    sent_ns, answered_ns = np.zeros(count, np.int64), np.zeros(count, np.int64)
    status, answers = np.zeros(count, np.int32), [b""] * count
    for first, each in enumerate(sent):
        sent_ns[first::step], answered_ns[first::step] = each.sent_ns, each.answered_ns
        status[first::step], answers[first::step] = each.status, each.answers
    return Outcomes(
        traffic=traffic,
        start_ns=start_ns,
        intended_ns=whole.intended_ns + start_ns,
        sent_ns=sent_ns,
        answered_ns=answered_ns,
        status=status,
        flow=whole.flow,
        payload=whole.payload,
        degraded=degraded_answers(traffic, whole.flow, answers),
        answers=answers,
    )
