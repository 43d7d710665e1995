"""The load: a closed loop for capacity, an open loop for latency and goodput.

The open loop's arrivals are Poisson, and times count from when a request *should* have been sent, so that a slow
server cannot hide behind a generator that waits for it (no coordinated omission). A run in which the generator was late
by more than ``MAX_LAG_S`` at its 99th percentile says nothing and is void.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.peers.machine import real_time
from bench.peers.wire import Refused, Wire

MAX_LAG_S = 0.001
_SPIN_S = 0.0012
_ERRORS = (Refused, OSError, EOFError, ValueError, KeyError)

Check = Callable[[int, float], bool]
"""(which picture, score) -> whether the score is right."""


class WrongScore(Exception):
    """A peer gave a picture a score that it must not have: whatever else it did counts for nothing."""


@dataclass
class OpenRun:
    """Of one open-loop run: latency of each answer from its intended send, s; how late each was sent, s."""

    rate: float
    seconds: float
    sent: int = 0
    refused: int = 0
    unanswered: int = 0
    latency_s: list[float] = field(default_factory=list)
    lag_s: list[float] = field(default_factory=list)

    @property
    def void(self) -> bool:
        return not self.lag_s or percentile(self.lag_s, 0.99) > MAX_LAG_S

    def goodput(self, slo_s: float) -> float:
        """Answers within ``slo_s`` of their intended send, per second of load."""
        return sum(latency <= slo_s for latency in self.latency_s) / self.seconds


def percentile(values: list[float], share: float) -> float:
    """The smallest value that ``share`` of all do not exceed; infinite when there is none."""
    if not values:
        return float("inf")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@contextmanager
def _steady() -> Iterator[None]:
    """No garbage collection meanwhile, and a core of its own as far as the machine allows."""
    gc.collect()
    gc.disable()
    try:
        with real_time():
            yield
    finally:
        gc.enable()


async def closed_loop(wire: Wire, pictures: int, check: Check, clients: int, seconds: float) -> int:
    """``clients`` that each send when they have their answer. Returns how many answers came."""
    until, answers = time.monotonic() + seconds, 0
    numbers = iter(range(1 << 40))

    async def one() -> None:
        nonlocal answers
        while time.monotonic() < until:
            which = next(numbers) % pictures
            if not check(which, await wire.send(which)):
                raise WrongScore(f"picture {which}")
            answers += 1

    with _steady():
        await asyncio.gather(*(one() for _ in range(clients)))
    return answers


async def open_loop(
    wire: Wire,
    pictures: int,
    check: Check,
    *,
    rate: float,
    seconds: float,
    seed: int,
    patience_s: float,
    budget_ms: float | None = None,
) -> OpenRun:
    """Poisson arrivals of ``rate`` a second. What has no answer ``patience_s`` after the last send is given up."""
    chance = random.Random(seed)
    run = OpenRun(rate, seconds)
    due, intended = chance.expovariate(rate), []
    while due < seconds:
        intended.append(due)
        due += chance.expovariate(rate)
    wrong: list[int] = []

    async def one(which: int, at: float) -> None:
        run.lag_s.append(time.monotonic() - at)
        try:
            score = await wire.send(which, budget_ms)
        except asyncio.CancelledError:
            run.unanswered += 1
            raise
        except _ERRORS:
            run.refused += 1
            return
        if not check(which, score):
            wrong.append(which)
        run.latency_s.append(time.monotonic() - at)

    tasks = set()
    with _steady():
        start = time.monotonic() + 0.01
        for number, after in enumerate(intended):
            at = start + after
            while (left := at - time.monotonic()) > 0:  # noqa: ASYNC110
                # The loop's timers are whole milliseconds, so the last stretch is spun, serving sockets meanwhile.
                await asyncio.sleep(left - _SPIN_S if left > 2 * _SPIN_S else 0)
            task = asyncio.ensure_future(one(number % pictures, at))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        run.sent = len(intended)
        if tasks:
            await asyncio.wait(tasks, timeout=patience_s)
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
    if wrong:
        raise WrongScore(f"pictures {sorted(set(wrong))}")
    return run
