"""What a dashboard is for, made to happen to running servers: every kind of content, caller and failure."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
from calls import MODERATE
from clips import animation, video
from pressure import PATIENCE_S, PHOTOS, TEXTS, eventually, recovers
from unruly_heads import UnrulyHead

from bench.inspection import metrics, total, triton_of
from bench.processes import freeze, thaw
from bench.sandbox import faulty
from bench.server import Server
from floodgate import AsyncClient
from floodgate.client import build_request, image_part, text_part, video_part
from floodgate.errors import FloodgateError
from floodgate.v1 import moderation_pb2 as pb

LANES = ("STANDARD", "LIVE", "BULK")
_TOGETHER = 8
_STORM_S = 60.0


class Guest:
    """A caller of one server, who takes every answer as it comes."""

    def __init__(self, server: Server, client: AsyncClient) -> None:
        self.server = server
        self.client = client

    async def ask(self, *, timeout: float = 30.0, **fields: Any) -> pb.Decision | None:
        try:
            return await self.client.send(build_request(**fields), timeout=timeout)
        except FloodgateError:
            return None

    async def ask_all(self, asked: Iterable[dict[str, Any]]) -> None:
        """All at once."""
        await asyncio.gather(*(self.ask(**fields) for fields in asked))

    async def leave(self, after_s: float, **fields: Any) -> None:
        """Asks, and hangs up before the answer."""
        with suppress(asyncio.CancelledError, TimeoutError):
            await asyncio.wait_for(self.ask(**fields), after_s)

    def count(self, name: str, *labels: str) -> float:
        return total(metrics(self.server), name, *labels)


@asynccontextmanager
async def guest(server: Server) -> Any:
    async with AsyncClient(server.target) as client:
        yield Guest(server, client)


# --------------------------------------------------------------------------------------------- every day


async def everyday(who: Guest) -> None:
    """Photos, texts, videos and animations in every lane; what cannot be read; what is malformed; a stream."""
    moving, still, turning = video(2), video(2, still=True), animation(4)
    for lane in LANES:
        await who.ask_all({"image": photo, "text": text, "lane": lane, "markets": ["DE", "FR"]}
                          for photo, text in zip(PHOTOS, TEXTS, strict=True))  # fmt: skip
        await who.ask(parts=[video_part(moving), video_part(still), image_part(turning)], lane=lane)
    broken = [PHOTOS[0][:5000], b"%PDF-1.7" + bytes(50)]
    await who.ask(parts=[*(image_part(data) for data in broken), text_part("")])
    for _ in range(2):
        await who.ask(parts=[video_part(moving[: len(moving) // 3]), video_part(bytes(4000))])
    await who.ask(text="hello", surface="nowhere")
    await who.ask(text="hello", policy_revision="none")
    requests = [build_request(text=text, request_id=f"r{turn}") for turn, text in enumerate(TEXTS)]
    async for _ in who.client.stream(requests, timeout=30.0):
        pass


# ---------------------------------------------------------------------------------------------- failures


async def decoders_lost(who: Guest) -> None:
    """Pictures that crash their decoder or make it do what it must not. The server obeys marks (media.faults)."""
    for fault in (*["crash"] * _TOGETHER, "socket"):
        await who.ask(image=faulty(PHOTOS[0], fault))


async def storm(who: Guest, wanted: Iterable[str]) -> None:
    """Callers with little time and callers who leave, over a Triton that halts and goes on, until every counter of
    ``wanted`` has moved."""
    at_first = metrics(who.server)
    waiting = set(wanted)
    until = time.monotonic() + _STORM_S
    fair = random.Random(1)
    pid = triton_of(who.server)

    async def one(turn: int) -> None:
        while waiting and time.monotonic() < until:
            fields = {
                "image": fair.sample(PHOTOS, fair.randint(1, 3)),
                "text": TEXTS[turn % 3],
                "lane": LANES[turn % 3],
            }
            patience_s = fair.choice((0.02, 0.05, 0.2, 1.0))
            if fair.random() < 0.3:
                await who.leave(patience_s, **fields)
            else:
                await who.ask(timeout=patience_s, **fields)
            # A server that refuses at once must not be asked in a tight loop.
            await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as group:
        callers = [group.create_task(one(turn)) for turn in range(2 * _TOGETHER)]
        while not all(caller.done() for caller in callers):
            freeze(pid)
            try:
                await asyncio.sleep(fair.choice((0.1, 0.5, 1.5)))
            finally:
                thaw(pid)
            await asyncio.sleep(fair.choice((0.1, 0.3)))
            now = metrics(who.server)
            waiting -= {name for name in waiting if total(now, name) > total(at_first, name)}
    assert not waiting, f"nothing moved {', '.join(sorted(waiting))} within {_STORM_S:g} s"


async def standstill(who: Guest, seen: Callable[[], bool], *, for_s: float) -> None:
    """Triton halts while many wait: some run out of time, the arena is full for some time and until that was ``seen``,
    newcomers are refused. Then it goes on."""
    patient: list[asyncio.Task[pb.Decision | None]] = []
    pid = triton_of(who.server)
    freeze(pid)
    try:
        until = time.monotonic() + PATIENCE_S
        while who.count("floodgate_core_buffers", 'state="quarantined"') == 0:
            assert time.monotonic() < until, "no buffer is held back"
            await who.ask(image=PHOTOS[0], budget_ms=500)
        large = PHOTOS[0] + bytes(290_000 - len(PHOTOS[0]))
        at_least = time.monotonic() + for_s
        while not seen() or time.monotonic() < at_least:
            assert time.monotonic() < until, "nobody saw the arena full"
            if arena_in_use(who) < 0.82:
                patient += [asyncio.create_task(who.ask(image=large, timeout=60.0)) for _ in range(3)]
            await asyncio.sleep(0.05)
    finally:
        thaw(pid)
    await asyncio.gather(*patient)
    await recovers(who.client)


def arena_in_use(who: Guest) -> float:
    """The share of an arena of 1 MiB that holds bytes which wait."""
    return who.count("floodgate_core_arena_used_bytes") / (1 << 20)


async def late_answers(who: Guest) -> None:
    """The server itself gets no processor until its callers' deadlines are over."""
    before = who.count("floodgate_answer_lateness_seconds_count")
    pid = triton_of(who.server)
    freeze(pid)
    try:
        # Deadlines 10 ms apart, so that some end long before the server goes on, and some just then.
        budgets_ms = range(500, 500 + 10 * 8 * _TOGETHER, 10)
        asked = [asyncio.create_task(who.ask(text=TEXTS[0], budget_ms=budget_ms)) for budget_ms in budgets_ms]
        await eventually(lambda: who.count("floodgate_in_flight_items") >= _TOGETHER, "requests under way")
        freeze(who.server.pid)
        try:
            await asyncio.sleep(0.8)
        finally:
            thaw(who.server.pid)
    finally:
        thaw(pid)
    await asyncio.gather(*asked)
    assert who.count("floodgate_answer_lateness_seconds_count") > before
    await recovers(who.client)


