"""How late answers leave when nothing answers: deadlines kept while Triton is stopped, and while it is busy.

Several clients at once send photos and texts with a budget of 50 ms. *Stopped*: Triton's process is stopped, so each
answer is DEADLINE_EXCEEDED. *Saturated*: Triton runs, with several times the load that it can bear, on cores that a
busy process each also wants, so answers are decisions, degraded decisions and errors. Lateness is measured inside the
server, when an answer is handed to gRPC (``floodgate_answer_lateness_seconds``; answers in time are 0 late): a client's
own clock would add its scheduling. The percentile is read from the histogram, linearly inside a bucket. Every answer is
checked: a score must be the one that the content gets when sent alone.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

from bench.processes import descendants, freeze, program, thaw
from bench.report import ROOT, Report
from bench.server import Server, serving
from floodgate import AsyncClient
from floodgate.errors import DeadlineExceeded, FloodgateError, Unavailable

BUDGET_MS = 50
REQUESTS = 600
CLIENTS = 8
SATURATING_CLIENTS = 64
TEXT = "What a lovely cat!"
_BUCKETS = "floodgate_answer_lateness_seconds_bucket"
_ENDED = "floodgate_requests_total"
# So many buffers that the stopped server is at no point at its cap, where it would answer UNAVAILABLE at once.
_SETTINGS = {"FLOODGATE_CORE__BUFFERS": "64", "FLOODGATE_CORE__QUARANTINE": "63"}


def run() -> Report:
    """Runs the benchmark, prints the table."""
    report = Report()
    table = Table("while Triton is", "answers", "on time", "p50 ms", "p99 ms", box=None, pad_edge=False)
    for name, busy, clients in (("stopped", 0, CLIENTS), ("saturated", os.cpu_count() or 1, SATURATING_CLIENTS)):
        with serving(_SETTINGS) as server, _busy_cores(busy):
            before = _read(server)
            if name == "stopped":
                asyncio.run(_while_stopped(server, clients))
            else:
                asyncio.run(_under_load(server, clients))
            answers, late = _difference(before, _read(server))
        p50, p99 = (1000 * quantile(answers, late, share) for share in (0.5, 0.99))
        table.add_row(name, f"{answers:.0f}", f"{1 - late[-1][1] / answers:.0%}", f"{p50:.2f}", f"{p99:.2f}")
        prefix = "deadline_lateness" if name == "stopped" else "saturated_lateness"
        report.add(f"{prefix}_p50_ms", p50, "ms after the effective deadline")
        report.add(f"{prefix}_p99_ms", p99, "ms after the effective deadline")
        report.add(f"{prefix}_answers", answers, "answers")
    Console().print(table)
    return report


async def _while_stopped(server: Server, clients: int) -> None:
    (triton,) = [pid for pid in descendants(server.pid) if program(pid).endswith("tritonserver")]
    async with AsyncClient(server.target) as client:
        await _alone(client)
        freeze(triton)
        try:
            await _load(client, clients, None)
        finally:
            thaw(triton)


async def _under_load(server: Server, clients: int) -> None:
    async with AsyncClient(server.target) as client:
        await _load(client, clients, await _alone(client))


async def _alone(client: AsyncClient) -> Mapping[str, float]:
    decision = await client.moderate(image=_photo(), text=TEXT, trace=True, timeout=60.0)
    return {score.head: score.score for score in decision.scores}


def _photo() -> bytes:
    return (ROOT / "examples" / "cat.jpg").read_bytes()


async def _load(client: AsyncClient, clients: int, alone: Mapping[str, float] | None) -> None:
    """``alone``: the scores to expect; None when there must be no decision at all."""
    numbers = iter(range(REQUESTS))
    photo = _photo()

    async def one_client() -> None:
        for number in numbers:
            content = {"image": photo} if number % 2 else {"text": TEXT}
            try:
                decision = await client.moderate(**content, trace=True, budget_ms=BUDGET_MS, timeout=30.0)
            except DeadlineExceeded:
                continue
            except FloodgateError as error:
                if alone is None or not isinstance(error, Unavailable):
                    raise
                continue
            if alone is None:
                raise RuntimeError("a stopped Triton scored something")
            for score in decision.scores:
                if score.score != alone[score.head]:
                    raise RuntimeError(f"{score.head} scored {score.score} under load and {alone[score.head]} alone")

    await asyncio.gather(*(one_client() for _ in range(clients)))


@contextmanager
def _busy_cores(count: int) -> Iterator[None]:
    """Processes that do nothing but want a core each."""
    spinners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


Buckets = list[tuple[float, float]]
"""(upper bound in seconds, answers up to it), ascending; the last bound is infinite."""


def _read(server: Server) -> tuple[float, Buckets]:
    """(answers so far, how late those were that were late)."""
    text = urllib.request.urlopen(server.metrics_url, timeout=10).read().decode()
    answers, late = 0.0, dict[float, float]()
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if name.startswith(_ENDED):
            answers += float(value)
        elif name.startswith(_BUCKETS):
            bound = float(name.partition('le="')[2].partition('"')[0])
            late[bound] = late.get(bound, 0.0) + float(value)
    return answers, sorted(late.items())


def _difference(before: tuple[float, Buckets], after: tuple[float, Buckets]) -> tuple[float, Buckets]:
    earlier = dict(before[1])
    late = [(bound, count - earlier.get(bound, 0.0)) for bound, count in after[1]]
    # The request that is sent alone was not under the load.
    return after[0] - before[0] - 1, late or [(float("inf"), 0.0)]


def quantile(answers: float, late: Buckets, share: float) -> float:
    """The lateness, s, that ``share`` of all answers do not exceed: 0 when so many were in time; infinite when it lies
    above the last finite bucket."""
    wanted = share * answers - (answers - late[-1][1])
    if wanted <= 0:
        return 0.0
    lower, below = 0.0, 0.0
    for bound, count in late:
        if count >= wanted:
            return lower + (bound - lower) * (wanted - below) / (count - below)
        lower, below = bound, count
    return float("inf")
