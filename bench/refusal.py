"""What a refusal costs beside a served request: CPU time of the whole server tree, same requests of 100 kB.

Served: the project's own picture classifier on CPU, all answers OK. Refused: a simulated head
(``bench/simulated_head.py``) that takes 3 s for a batch, with enough requests waiting that none with a deadline of 1 s
could be answered in time; every one of those is refused on arrival. CPU that the tree uses while nothing is asked is
taken off. *Without the model*: the served request less everything that Triton's processes use, as if a GPU did that
for nothing. Beside them a bare ``grpc.aio`` echo server, which also has to receive the bytes, and a refusal in the core
alone: the probe and admission, before any byte is copied.

A figure is the median over some turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
from rich.console import Console
from rich.table import Table

from bench import echo
from bench.report import Report, VoidRun
from bench.sandbox import photo
from bench.server import Server, serving, spent_s
from bench.simulated_head import SimulatedHead, simulated_repository
from floodgate import _core
from floodgate.client import build_request
from floodgate.errors import Overloaded
from floodgate.v1 import moderation_pb2 as pb

MODERATE = "/floodgate.v1.Moderation/Moderate"
WIDTH, HEIGHT, SIZE_BYTES = 640, 427, 100_000
HEAD = SimulatedHead(fixed_ms=3000.0, per_row_ms=0.0, max_batch=4)
WAITING = 120  # requests behind which others are refused
DEADLINE_S = 1.0
TURNS, COUNT, AT_ONCE = 3, 400, 32
IDLE_S = 1.0
CORE_COUNT = 2000


def run() -> Report:
    """Runs the benchmark, prints the table."""
    raw = build_request(image=photo(WIDTH, HEIGHT, SIZE_BYTES), content_id="c", request_id="r").SerializeToString()
    with serving({"FLOODGATE_DEFAULT_BUDGET_MS": "600000"}) as server:
        served, triton = asyncio.run(_served(server, raw))
    with simulated_repository(HEAD) as settings, serving(settings) as server:
        refused = asyncio.run(_refused(server, raw))
    with echo.echoing(100) as other:
        echoed = asyncio.run(_echoed(other, raw))
    in_core = _core_refusal_ms()
    return _publish(len(raw), served, triton, refused, echoed, in_core)


def _publish(size: int, served: float, triton: float, refused: float, echoed: float, in_core: float) -> Report:
    table = Table(f"{size} bytes", "CPU ms / request", "of a served one", box=None, pad_edge=False)
    for part, ms in (
        ("served", served),
        ("  of it Triton's processes", triton),
        ("refused", refused),
        ("  an echo server's part", echoed),
        ("  the core's part", in_core),
    ):
        table.add_row(part, f"{ms:.3f}", f"{ms / served:.1%}")
    Console().print(table)
    report = Report()
    report.add("refusal_over_served", refused / served, "CPU of the server tree, refused over served")
    report.add(
        "refusal_over_served_without_model", refused / (served - triton), "the same, less what Triton's processes use"
    )
    for name, ms in (("served", served), ("triton", triton), ("refused", refused), ("echo", echoed)):
        report.add(f"{name}_ms", ms, "CPU ms / request")
    report.add("core_refusal_us", 1000 * in_core, "CPU us / refusal in the core alone")
    return report


async def _served(server: Server, raw: bytes) -> tuple[float, float]:
    """CPU ms a served request: the tree's, and Triton's processes' part of it."""
    wholes, tritons = [], []
    async with _calling(server.target) as call:

        async def one(_: int) -> None:
            answer = pb.ModerateResponse.FromString(await call(raw))
            if answer.decision.parts[0].state != pb.PartStatus.STATE_JUDGED:
                raise RuntimeError(f"a picture was not judged: {answer.decision.parts[0]}")

        await _load(one, COUNT // 4)
        for _ in range(TURNS):
            whole, triton = await _spent_by(server.pid, one)
            wholes.append(whole)
            tritons.append(triton)
    return statistics.median(wholes), statistics.median(tritons)


async def _refused(server: Server, raw: bytes) -> float:
    """CPU ms of the tree a refused request."""
    async with _calling(server.target) as call:

        async def is_refused() -> bool:
            try:
                await call(raw, timeout=DEADLINE_S)
            except grpc.aio.AioRpcError as error:
                return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            return False

        async def one(_: int) -> None:
            if not await is_refused():
                raise VoidRun("a request was not refused")

        waiting = [asyncio.ensure_future(call(raw, timeout=600)) for _ in range(WAITING)]
        try:
            await _until_refused(is_refused)
            return statistics.median([(await _spent_by(server.pid, one))[0] for _ in range(TURNS)])
        finally:
            for each in waiting:
                each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)


