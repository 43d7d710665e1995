"""How late answers leave: deadlines kept on saturated cores while Triton is busy for 5 s; raw Triton beside it.

*Busy*: pictures go to a simulated head (``bench/simulated_head.py``) one batch of which takes 5 s, so that all
pictures fall due unscored; texts go to the project's own head meanwhile. Requests come in an open loop with
budgets from 50 to 400 ms, and on every core a process that does nothing but compute wants its share too. *Stopped*: no
other load, Triton itself stopped, 8 clients in a closed loop. *Crowded*: Triton runs the project's own heads with
several times the load that it can bear, 64 clients in a closed loop with budgets of 50 ms, and the computing processes.

Lateness is measured inside the server, when an answer is handed to gRPC (``floodgate_answer_lateness_seconds``): a
client's own clock would add its scheduling. Answers in time are 0 late; what was refused on arrival is not counted. The
percentile is read from the histogram, linearly inside a bucket. Scores are checked: each must be the one that the
content gets when sent alone.

Beside it Triton alone in front of the same simulated head on the same cores, with its own request timeouts: *plain*,
and *tuned* with a queue policy that rejects what has waited too long. It has no deadline of its own, so lateness is
what a client sees from send + budget.
"""

from __future__ import annotations

import asyncio
import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.inspection import metrics, total, triton_of
from bench.load import Flow, Generator, Outcomes, Traffic
from bench.load.generator import HEAD_START_S
from bench.load.traffic import moderate_payloads
from bench.overload import check_scores, small_photo
from bench.processes import freeze, thaw
from bench.raw_triton import MODEL_INFER, infer_payload, raw_triton
from bench.report import ROOT, Report, again_while_void
from bench.server import Server, serving
from bench.simulated_head import SimulatedHead, simulated_repository
from floodgate import AsyncClient
from floodgate.errors import DeadlineExceeded, FloodgateError, Overloaded, Unavailable

BUSY_S, WARM_UP_S = 5.0, 2.0
BUDGETS_MS = (50.0, 100.0, 200.0, 400.0)
PICTURES_PER_S, TEXTS_PER_S = 100.0, 100.0
HEAD = SimulatedHead(fixed_ms=10.0, per_row_ms=2.0, max_batch=8, hold=f"/tmp/floodgate-lateness-{os.getpid()}.hold")
PHOTOS = ("astronaut.jpg", "cat.jpg", "rocket.jpg")
TUNED = (
    "default_queue_policy { timeout_action: REJECT allow_timeout_override: true "
    f"default_timeout_microseconds: {1000 * BUDGETS_MS[0]:.0f} }}"
)
CLOSED_BUDGET_MS = 50
CLOSED_REQUESTS = 600
CLIENTS, CROWDED_CLIENTS = 8, 64
TEXT = "What a lovely cat!"
_BUCKETS = "floodgate_answer_lateness_seconds_bucket"
_ENDED = "floodgate_requests_total"
# Of what is counted; the others were refused on arrival and are no answer to a deadline.
_ANSWERED = ("OK", "DEADLINE_EXCEEDED")
# So many buffers that the server is at no point at its cap, where it would answer UNAVAILABLE at once.
_SETTINGS = {"FLOODGATE_CORE__BUFFERS": "64", "FLOODGATE_CORE__QUARANTINE": "63"}
# The client's own patience: the deadline is the server's to keep, and raw Triton has all the time it takes.
_PATIENCE_MS = 15_000.0

Seen = TypeVar("Seen")
Buckets = list[tuple[float, float]]
"""(upper bound in seconds, answers up to it), ascending; the last bound is infinite."""


