"""What requests cost, and how many a second there are, without acceptors, with one and with two.

Three servers stand side by side, all with a simulated head that needs no time, and take turns: the same small photos
and clients, several rounds each, so that figures are ratios within one run. CPU time is read from /proc: *front* is
gRPC, Python and the core (the scheduler's process without its decode threads, and the acceptors), *decode* the decode
threads and their processes, *Triton* the rest, and *busiest* what the busiest process of the front takes, which with
cores enough is what bounds requests a second, since the interpreter of a process runs on one core at a time. Every
score is checked. Requests a second say something where there are more cores than server, Triton and this generator
fill; on two they show what the additional processes cost.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack

import grpc
from rich.console import Console
from rich.table import Table

from bench.load.traffic import MODERATE, moderate_payloads
from bench.overload import PHOTOS, Photo, small_photo
from bench.processes import command, connections, descendants, exact_cpu_s, program, thread_cpu_s
from bench.report import Report
from bench.server import Server, serving
from bench.simulated_head import SimulatedHead, simulated_repository
from floodgate.v1 import moderation_pb2 as pb

ACCEPTORS = (0, 1, 2)
ROUNDS, REQUESTS, WARM_UP = 7, 500, 300
CONNECTIONS, CALLS_A_CONNECTION = 16, 2
DECODE_THREADS = "fg-decode"
GROUPS = ("front", "decode", "Triton", "busiest")


def run() -> Report:
    """Runs the benchmark, prints the table."""
    photos = [small_photo(name) for name in PHOTOS]
    with ExitStack() as stack:
        settings = stack.enter_context(simulated_repository(SimulatedHead(0.0, 0.0, 32)))
        servers = [stack.enter_context(serving({**settings, "FLOODGATE_ACCEPTORS": str(n)})) for n in ACCEPTORS]
        cpu_ms, per_s, shares = asyncio.run(_measure(servers, photos))
    report = Report()
    table = Table("acceptors", *(f"{group}, CPU ms" for group in GROUPS), "requests/s", "connections", box=None)
    for place, acceptors in enumerate(ACCEPTORS):
        costs = {group: statistics.median(turn[group] for turn in cpu_ms[place]) for group in GROUPS}
        rate = statistics.median(per_s[place])
        table.add_row(
            str(acceptors), *(f"{costs[group]:.3f}" for group in GROUPS), f"{rate:.0f}", shares[place], end_section=True
        )
        for group, cost in costs.items():
            report.add(f"{group.lower()}_cpu_ms_{acceptors}", cost, "CPU ms a request, median of rounds")
        report.add(f"requests_per_s_{acceptors}", rate, "requests/s, generator on the same cores")
    for place, acceptors in enumerate(ACCEPTORS[1:], 1):
        fronts = [mine["front"] / none["front"] for mine, none in zip(cpu_ms[place], cpu_ms[0], strict=True)]
        rates = [mine / none for mine, none in zip(per_s[place], per_s[0], strict=True)]
        busiest = [mine["busiest"] / none["busiest"] for mine, none in zip(cpu_ms[place], cpu_ms[0], strict=True)]
        report.add(f"front_cpu_{acceptors}_over_0", statistics.median(fronts), "ratio, median of rounds")
        report.add(f"busiest_cpu_{acceptors}_over_0", statistics.median(busiest), "ratio, median of rounds")
        report.add(f"requests_per_s_{acceptors}_over_0", statistics.median(rates), "ratio, median of rounds")
    Console().print(table)
    for name in report.figures:
        if "_over_" in name:
            print(f"{name} {report.figures[name]:.2f}")
    return report


async def _measure(
    servers: Sequence[Server], photos: Sequence[Photo]
) -> tuple[list[list[dict[str, float]]], list[list[float]], list[str]]:
    """CPU ms a request and requests/s by server and round; how the connections fell to the acceptors."""
    payloads = moderate_payloads([photo.encoded for photo in photos], [], trace=True)
    cpu_ms: list[list[dict[str, float]]] = [[] for _ in servers]
    per_s: list[list[float]] = [[] for _ in servers]
    async with AsyncExitStack() as stack:
        channels = [[await _connection(server, stack) for _ in range(CONNECTIONS)] for server in servers]
        for number in range(len(servers)):
            await _load(channels[number], payloads, photos, WARM_UP)
        for _ in range(ROUNDS):
            for number, server in enumerate(servers):
                before, begun_s = _spent(server), time.monotonic()
                await _load(channels[number], payloads, photos, REQUESTS)
                per_s[number].append(REQUESTS / (time.monotonic() - begun_s))
                cpu_ms[number].append(_per_request_ms(before, _spent(server)))
        return cpu_ms, per_s, [_shares(server) for server in servers]


async def _connection(server: Server, stack: AsyncExitStack) -> grpc.aio.Channel:
    """A connection of its own: calls over one connection all go to one acceptor."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    return await stack.enter_async_context(grpc.aio.insecure_channel(server.target, options=options))


async def _load(
    channels: Sequence[grpc.aio.Channel], payloads: Sequence[bytes], photos: Sequence[Photo], count: int
) -> None:
    numbers = iter(range(count))

    async def one_client(channel: grpc.aio.Channel) -> None:
        call = channel.unary_unary(MODERATE)
        for number in numbers:
            decision = pb.ModerateResponse.FromString(await call(payloads[number % len(payloads)], timeout=60)).decision
            if [score.score for score in decision.scores] != [photos[number % len(photos)].score]:
                raise RuntimeError(f"a picture was scored {decision.scores}")

    await asyncio.gather(*(one_client(channel) for channel in channels for _ in range(CALLS_A_CONNECTION)))


def _spent(server: Server) -> dict[tuple[str, int], float]:
    """CPU seconds so far by group and process."""
    decoding = thread_cpu_s(server.pid, DECODE_THREADS)
    spent = {("front", server.pid): exact_cpu_s(server.pid) - decoding, ("decode", server.pid): decoding}
    for pid in descendants(server.pid):
        decoder = program(pid).rpartition("/")[2].startswith("floodgate-")
        group = "decode" if decoder else "front" if "floodgate.acceptor" in command(pid) else "Triton"
        spent[group, pid] = exact_cpu_s(pid)
    return spent


def _per_request_ms(
    before: Mapping[tuple[str, int], float], after: Mapping[tuple[str, int], float]
) -> dict[str, float]:
    costs = {key: (cpu_s - before.get(key, 0.0)) / REQUESTS * 1e3 for key, cpu_s in after.items()}
    by_group = {name: sum(cost for (group, _), cost in costs.items() if group == name) for name in GROUPS[:3]}
    return {**by_group, "busiest": max(cost for (group, _), cost in costs.items() if group == "front")}


def _shares(server: Server) -> str:
    """How many connections each acceptor has."""
    port = int(server.target.rpartition(":")[2])
    acceptors = [pid for pid in sorted(descendants(server.pid)) if "floodgate.acceptor" in command(pid)]
    return " + ".join(str(connections(pid, port)) for pid in acceptors) or "all"