async def head_off(who: Guest, head: UnrulyHead, seen: Callable[[], bool]) -> None:
    """A head fails, its breaker opens, and it is well again once that was ``seen``."""
    head.order = "raise"
    until = time.monotonic() + PATIENCE_S
    while not seen():
        assert time.monotonic() < until, "the breaker does not open"
        await who.ask_all({"image": PHOTOS[0]} for _ in range(_TOGETHER))
    head.order = "ok"
    await recovers(who.client)


async def triton_killed(who: Guest, times: int) -> None:
    """With batches under way, each time."""
    for _ in range(times):
        pid = triton_of(who.server)
        freeze(pid)
        asked = [asyncio.create_task(who.ask(image=PHOTOS[0], timeout=10.0)) for _ in range(_TOGETHER)]
        await eventually(lambda: who.count("floodgate_core_buffers", 'state="in_flight"') > 0, "a batch under way")
        os.kill(pid, signal.SIGKILL)
        await asyncio.gather(*asked)
        await recovers(who.client, patience_s=60.0)


def write_policy(who: Guest, policy: Path, text: str) -> None:
    """Another file, and the signal to read it."""
    policy.write_text(text, encoding="utf-8")
    os.kill(who.server.pid, signal.SIGHUP)


async def policy_changed(who: Guest, policy: Path, sound: str) -> None:
    """A file that is refused, then the sound one again."""
    for text, outcome in (("nonsense: true\n", 'outcome="refused"'), (sound, 'outcome="taken"')):
        before = who.count("floodgate_policy_reloads_total", outcome)
        write_policy(who, policy, text)
        await eventually(
            lambda before=before, outcome=outcome: who.count("floodgate_policy_reloads_total", outcome) > before,
            outcome,
        )


async def log_stalled(who: Guest, seen: Callable[[], bool]) -> None:
    """The decision log is a pipe that nobody reads, until lines that wait were ``seen``; then it is a file again."""
    log = who.server.decision_log
    file = log.rename(log.with_suffix(".before"))
    os.mkfifo(log)
    os.kill(who.server.pid, signal.SIGHUP)
    pipe = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    try:
        until = time.monotonic() + PATIENCE_S
        while not seen():
            assert time.monotonic() < until, "nobody saw lines wait"
            await who.ask_all({"text": text} for text in TEXTS * _TOGETHER)
        file.rename(log)
        os.kill(who.server.pid, signal.SIGHUP)
        while who.count("floodgate_decision_log_pending"):
            assert time.monotonic() < until, "lines wait though the log is a file again"
            with suppress(BlockingIOError):
                os.read(pipe, 1 << 20)
    finally:
        os.close(pipe)


def odd_request(number: int) -> bytes:
    """A well-formed message, unlike any before in everything that a caller may choose, and often refused."""
    odd = random.Random(number)
    word = f"{odd.getrandbits(64):x}"
    request = build_request(
        text=f"{word} {odd.choice(TEXTS)}",
        content_id=word,
        content_version=word,
        request_id=word,
        creator_id=word,
        surface=odd.choice(("comment", "", word)),
        markets=["".join(odd.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=2)) for _ in range(3)],
        origin_market="".join(odd.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=2)),
        viewer_audience=odd.choice(("", word)),
        language=odd.choice(("en", "de-CH", "zz")),
        lane=odd.choice(LANES),
        signals={word: odd.random()},
        declared_labels=[word] if odd.random() < 0.3 else [],
        policy_revision=odd.choice(("", "", word)),
    )
    return request.SerializeToString()


def send_raw(target: str, messages: Iterable[bytes]) -> dict[str, int]:
    """What became of them, by status code."""
    codes: dict[str, int] = {}
    with grpc.insecure_channel(target) as channel:
        call = channel.unary_unary(MODERATE)
        for raw in messages:
            try:
                call(raw, timeout=30)
                code = "OK"
            except grpc.RpcError as error:
                code = error.code().name
            codes[code] = codes.get(code, 0) + 1
    return codes
