"""CPU per 1,000 images through the whole server, split by who spends it.

A closed loop of 32 clients sends the example photos through real gRPC to a server in a process of its own. CPU time is
read before and after: of the Floodgate process its scheduler's and decode threads and the rest (gRPC and Python), the
decode workers, and Triton with its model processes. Every answer is checked: the score of a picture must be the one it
got when sent alone.
"""

from __future__ import annotations

import asyncio
import time

from rich.console import Console
from rich.table import Table

from bench.report import ROOT, Report
from bench.server import Server, serving, spent_s
from floodgate import AsyncClient

IMAGES = 1000
CONCURRENCY = 32
PHOTOS = ("astronaut.jpg", "cat.jpg", "coffee.webp", "rocket.jpg")


def run() -> Report:
    """Runs the benchmark, prints the table."""
    with serving() as server:
        seconds, split = asyncio.run(_measure(server))
    report = Report()
    per_thousand = {name: cpu * 1000 / IMAGES for name, cpu in split.items()}
    total = sum(per_thousand.values())
    table = Table("part", "CPU s / 1,000 images", "share", box=None, pad_edge=False)
    for name, cpu in per_thousand.items():
        table.add_row(name, f"{cpu:.2f}", f"{cpu / total:.0%}")
        report.add(f"cpu_s_per_1000_{name.replace('+', '_').replace(' ', '_').lower()}", cpu, "CPU s / 1,000 images")
    table.add_row("total", f"{total:.2f}", "100%")
    report.add("cpu_s_per_1000_total", total, "CPU s / 1,000 images")
    report.add("images_per_s", IMAGES / seconds, "images/s, generator on the same cores")
    Console().print(table)
    print(f"{IMAGES / seconds:.0f} images/s with the load generator on the same cores")
    return report


async def _measure(server: Server) -> tuple[float, dict[str, float]]:
    photos = [(ROOT / "examples" / name).read_bytes() for name in PHOTOS]
    async with AsyncClient(server.target) as client:
        alone = [await _score(client, photo) for photo in photos]
        await _load(client, photos, alone, 200)
        before = spent_s(server.pid)
        start = time.monotonic()
        await _load(client, photos, alone, IMAGES)
        seconds = time.monotonic() - start
        after = spent_s(server.pid)
    return seconds, {name: after[name] - before[name] for name in after}


async def _load(client: AsyncClient, photos: list[bytes], alone: list[float], count: int) -> None:
    numbers = iter(range(count))

    async def one_client() -> None:
        for number in numbers:
            which = number % len(photos)
            score = await _score(client, photos[which])
            if score != alone[which]:
                raise RuntimeError(f"{PHOTOS[which]} scored {score} under load and {alone[which]} alone")

    await asyncio.gather(*(one_client() for _ in range(CONCURRENCY)))


async def _score(client: AsyncClient, photo: bytes) -> float:
    decision = await client.moderate(image=photo, trace=True, timeout=60.0)
    (score,) = decision.scores
    return float(score.score)
