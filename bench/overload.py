"""Goodput from half to three times what the (simulated) classifier can take, and what lanes get; raw Triton beside it.

The head is simulated (``bench/simulated_head.py``): it sleeps as long as a GPU would compute, so its capacity is a
small share of what the front end takes on the same cores, and what is measured is what the server does with more work
than it can finish. Requests are small photos with a deadline, sent in an open loop (``bench/load``); loads are
multiples of the head's capacity in full batches. *Goodput*: answers that are OK, whole and inside the deadline.
*Admitted*: requests that were not refused at once (within a tenth of the deadline).

Beside it Triton alone in front of the same model with the same deadlines: *plain* with dynamic batching as its manual
begins, *tuned* with a queue policy that rejects what has waited too long to be in time. Its requests carry the finished
tensor, so it is spared all decoding. Then all lanes at 1.5 times the capacity, LIVE below what the others' floors
leave, with deadlines of five full batches. Every score that comes back is checked against the mean of the picture's
view.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass

import grpc
import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.console import Console
from rich.table import Table

from bench.load import Flow, Generator, Outcomes, Summary, Traffic
from bench.load.traffic import moderate_payloads
from bench.raw_triton import MODEL_INFER, infer_payload, infer_scores, raw_triton
from bench.report import ROOT, Report, again_while_void
from bench.server import serving
from bench.simulated_head import SIDE_PX, VIEW, SimulatedHead, simulated_repository
from floodgate import AsyncClient
from floodgate.media import render_view
from floodgate.v1 import moderation_pb2 as pb

HEAD = SimulatedHead(fixed_ms=48.0, per_row_ms=14.0, max_batch=8)
DEADLINE_MS = 700.0
# With all lanes: five full batches. The two that a LIVE request may find ahead of it and its own leave two for a burst.
LANES_DEADLINE_MS = 800.0
LOADS = (0.5, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0)
SECONDS, PEER_SECONDS, LANES_SECONDS, WARM_UP_S = 5.0, 3.0, 20.0, 1.5
PHOTOS = ("astronaut.jpg", "cat.jpg", "rocket.jpg")
PHOTO_SIDE_PX = 192
FRONT_END_S, FRONT_END_CLIENTS = 4.0, 32
# Of the capacity, together 1.5. LIVE is below 1 less the floors of STANDARD (0.25) and BULK (0.05), the server's
# defaults; STANDARD and BULK want more than theirs.
MIX = {"LIVE": 0.5, "STANDARD": 0.6, "BULK": 0.4}
FLOORS = {"LIVE": 0.25, "STANDARD": 0.25, "BULK": 0.05}
# What is still queued when two batches no longer fit before the deadline is rejected.
_LONGEST_WAIT_MS = DEADLINE_MS - 2 * (HEAD.fixed_ms + HEAD.per_row_ms * HEAD.max_batch)
PEERS = {
    "raw Triton, plain": "",
    "raw Triton, tuned": (
        f"default_queue_policy {{ timeout_action: REJECT default_timeout_microseconds: {1000 * _LONGEST_WAIT_MS:.0f} }}"
    ),
}


@dataclass(frozen=True)
class Photo:
    """An encoded picture, its view for the head uint8 [1, side, side, 3], and the score that the head must give it."""

    encoded: bytes
    rows: npt.NDArray[np.uint8]
    score: float


def run() -> Report:
    """Runs the benchmark, prints the tables. Raises VoidRun when the generator could not keep its schedule."""
    report = Report()
    photos = [small_photo(name) for name in PHOTOS]
    capacity = HEAD.capacity_per_s
    front_end = _front_end_per_s(photos)
    share = capacity / front_end
    print(f"{HEAD}: {capacity:.1f} pictures/s, {share:.1%} of the {front_end:.0f}/s that the front end alone takes")
    report.add("simulated_capacity_per_s", capacity, "pictures/s in full batches, simulated head")
    report.add("capacity_share_of_front_end", share, "simulated head's capacity / front end's, generator on its cores")
    with Generator() as generator:
        curves = {"Floodgate": _floodgate(generator, photos, report)}
        for name, dynamic_batching in PEERS.items():
            with raw_triton(HEAD, dynamic_batching) as target:
                flow = Flow(
                    "raw", capacity, DEADLINE_MS, tuple(infer_payload(each.rows) for each in photos), MODEL_INFER
                )
                curves[name] = _curve(generator, target, flow, photos, PEER_SECONDS)
    _show_curves(curves, capacity)
    for name, curve in curves.items():
        prefix = "" if name == "Floodgate" else name.lower().replace(", ", "_").replace(" ", "_") + "_"
        _add_curve(report, prefix, curve)
    return report


def _floodgate(generator: Generator, photos: Sequence[Photo], report: Report) -> list[Summary]:
    encoded = [photo.encoded for photo in photos]
    capacity = HEAD.capacity_per_s
    with simulated_repository(HEAD) as settings, serving(settings) as server:
        payloads = moderate_payloads(encoded, (), trace=True)
        curve = _curve(generator, server.target, Flow("STANDARD", capacity, DEADLINE_MS, payloads), photos, SECONDS)
        flows = tuple(
            Flow(lane, share * capacity, LANES_DEADLINE_MS, moderate_payloads(encoded, (), lane, trace=True))
            for lane, share in MIX.items()
        )
        lanes = _punctual(generator, Traffic(server.target, flows, LANES_SECONDS, WARM_UP_S))
    check_scores(lanes, photos)
    table = Table(
        "lane at 1.5x", "offered/s", "goodput/s", "good", "floor/s", "refused", "p99 ms", box=None, pad_edge=False
    )
    for lane, floor in FLOORS.items():
        one = lanes.summary(lane)
        cells = (one.offered_per_s, one.goodput_per_s, one.good_share, floor * capacity, one.requests - one.admitted)
        formats = ("{:.1f}", "{:.1f}", "{:.1%}", "{:.1f}", "{}")
        table.add_row(
            lane, *(form.format(cell) for form, cell in zip(formats, cells, strict=True)), f"{one.p99_ms:.0f}"
        )
    Console().print(table)
    bulk = lanes.summary("BULK").goodput_per_s / (FLOORS["BULK"] * capacity)
    report.add("live_in_deadline_1_5x", lanes.summary("LIVE").good_share, "share of LIVE requests, all lanes at 1.5x")
    report.add("bulk_share_of_floor", bulk, "BULK goodput / its floor of the capacity, all lanes at 1.5x")
    report.add(
        "lanes_admitted_in_deadline", lanes.summary().admitted_in_deadline, "share of admitted, all lanes at 1.5x"
    )
    return curve


def _curve(generator: Generator, target: str, flow: Flow, photos: Sequence[Photo], seconds: float) -> list[Summary]:
    """One summary for each of ``LOADS``. ``flow.rate_per_s`` is that of load 1."""
    summaries = []
    for number, load in enumerate(LOADS):
        scaled = Flow(flow.name, load * flow.rate_per_s, flow.deadline_ms, flow.payloads, flow.method)
        outcomes = _punctual(generator, Traffic(target, (scaled,), seconds, WARM_UP_S, seed=number + 1))
        check_scores(outcomes, photos)
        summaries.append(outcomes.summary())
        _settle(target, flow)
    return summaries


def _settle(target: str, flow: Flow) -> None:
    """Until a request alone is answered as fast as it should be: the next load is not to find the leftovers of this
    one, which a server that drops nothing still works off. Raises TimeoutError when that takes half a minute."""
    until_s = time.monotonic() + 30.0
    with grpc.insecure_channel(target) as channel:
        call = channel.unary_unary(flow.method, None, None)
        while time.monotonic() < until_s:
            with contextlib.suppress(grpc.RpcError):
                call(flow.payloads[0], timeout=2 * (HEAD.fixed_ms + HEAD.per_row_ms) / 1e3)
                return
            time.sleep(0.1)
    raise TimeoutError(f"{target} is still busy half a minute after the load")


def _punctual(generator: Generator, traffic: Traffic) -> Outcomes:
    """One run in which the generator kept its schedule."""

    def once() -> Outcomes:
        outcomes = generator.run(traffic)
        outcomes.require_punctual()
        return outcomes

    return again_while_void(once)


def check_scores(outcomes: Outcomes, photos: Sequence[Photo], flow: int | None = None) -> None:
    """Raises RuntimeError for an answer that is not its picture's score. ``flow``: the one that has pictures, by index;
    None: all have."""
    for at, answer in enumerate(outcomes.answers):
        if not answer or (flow is not None and outcomes.flow[at] != flow):
            continue
        if outcomes.traffic.flows[outcomes.flow[at]].method == MODEL_INFER:
            scores = infer_scores(answer).tolist()
        else:
            scores = [each.score for each in pb.ModerateResponse.FromString(answer).decision.scores]
        expected = photos[outcomes.payload[at] % len(photos)].score
        if scores != [expected] and not (outcomes.degraded[at] and not scores):
            raise RuntimeError(f"a picture was scored {scores} and should have been {expected}")


def small_photo(name: str) -> Photo:
    """An example photo, made small."""
    with Image.open(ROOT / "examples" / name) as picture:
        picture.thumbnail((PHOTO_SIDE_PX, PHOTO_SIDE_PX))
        encoded = io.BytesIO()
        picture.convert("RGB").save(encoded, "JPEG", quality=88)
    rows = np.frombuffer(render_view(encoded.getvalue(), VIEW), np.uint8).reshape(1, SIDE_PX, SIDE_PX, 3)
    score = float(np.float32(rows.reshape(1, -1).mean(1, dtype=np.float64)[0] / 255))
    return Photo(encoded.getvalue(), rows, score)


def _front_end_per_s(photos: Sequence[Photo]) -> float:
    """Pictures a second that the server takes when the head needs no time; clients in a closed loop on the same cores,
    so it could take more."""
    with simulated_repository(SimulatedHead(0.0, 0.0, HEAD.max_batch)) as settings, serving(settings) as server:
        return asyncio.run(_closed_loop(server.target, [photo.encoded for photo in photos]))


async def _closed_loop(target: str, photos: Sequence[bytes]) -> float:
    async with AsyncClient(target) as client:

        async def one_client(until_s: float) -> int:
            count = 0
            while time.monotonic() < until_s:
                await client.moderate(image=photos[count % len(photos)], timeout=30.0)
                count += 1
            return count

        async def all_clients(seconds: float) -> int:
            until_s = time.monotonic() + seconds
            return sum(await asyncio.gather(*(one_client(until_s) for _ in range(FRONT_END_CLIENTS))))

        await all_clients(1.0)
        begun_s = time.monotonic()
        return await all_clients(FRONT_END_S) / (time.monotonic() - begun_s)


def _add_curve(report: Report, prefix: str, curve: Sequence[Summary]) -> None:
    best = max(one.goodput_per_s for one in curve)
    at = dict(zip(LOADS, curve, strict=True))
    report.add(f"{prefix}goodput_best_per_s", best, "good answers/s, simulated head")
    for load in (2.0, 3.0):
        report.add(
            f"{prefix}goodput_share_{load:.0f}x", at[load].goodput_per_s / best if best else 0.0, "of the best goodput"
        )
    good, admitted = sum(one.good for one in curve), sum(one.admitted for one in curve)
    report.add(f"{prefix}admitted_in_deadline", good / admitted if admitted else 1.0, "share of admitted, all loads")
    worst = min(one.admitted_in_deadline for one in curve)
    report.add(f"{prefix}admitted_in_deadline_worst", worst, "share of admitted, at the worst load")
    for load, one in at.items():
        report.add(
            f"{prefix}goodput_at_{load:g}x".replace(".", "_"), one.goodput_per_s, "good answers/s, simulated head"
        )


def _show_curves(curves: dict[str, list[Summary]], capacity: float) -> None:
    table = Table(
        "server (simulated head)",
        "load",
        "offered/s",
        "goodput/s",
        "of capacity",
        "admitted",
        "of them in time",
        "p50 ms",
        "p99 ms",
        box=None,
        pad_edge=False,
    )
    for name, curve in curves.items():
        for load, one in zip(LOADS, curve, strict=True):
            table.add_row(
                name,
                f"{load:g}x",
                f"{one.offered_per_s:.1f}",
                f"{one.goodput_per_s:.1f}",
                f"{one.goodput_per_s / capacity:.0%}",
                f"{one.admitted / max(1, one.requests):.0%}",
                f"{one.admitted_in_deadline:.1%}",
                f"{one.p50_ms:.0f}",
                f"{one.p99_ms:.0f}",
            )
    Console(width=120).print(table)
