"""Load on a server while something is done to it, and what must be true afterwards."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.inspection import command_of
from bench.processes import descendants
from bench.report import ROOT
from bench.server import Server
from floodgate import AsyncClient
from floodgate.client import build_request
from floodgate.errors import FloodgateError, Overloaded
from floodgate.v1 import moderation_pb2 as pb

PHOTOS = tuple((ROOT / "examples" / name).read_bytes() for name in ("astronaut.jpg", "cat.jpg", "coffee.webp"))
TEXTS = ("What a lovely cat!", "You are a stupid idiot and everybody hates you.", "The weather is fine today")
PATIENCE_S = 20.0
SERVES_WITHIN_S = 2.0

Scores = Mapping[tuple[str, str], float]


async def eventually(
    condition: Callable[[], bool], what: str | Callable[[], str], patience_s: float = PATIENCE_S
) -> None:
    """Until ``condition`` holds; fails the test when it does not within ``patience_s``. ``what`` is missing then."""
    until = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() >= until:
            raise AssertionError(f"{what if isinstance(what, str) else what()}: not within {patience_s:g} s")
        await asyncio.sleep(0.05)


# ------------------------------------------------------------------------------------------------ processes


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def shared_memory_of(server: Server, names: Iterable[str] = ()) -> set[str]:
    """Files in /dev/shm that this server made (by its process id), or that are among ``names``."""
    made = {f"floodgate-{server.pid}-", f"floodgate_anchor_{server.pid}_"}
    return {name for name in os.listdir("/dev/shm") if name in names or name.startswith(tuple(made))}


def stub_memory_of(server: Server) -> set[str]:
    """Files in /dev/shm that the model processes of a running server use: their command lines name them."""
    commands = " ".join(command_of(pid) for pid in descendants(server.pid))
    return {name for name in os.listdir("/dev/shm") if name in commands}


# ----------------------------------------------------------------------------------------------------- load


def scores_of(decision: pb.Decision) -> Scores:
    return {(score.part_id, score.head): score.score for score in decision.scores}


@dataclass
class Tally:
    """What became of the requests that were sent. ``overloaded_at``: when each of those refused so was sent (monotonic
    clock, s), and the time that it had, s. ``late_s``: how long after its gRPC deadline the latest came back."""

    sent: int = 0
    decisions: int = 0
    degraded: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    overloaded_at: list[tuple[float, float]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    late_s: float = -math.inf

    def overloaded(self, *, except_between: tuple[float, float], had_s: float) -> int:
        """How many were refused as Overloaded that had ``had_s`` or more, sent at other times than those between."""
        first, last = except_between
        return sum(had >= had_s and not first <= at <= last for at, had in self.overloaded_at)

    @property
    def answered(self) -> int:
        return self.decisions + sum(self.errors.values())


class Load:
    """Clients in a closed loop, each with a photo and a text of its own choosing; every score is held to the one that
    the same content gets when it is sent alone."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._alone: list[Scores] = []
        self._stopping = False
        self.tally = Tally()

    async def learn(self) -> None:
        """Sends each content alone and remembers its scores."""
        for photo, text in zip(PHOTOS, TEXTS, strict=True):
            decision = await self._client.moderate(image=photo, text=text, trace=True, timeout=60.0)
            assert not decision.degraded
            self._alone.append(scores_of(decision))

    @asynccontextmanager
    async def running(self, clients: int, deadlines_s: tuple[float, ...]) -> AsyncIterator[Tally]:
        """Load while the block runs; ends once every request under way was answered."""
        self._stopping = False
        async with asyncio.TaskGroup() as group:
            for number in range(clients):
                group.create_task(self._one_client(number, deadlines_s))
            try:
                yield self.tally
            finally:
                self._stopping = True

    async def _one_client(self, number: int, deadlines_s: tuple[float, ...]) -> None:
        turn = number
        while not self._stopping:
            which = turn % len(PHOTOS)
            timeout_s = deadlines_s[turn % len(deadlines_s)]
            turn += 1
            request = build_request(image=PHOTOS[which], text=TEXTS[which], trace=True)
            begun = time.monotonic()
            self.tally.sent += 1
            try:
                decision = await self._client.send(request, timeout=timeout_s)
            except FloodgateError as error:
                name = type(error).__name__
                self.tally.errors[name] = self.tally.errors.get(name, 0) + 1
                if isinstance(error, Overloaded):
                    self.tally.overloaded_at.append((begun, timeout_s))
                # A server that refuses at once must not be asked in a tight loop.
                await asyncio.sleep(0.05)
            else:
                self._check(which, decision)
            self.tally.late_s = max(self.tally.late_s, time.monotonic() - begun - timeout_s)

    def _check(self, which: int, decision: pb.Decision) -> None:
        self.tally.decisions += 1
        self.tally.degraded += bool(decision.degraded)
        missing = {name for degradation in decision.degraded for name in degradation.missing}
        got, alone = scores_of(decision), self._alone[which]
        if any(got[key] != alone.get(key) for key in got):
            self.tally.wrong.append(f"{got} is not {alone}")
        silently = [key for key in alone if key not in got and f"{key[0]}/{key[1]}" not in missing]
        if silently:
            self.tally.wrong.append(f"{silently} is missing and nothing says so")


async def serves(client: AsyncClient) -> bool:
    """Whether a photo and a text get a whole decision now, given SERVES_WITHIN_S."""
    return not await _why_not(client)


async def _why_not(client: AsyncClient) -> str:
    try:
        decision = await client.moderate(image=PHOTOS[0], text=TEXTS[0], timeout=SERVES_WITHIN_S)
    except FloodgateError as error:
        return f"{type(error).__name__}: {error}"
    return f"degraded: {decision.degraded}" if decision.degraded else ""


async def recovers(client: AsyncClient, patience_s: float = PATIENCE_S) -> None:
    """Until the server serves again by itself; fails the test when it does not."""
    until = time.monotonic() + patience_s
    while why := await _why_not(client):
        assert time.monotonic() < until, f"not serving again within {patience_s:g} s: {why}"
        await asyncio.sleep(0.05)