def run() -> Report:
    """Runs the benchmark, prints the tables. Raises VoidRun when the generator could not keep its schedule."""
    report = Report()
    table = Table("Floodgate", "answers", "on time", "p50 ms", "p99 ms", box=None, pad_edge=False)
    busy = again_while_void(lambda: _busy(report))
    measured = {"deadline_lateness": busy, "stopped_lateness": _stopped(), "crowded_lateness": _crowded()}
    for name, (answers, late) in measured.items():
        p50, p99 = (1000 * quantile(answers, late, share) for share in (0.5, 0.99))
        table.add_row(name, f"{answers:.0f}", f"{1 - late[-1][1] / answers:.0%}", f"{p50:.2f}", f"{p99:.2f}")
        report.add(f"{name}_p50_ms", p50, "ms after the effective deadline")
        report.add(f"{name}_p99_ms", p99, "ms after the effective deadline")
        report.add(f"{name}_answers", answers, "answers, refusals on arrival left out")
    Console().print(table)
    table = Table("raw Triton, busy", "answers", "on time", "p50 ms", "p99 ms", box=None, pad_edge=False)
    for name, dynamic_batching in {"plain": "", "tuned": TUNED}.items():
        late_ms = again_while_void(functools.partial(_raw, dynamic_batching))
        p50, p99 = np.quantile(late_ms, (0.5, 0.99), method="higher")
        table.add_row(name, f"{len(late_ms)}", f"{np.mean(late_ms == 0):.0%}", f"{p50:.0f}", f"{p99:.0f}")
        report.add(f"raw_triton_{name}_lateness_p50_ms", p50, "ms after send + budget, simulated head, client's clock")
        report.add(f"raw_triton_{name}_lateness_p99_ms", p99, "ms after send + budget, simulated head, client's clock")
    Console().print(table)
    return report


# --------------------------------------------------------------------------------------------- busy, open loop


def _busy(report: Report) -> tuple[float, Buckets]:
    photos = [small_photo(name) for name in PHOTOS]
    encoded = [photo.encoded for photo in photos]
    pictures = tuple(
        payload for budget in BUDGETS_MS for payload in moderate_payloads(encoded, (), budget_ms=budget, trace=True)
    )
    texts = tuple(payload for budget in BUDGETS_MS for payload in moderate_payloads((), (TEXT,), budget_ms=budget))
    with simulated_repository(HEAD) as settings, serving({**_SETTINGS, **settings}) as server, Generator() as generator:
        flows = (
            Flow("pictures", PICTURES_PER_S, _PATIENCE_MS, pictures),
            Flow("texts", TEXTS_PER_S, _PATIENCE_MS, texts),
        )
        outcomes, (before, after), idle_share = _while_busy(
            generator, Traffic(server.target, flows, BUSY_S, WARM_UP_S), lambda: _read(server)
        )
    outcomes.require_punctual()
    check_scores(outcomes, photos, flow=0)
    report.add("cores_idle_share", idle_share, "of the machine's CPU time while Triton was busy")
    return _difference(before, after)


