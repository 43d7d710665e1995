"""One server's figures: capacity, CPU, memory; latency at a rate; goodput over a range of loads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.peers.load import Check, OpenRun, closed_loop, open_loop, percentile
from bench.peers.peer import BUDGET_MS, Started
from bench.peers.wire import Wire

CLIENTS = 32
LATENCY_LOAD = 0.7
SLO_S = BUDGET_MS / 1000
_IDLE_S = 0.06
"""An answer sooner than this says that the queue of the run before is gone."""


@dataclass(frozen=True)
class Capacity:
    """Of a closed loop of ``CLIENTS``: answers a second, CPU s of the whole tree a thousand answers, bytes held."""

    images_per_s: float
    cpu_s_per_1000: float
    memory_bytes: int


@dataclass
class Loaded:
    """A server under a closed loop whose answers ``check`` judges, and what its turns came to."""

    server: Started
    check: Check
    answers: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0

    async def turn(self, pictures: int, seconds: float) -> None:
        """Raises WrongScore."""
        cpu, start = self.server.tree.cpu_s(), time.monotonic()
        self.answers += await closed_loop(self.server.wire, pictures, self.check, CLIENTS, seconds)
        self.seconds += time.monotonic() - start
        self.cpu_s += self.server.tree.cpu_s() - cpu

    def capacity(self) -> Capacity:
        memory = self.server.tree.memory_bytes()
        return Capacity(self.answers / self.seconds, 1000 * self.cpu_s / self.answers, memory)


async def capacity(server: Started, pictures: int, check: Check, *, warm_s: float, seconds: float) -> Capacity:
    """Of one server by itself. Raises WrongScore."""
    await closed_loop(server.wire, pictures, check, CLIENTS, warm_s)
    load = Loaded(server, check)
    await load.turn(pictures, seconds)
    return load.capacity()


async def capacities(
    loads: Sequence[Loaded], pictures: int, *, warm_s: float, turn_s: float, turns: int
) -> list[Capacity]:
    """Of servers on the same core that are loaded in turns, one at a time, so that what the machine does meanwhile
    changes all alike. Raises WrongScore."""
    for load in loads:
        await closed_loop(load.server.wire, pictures, load.check, CLIENTS, warm_s)
    for _ in range(turns):
        for load in loads:
            await load.turn(pictures, turn_s)
    return [load.capacity() for load in loads]


async def check_alone(wire: Wire, pictures: int) -> list[float]:
    """The score of each picture, sent one after the other."""
    return [await wire.send(which) for which in range(pictures)]


async def latency(server: Started, pictures: int, check: Check, *, rate: float, seconds: float) -> OpenRun:
    """An open-loop run at ``rate``; tried again up to twice when the generator lagged."""
    for seed in range(3):
        await _until_idle(server.wire)
        run = await open_loop(server.wire, pictures, check, rate=rate, seconds=seconds, seed=seed, patience_s=10.0)
        if not run.void:
            break
    return run


async def goodput(
    server: Started, pictures: int, check: Check, *, capacity_per_s: float, seconds: float, loads: Sequence[float]
) -> dict[float, OpenRun]:
    """An open-loop run at each multiple of the capacity. What is unanswered a while after a run is given up: its
    connection is closed. Floodgate's requests carry the SLO as their budget; the others' protocols have none."""
    runs = {}
    for load in loads:
        runs[load] = await open_loop(
            server.wire,
            pictures,
            check,
            rate=load * capacity_per_s,
            seconds=seconds,
            seed=round(10 * load),
            patience_s=2 * SLO_S,
            budget_ms=BUDGET_MS,
        )
        await _until_idle(server.wire)
    return runs


async def _until_idle(wire: Wire, patience_s: float = 8.0) -> None:
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        start = time.monotonic()
        try:
            await asyncio.wait_for(wire.send(0), patience_s)
        except Exception:
            await asyncio.sleep(0.1)
            continue
        if time.monotonic() - start < _IDLE_S:
            return


def quantiles_ms(run: OpenRun) -> tuple[float, float, float]:
    """p50, p99 and p99.9 of the latency, ms; what was never answered counts as infinitely late."""
    values = run.latency_s + [float("inf")] * (run.sent - len(run.latency_s))
    p50, p99, p999 = (1000 * percentile(values, share) for share in (0.5, 0.99, 0.999))
    return p50, p99, p999


def lag_p99_ms(run: OpenRun) -> float:
    """How late the generator sent, ms, at the 99th percentile."""
    return 1000 * percentile(run.lag_s, 0.99)
