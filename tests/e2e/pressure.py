"""Load on a server while something is done to it, and what must be true afterwards."""

from __future__ import annotations

import asyncio
import math
import os
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.processes import descendants, program
from bench.report import ROOT
from bench.server import Server
from floodgate import AsyncClient
from floodgate.client import build_request
from floodgate.errors import FloodgateError
from floodgate.v1 import moderation_pb2 as pb

PHOTOS = tuple((ROOT / "examples" / name).read_bytes() for name in ("astronaut.jpg", "cat.jpg", "coffee.webp"))
TEXTS = ("What a lovely cat!", "You are a stupid idiot and everybody hates you.", "The weather is fine today")
PATIENCE_S = 20.0

Scores = Mapping[tuple[str, str], float]


async def eventually(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Until ``condition`` holds; fails the test when it does not within ``patience_s``."""
    until = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < until, f"{what}: not within {patience_s:g} s"
        await asyncio.sleep(0.05)


# ------------------------------------------------------------------------------------------------ processes


def triton_of(server: Server) -> int:
    """The process id of the server's own tritonserver."""
    (pid,) = [pid for pid in descendants(server.pid) if program(pid).endswith("tritonserver")]
    return pid


def stubs_of(server: Server, head: str) -> list[int]:
    """The model processes of a head."""
    below = descendants(server.pid)
    return [pid for pid in below if program(pid).endswith("_stub") and f"/{head}/" in command_of(pid)]


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


def command_of(pid: int) -> str:
    """A process's command line; "" when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


# -------------------------------------------------------------------------------------------------- metrics


def metrics(server: Server) -> dict[str, float]:
    """All samples, by ``name{labels}``."""
    text = urllib.request.urlopen(server.metrics_url, timeout=10).read().decode()
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def total(samples: Mapping[str, float], name: str, *labels: str) -> float:
    """The sum of the samples of ``name`` whose labels contain all of ``labels`` (as ``key="value"``)."""
    return sum(
        value
        for sample, value in samples.items()
        if sample.partition("{")[0] == name and all(label in sample for label in labels)
    )


def is_at_rest(server: Server) -> bool:
    """Whether every buffer is free, the arena empty and every accepted ticket answered."""
    now = metrics(server)
    held = total(now, "floodgate_core_buffers") - total(now, "floodgate_core_buffers", 'state="free"')
    return (
        held == 0
        and total(now, "floodgate_core_arena_used_bytes") == 0
        and total(now, "floodgate_core_open_tickets") == 0
        and total(now, "floodgate_core_tickets_total") == total(now, "floodgate_core_done_total")
        and total(now, "floodgate_in_flight_items") == 0
    )


# ----------------------------------------------------------------------------------------------------- load


def scores_of(decision: pb.Decision) -> Scores:
    return {(score.part_id, score.head): score.score for score in decision.scores}


@dataclass
class Tally:
    """What became of the requests that were sent. ``late_s``: how long after its gRPC deadline the latest came back."""

    sent: int = 0
    decisions: int = 0
    degraded: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    late_s: float = -math.inf

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
    """Whether a photo and a text get a whole decision now."""
    try:
        decision = await client.moderate(image=PHOTOS[0], text=TEXTS[0], timeout=2.0)
    except FloodgateError:
        return False
    return not decision.degraded


async def recovers(client: AsyncClient, patience_s: float = PATIENCE_S) -> None:
    """Until the server serves again by itself; fails the test when it does not."""
    until = time.monotonic() + patience_s
    while not await serves(client):
        assert time.monotonic() < until, f"not serving again within {patience_s:g} s"
        await asyncio.sleep(0.05)