def _raw(dynamic_batching: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """How late each request of the busy time was answered, ms; 0 in time."""
    photos = [small_photo(name) for name in PHOTOS]
    payloads = tuple(
        infer_payload(photo.rows, timeout_us=int(1000 * budget)) for budget in BUDGETS_MS for photo in photos
    )
    with raw_triton(HEAD, dynamic_batching) as target, Generator() as generator:
        flow = Flow("raw", PICTURES_PER_S, _PATIENCE_MS, payloads, MODEL_INFER)
        outcomes, _, _ = _while_busy(generator, Traffic(target, (flow,), BUSY_S, WARM_UP_S), lambda: None)
    outcomes.require_punctual()
    check_scores(outcomes, photos)
    budgets_ms = np.repeat(BUDGETS_MS, len(photos))[outcomes.payload]
    took_ms = (outcomes.answered_ns - outcomes.sent_ns) / 1e6
    return np.maximum(0.0, took_ms - budgets_ms)[outcomes.counted]


def _while_busy(
    generator: Generator, traffic: Traffic, look: Callable[[], Seen]
) -> tuple[Outcomes, tuple[Seen, Seen], float]:
    """Runs ``traffic`` on cores that others want too, with the simulated head held up once the warm-up is over. Returns
    the outcomes, what ``look`` saw before and after that, and the share of idle time meanwhile."""
    hold = Path(HEAD.hold)
    with _busy_cores(), ThreadPoolExecutor(1) as beside:
        running = beside.submit(generator.run, traffic)
        time.sleep(traffic.warm_up_s + HEAD_START_S)
        before, idle_before, begun_s = look(), _idle_s(), time.monotonic()
        hold.touch()
        try:
            time.sleep(BUSY_S)
        finally:
            hold.unlink()
        idle_share = (_idle_s() - idle_before) / (time.monotonic() - begun_s) / (os.cpu_count() or 1)
        after = look()
        return running.result(), (before, after), idle_share


def _idle_s() -> float:
    """Idle time of all cores since the start, s (proc(5), /proc/uptime)."""
    return float(Path("/proc/uptime").read_text(encoding="ascii").split()[1])


@contextmanager
def _busy_cores() -> Iterator[None]:
    """On every core a process that does nothing but compute."""
    spinners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


# ------------------------------------------------------------------------------------ stopped, crowded: closed loop


def _stopped() -> tuple[float, Buckets]:
    with serving(_SETTINGS) as server:
        return asyncio.run(_while_stopped(server))


async def _while_stopped(server: Server) -> tuple[float, Buckets]:
    async with AsyncClient(server.target) as client:
        await _alone(client)
        before = _read(server)
        triton = triton_of(server)
        freeze(triton)
        try:
            await _load(client, CLIENTS, None)
        finally:
            thaw(triton)
        return _difference(before, _read(server))


def _crowded() -> tuple[float, Buckets]:
    with serving(_SETTINGS) as server, _busy_cores():
        return asyncio.run(_under_load(server))


async def _under_load(server: Server) -> tuple[float, Buckets]:
    async with AsyncClient(server.target) as client:
        alone = await _alone(client)
        before = _read(server)
        await _load(client, CROWDED_CLIENTS, alone)
        return _difference(before, _read(server))


async def _alone(client: AsyncClient) -> Mapping[str, float]:
    decision = await client.moderate(image=_photo(), text=TEXT, trace=True, timeout=60.0)
    return {score.head: score.score for score in decision.scores}


def _photo() -> bytes:
    return (ROOT / "examples" / "cat.jpg").read_bytes()


async def _load(client: AsyncClient, clients: int, alone: Mapping[str, float] | None) -> None:
    """``alone``: the scores to expect; None when there must be no decision at all."""
    numbers = iter(range(CLOSED_REQUESTS))
    photo = _photo()

    async def one_client() -> None:
        for number in numbers:
            content = {"image": photo} if number % 2 else {"text": TEXT}
            try:
                decision = await client.moderate(**content, trace=True, budget_ms=CLOSED_BUDGET_MS, timeout=30.0)
            except DeadlineExceeded:
                continue
            except FloodgateError as error:
                # A server that stands still takes no more than it could still answer; that leaves room for the others.
                if not isinstance(error, Overloaded) and (alone is None or not isinstance(error, Unavailable)):
                    raise
                await asyncio.sleep(CLOSED_BUDGET_MS / 1e3)
                continue
            if alone is None:
                raise RuntimeError("a stopped Triton scored something")
            for score in decision.scores:
                if score.score != alone[score.head]:
                    raise RuntimeError(f"{score.head} scored {score.score} under load and {alone[score.head]} alone")

    await asyncio.gather(*(one_client() for _ in range(clients)))


# --------------------------------------------------------------------------------------------------- the histogram


def _read(server: Server) -> tuple[float, Buckets]:
    """(answers so far, how late those were that were late)."""
    samples = metrics(server)
    answers = sum(total(samples, _ENDED, f'code="{code}"') for code in _ANSWERED)
    late = dict[float, float]()
    for name, count in samples.items():
        if name.startswith(_BUCKETS):
            bound = float(name.partition('le="')[2].partition('"')[0])
            late[bound] = late.get(bound, 0.0) + count
    return answers, sorted(late.items())


def _difference(before: tuple[float, Buckets], after: tuple[float, Buckets]) -> tuple[float, Buckets]:
    earlier = dict(before[1])
    late = [(bound, count - earlier.get(bound, 0.0)) for bound, count in after[1]]
    return after[0] - before[0], late or [(float("inf"), 0.0)]


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