async def _until_refused(is_refused: Callable[[], Awaitable[bool]]) -> None:
    """Until the server has learnt how long a batch takes. Raises VoidRun when it has not after a minute."""
    until_s = time.monotonic() + 60
    in_a_row = 0
    while in_a_row < AT_ONCE:
        in_a_row = in_a_row + 1 if await is_refused() else 0
        if time.monotonic() > until_s:
            raise VoidRun("the server does not refuse what it cannot answer in time")


async def _echoed(other: echo.Echo, raw: bytes) -> float:
    async with _calling(other.target, echo.METHOD) as call:

        async def one(_: int) -> None:
            await call(raw)

        await _load(one, COUNT // 4)
        return statistics.median([(await _spent_by(other.pid, one))[0] for _ in range(TURNS)])


@contextlib.asynccontextmanager
async def _calling(target: str, method: str = MODERATE) -> AsyncIterator[Callable[..., Awaitable[bytes]]]:
    async with grpc.aio.insecure_channel(target, options=[("grpc.max_send_message_length", -1)]) as channel:
        yield channel.unary_unary(method)


async def _spent_by(pid: int, one: Callable[[int], Awaitable[None]]) -> tuple[float, float]:
    """CPU ms a request of the tree, and of Triton's processes in it, less what they use when idle."""
    idle, idle_s = _cpu_s(pid), time.monotonic()
    await asyncio.sleep(IDLE_S)
    before, start_s = _cpu_s(pid), time.monotonic()
    await _load(one, COUNT)
    after, end_s = _cpu_s(pid), time.monotonic()
    share = (end_s - start_s) / (start_s - idle_s)
    whole, triton = (
        1e3 * (last - middle - share * (middle - first)) / COUNT
        for first, middle, last in zip(idle, before, after, strict=True)
    )
    return whole, triton


def _cpu_s(pid: int) -> tuple[float, float]:
    """CPU seconds of a server's tree, and of Triton's processes in it."""
    spent = spent_s(pid)
    return sum(spent.values()), spent["Triton"]


async def _load(one: Callable[[int], Awaitable[None]], count: int) -> None:
    """``count`` requests, ``AT_ONCE`` at a time."""
    numbers = iter(range(count))

    async def client() -> None:
        for number in numbers:
            await one(number)

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))


def _core_refusal_ms() -> float:
    """CPU ms of a submission that the core refuses because of what waits."""
    picture = photo(WIDTH, HEIGHT, SIZE_BYTES)
    scheduler = _core.Scheduler(initial_fixed_us=1e6, initial_per_row_us=0.0)
    outputs = [("mean__score", "mean", 1)]
    view = _core.ImageView(64, 64)
    scheduler.configure(
        1, [_core.EnsembleConfig("image@x", "image", [("image", view)], outputs, ["mean"], max_batch=4)]
    )
    for ticket in range(64):
        scheduler.submit(ticket, ["image@x"], picture, modality="image")
    start_ns = time.thread_time_ns()
    for _ in range(CORE_COUNT):
        try:
            scheduler.submit(1000, ["image@x"], picture, modality="image", deadline_ns=time.monotonic_ns() + 10**8)
        except Overloaded:
            continue
        raise VoidRun("the core took what it could not serve in time")
    return (time.thread_time_ns() - start_ns) / 1e6 / CORE_COUNT
