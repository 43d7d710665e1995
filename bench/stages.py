"""Where the time of a request goes, by the server's own histograms, and how much of it they explain.

Photos are sent in an open loop at a part of what the server can take; then the sums of
``floodgate_stage_seconds`` are read as an operator would read them. ``stages_explain`` is the share of the total that
the stages add up to. The real classifiers run, because the less time they take, the more the rest shows. Every answer
is checked: the score of a picture must be the one it got when sent alone.
"""

from __future__ import annotations

import asyncio
import time
import urllib.request

from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from bench.load import Flow, Generator, Outcomes, Traffic
from bench.load.traffic import moderate_payloads
from bench.report import ROOT, Report
from bench.server import serving
from floodgate import AsyncClient
from floodgate.v1 import moderation_pb2 as pb

LOADS = (0.3, 0.7)
SECONDS = 6.0
PHOTOS = ("astronaut.jpg", "cat.jpg", "rocket.jpg")
CLIENTS = 16
CEILING_S = 3.0
DEADLINE_MS = 2000.0
TOTAL = "total"


def run() -> Report:
    """Runs the benchmark, prints the table."""
    report = Report()
    photos = [(ROOT / "examples" / name).read_bytes() for name in PHOTOS]
    shares: dict[float, dict[str, float]] = {}
    with serving() as server, Generator() as generator:
        alone, ceiling = asyncio.run(_alone(server.target, photos))
        for load in LOADS:
            before = stage_seconds(server.metrics_url)
            flow = Flow("STANDARD", load * ceiling, DEADLINE_MS, moderate_payloads(photos, (), trace=True))
            _check(generator.run(Traffic(server.target, (flow,), SECONDS)), alone)
            spent = stage_seconds(server.metrics_url)
            grown = {stage: seconds - before.get(stage, 0.0) for stage, seconds in spent.items()}
            shares[load] = {stage: seconds / grown[TOTAL] for stage, seconds in grown.items()}
    table = Table("stage", *(f"share at {load:g} of {ceiling:.0f}/s" for load in LOADS), box=None, pad_edge=False)
    for stage in shares[LOADS[0]]:
        table.add_row(stage, *(f"{shares[load][stage]:.2%}" for load in LOADS))
    Console().print(table)
    explained = {load: sum(share for stage, share in by.items() if stage != TOTAL) for load, by in shares.items()}
    for load in LOADS:
        for stage, share in shares[load].items():
            if stage != TOTAL:
                report.add(f"{stage}_share_at_{load:g}".replace(".", "_"), share, "of total latency")
    report.add("stages_explain", min(explained.values()), "of total latency, at the load where it is least")
    print(f"together the stages explain {min(explained.values()):.1%} of the total")
    return report


def stage_seconds(metrics_url: str) -> dict[str, float]:
    """Seconds by stage, all lanes together."""
    page = urllib.request.urlopen(metrics_url, timeout=10).read().decode()
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == "floodgate_stage_seconds_sum":
                sums[sample.labels["stage"]] = sums.get(sample.labels["stage"], 0.0) + sample.value
    return sums


def _check(run: Outcomes, alone: list[float]) -> None:
    """Raises RuntimeError for an answer that is missing or another than it should be."""
    for answer, which, status in zip(run.answers, run.payload, run.status, strict=True):
        scores = [each.score for each in pb.ModerateResponse.FromString(answer).decision.scores]
        if scores != [alone[which]]:
            raise RuntimeError(f"{PHOTOS[which]} scored {scores} under load (status {status}) and {alone[which]} alone")


async def _alone(target: str, photos: list[bytes]) -> tuple[list[float], float]:
    """The photos' scores when sent alone, and how many a second a closed loop of clients gets through."""
    async with AsyncClient(target) as client:
        decisions = [await client.moderate(image=photo, trace=True, timeout=60.0) for photo in photos]
        alone = [score.score for decision in decisions for score in decision.scores]

        async def one_client(until_s: float) -> int:
            count = 0
            while time.monotonic() < until_s:
                await client.moderate(image=photos[count % len(photos)], timeout=60.0)
                count += 1
            return count

        until_s = time.monotonic() + CEILING_S
        return alone, sum(await asyncio.gather(*(one_client(until_s) for _ in range(CLIENTS)))) / CEILING_S
