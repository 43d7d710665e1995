"""CPU per picture: decode, view and model by themselves, then the whole server tree, and where the difference sits.

The server tree (Floodgate, its decode workers, Triton) has one core to itself and the generator another, where there
are two, so that no part's CPU time depends on who shares a core with it. The parts are measured on the server's core:
the core's decode and view in a loop, OpenVINO at the batch sizes that the server formed, a bare ``grpc.aio`` echo
server with the same request bytes, answer bytes and rate, and each Python step. A shared machine's speed drifts within
seconds, and what is asked for is small beside what it is the difference of: so there are many short turns, the whole of
a turn is set against the parts just before and just after it, and a figure is the median over the turns.

``overhead_ms_*``: CPU per request of the server tree less decode, view and model. ``python_ms_over_echo_*``: of the
Floodgate process without the core's threads, less the echo server's; ``*_over_busy_echo`` sets it against an echo
server that is driven as fast as it goes, which wakes up less often. Every answer is checked.
"""

from __future__ import annotations

import asyncio
import io
import os
import statistics
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
import numpy as np
import openvino as ov
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table

from bench import echo, python_steps
from bench.processes import exact_cpu_s
from bench.report import ROOT, Report
from bench.sandbox import photo
from bench.server import Server, serving, spent_s
from floodgate.client import build_request
from floodgate.config import load_config
from floodgate.media import render_view
from floodgate.triton.repository import load_heads
from floodgate.triton.runner.folding import fold_columns, folding_pays
from floodgate.triton.runner.graphs import Graphs
from floodgate.types import ImageViewSpec
from floodgate.v1 import moderation_pb2 as pb

# name -> width, height, bytes of the JPEG at quality 88, requests a turn
SIZES = {"100k": (640, 427, 100_000, 192), "430k": (1920, 1280, 430_000, 96)}
TURNS = 12
TURN_S = 10.0
"""A load ends after so long, however few of its requests were sent: the whole takes a few minutes on any machine."""
AT_ONCE = 32
HEAD = "nsfw"
MODERATE = "/floodgate.v1.Moderation/Moderate"


@dataclass
class Samples:
    """CPU ms a request by part, one entry a turn."""

    parts: dict[str, list[float]] = field(default_factory=dict)

    def add(self, part: str, ms: float) -> None:
        self.parts.setdefault(part, []).append(ms)

    def __getitem__(self, part: str) -> float:
        return statistics.median(self.parts[part])

    def sums(self, *parts: str) -> list[float]:
        """Of these parts by turn."""
        return [sum(values) for values in zip(*(self.parts[part] for part in parts), strict=True)]


def run() -> Report:
    """Runs the benchmark, prints one table a picture size."""
    cores = sorted(os.sched_getaffinity(0))
    report = Report()
    model = Model(cores[0])
    settings = {"FLOODGATE_DEFAULT_BUDGET_MS": "600000"}
    for name, (width, height, size_bytes, count) in SIZES.items():
        picture = photo(width, height, size_bytes)
        pictures = [picture, _mirrored(picture)]
        raws = [_request(data) for data in pictures]
        os.sched_setaffinity(0, cores[:1])  # inherited by the server and its threads
        with serving(settings) as server:
            answer_bytes, samples = asyncio.run(_measure(server, raws, pictures, model, count, cores))
        os.sched_setaffinity(0, cores[:1])
        steps = asyncio.run(python_steps.measure(load_config(None, {}), raws[0]))
        _publish(name, samples, steps, report)
        print(f"{name}: {len(picture)} bytes, answers of {answer_bytes} bytes, batches of {samples['rows']:.1f} rows\n")
    os.sched_setaffinity(0, cores)
    return report


async def _measure(
    server: Server, raws: list[bytes], pictures: list[bytes], model: Model, count: int, cores: list[int]
) -> tuple[int, Samples]:
    (head,) = load_heads(ROOT / "model_repository", (HEAD,))
    assert isinstance(head.view, ImageViewSpec)
    view = head.view
    samples = Samples()
    os.sched_setaffinity(0, cores[-1:])  # before gRPC starts its threads
    options = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(server.target, options=options) as channel:
        call = channel.unary_unary(MODERATE)
        alone = [await call(raw) for raw in raws]
        scores = [_score(answer) for answer in alone]

        async def one(number: int) -> None:
            which = number % len(raws)
            score = _score(await call(raws[which]))
            if score != scores[which]:
                raise RuntimeError(f"picture {which} scored {score} under load and {scores[which]} alone")

        async with _echoing(raws[0], len(alone[0]), cores) as echo_turn:
            await _load(one, count)
            rows, _ = await _server_turn(server, one, count, Samples())
            for _ in range(TURNS):
                before = _isolated(pictures, view, model, rows, cores)
                rows, rate = await _server_turn(server, one, count, samples)
                after = _isolated(pictures, view, model, rows, cores)
                for part, ms in before.items():
                    samples.add(part, (ms + after[part]) / 2)
                samples.add("echo", await echo_turn(count, rate))
                samples.add("busy echo", await echo_turn(count, None))
    return len(alone[0]), samples


def _isolated(
    pictures: list[bytes], view: ImageViewSpec, model: Model, rows: float, cores: list[int]
) -> dict[str, float]:
    """CPU ms a picture on the server's core, in batches of ``rows``."""
    os.sched_setaffinity(0, cores[:1])
    try:
        return {
            "decode+view": statistics.mean(_decode_ms(data, view) for data in pictures),
            "model": model.row_ms(rows),
        }
    finally:
        os.sched_setaffinity(0, cores[-1:])


async def _server_turn(
    server: Server, one: Callable[[int], Awaitable[None]], count: int, samples: Samples
) -> tuple[float, float]:
    """The mean batch and requests a second; adds the tree's CPU ms a request, by who spent it."""
    before, batches_before = spent_s(server.pid), _batches(server)
    start_s = time.monotonic()
    sent = await _load(one, count)
    seconds = time.monotonic() - start_s
    after, batches = spent_s(server.pid), _batches(server)
    for part, cpu_s in after.items():
        samples.add(part, (cpu_s - before[part]) * 1e3 / sent)
    rows = (batches[1] - batches_before[1]) / (batches[0] - batches_before[0])
    samples.add("rows", rows)
    return rows, sent / seconds


@asynccontextmanager
async def _echoing(
    raw: bytes, answer_bytes: int, cores: list[int]
) -> AsyncIterator[Callable[[int, float | None], Awaitable[float]]]:
    """A bare echo server, as CPU ms a request of so many requests at a rate, or as fast as it goes."""
    os.sched_setaffinity(0, cores[:1])
    with echo.echoing(answer_bytes) as server:
        os.sched_setaffinity(0, cores[-1:])
        async with grpc.aio.insecure_channel(server.target, options=[("grpc.max_send_message_length", -1)]) as channel:
            call = channel.unary_unary(echo.METHOD)

            async def one(_: int) -> None:
                if len(await call(raw)) != answer_bytes:
                    raise RuntimeError("the echo server did not echo")

            async def turn(count: int, rate: float | None) -> float:
                before_s = exact_cpu_s(server.pid)
                sent = await _load(one, count, rate)
                return (exact_cpu_s(server.pid) - before_s) * 1e3 / sent

            await turn(count=100, rate=None)
            yield turn


async def _load(one: Callable[[int], Awaitable[None]], count: int, rate: float | None = None) -> int:
    """Up to ``count`` requests, ``AT_ONCE`` at a time, for up to ``TURN_S``; no more than ``rate`` of them a second.
    Returns how many were sent."""
    numbers = iter(range(count))
    start_s = time.monotonic()
    sent = 0

    async def client() -> None:
        nonlocal sent
        for number in numbers:
            if time.monotonic() - start_s > TURN_S:
                return
            sent += 1
            if rate is not None:
                await asyncio.sleep(start_s + number / rate - time.monotonic())
            await one(number)

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    return sent


def _batches(server: Server) -> tuple[float, float]:
    """Batches and rows so far."""
    found = {}
    for line in urllib.request.urlopen(server.metrics_url, timeout=10).read().decode().splitlines():
        name, _, value = line.rpartition(" ")
        if name in ("floodgate_core_batches_total", "floodgate_core_rows_batched_total"):
            found[name] = float(value)
    return found["floodgate_core_batches_total"], found["floodgate_core_rows_batched_total"]


def _decode_ms(data: bytes, view: ImageViewSpec) -> float:
    render_view(data, view)
    times = 100_000_000 // (100 * len(data)) + 10
    start_ns = time.thread_time_ns()
    for _ in range(times):
        render_view(data, view)
    return (time.thread_time_ns() - start_ns) / 1e6 / times


class Model:
    """The head's graphs as the runner has them (``triton/runner``), on one thread."""

    def __init__(self, core: int) -> None:
        os.sched_setaffinity(0, {core})
        engine = ov.Core()
        fast = "BF16" in engine.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self._graphs = Graphs(
            engine,
            ROOT / "model_repository" / HEAD / "1" / "model.onnx",
            inputs={"image": (np.uint8, [224, 224, 3])},
            outputs=["scores"],
            max_batch=16,
            threads=1,
            settings={
                "PERFORMANCE_HINT": "LATENCY",
                "NUM_STREAMS": 1,
                "INFERENCE_PRECISION_HINT": ov.Type.bf16 if fast else ov.Type.f32,
            },
            rewrite=fold_columns if folding_pays("bf16" if fast else "f32") else None,
        )
        self._random = np.random.default_rng(1)

    def row_ms(self, rows: float) -> float:
        """CPU ms a row in batches of ``rows``, between the whole numbers next to it."""
        low = int(rows)
        share = rows - low
        below = self._batch_ms(low)
        return (below + (share * (self._batch_ms(low + 1) - below) if share else 0.0)) / rows

    def _batch_ms(self, rows: int) -> float:
        feeds = {"image": self._random.integers(0, 256, (rows, 224, 224, 3), np.uint8)}
        self._graphs.infer(feeds)
        times = 40 // rows + 2
        start_ns = time.process_time_ns()
        for _ in range(times):
            self._graphs.infer(feeds)
        return (time.process_time_ns() - start_ns) / 1e6 / times


def _publish(name: str, samples: Samples, steps: dict[str, float], report: Report) -> None:
    tree = ("gRPC+Python", "scheduler", "decode threads", "decode workers", "Triton")
    whole = samples.sums(*tree)
    isolated = samples.sums("decode+view", "model")
    overhead = [of_tree - of_parts for of_tree, of_parts in zip(whole, isolated, strict=True)]
    python = samples["gRPC+Python"]
    inside = sum(steps.values())
    rows = [
        ("whole server tree", statistics.median(whole), ""),
        ("  decode and view alone", samples["decode+view"], ""),
        ("  model alone", samples["model"], ""),
        (
            "  sandbox and decode threads",
            _sum(samples, "decode threads", "decode workers") - samples["decode+view"],
            "",
        ),
        ("  scheduler thread", samples["scheduler"], ""),
        ("  Triton beyond the model", samples["Triton"] - samples["model"], ""),
        ("  gRPC + Python", python, ""),
        ("    echo at the same rate", samples["echo"], f"as fast as it goes: {samples['busy echo']:.3f}"),
        *((f"    {step}", ms, "") for step, ms in steps.items()),
        ("    rest", python - samples["echo"] - inside, "futures, batches and their calls, colder caches"),
    ]
    table = Table(name, "CPU ms / request", "", box=None, pad_edge=False)
    for part, ms, note in rows:
        table.add_row(part, f"{ms:.3f}", note)
    Console().print(table)
    unit = "CPU ms / request"
    report.add(f"overhead_ms_{name}", statistics.median(overhead), unit)
    low, _, high = statistics.quantiles(overhead)
    report.add(f"overhead_ms_{name}_lower_quartile", low, unit)
    report.add(f"overhead_ms_{name}_upper_quartile", high, unit)
    shares = [of_parts / of_tree for of_tree, of_parts in zip(whole, isolated, strict=True)]
    report.add(f"efficiency_{name}", statistics.median(shares), "isolated parts / server tree, CPU")
    report.add(f"python_ms_over_echo_{name}", python - samples["echo"], unit)
    report.add(f"python_ms_over_busy_echo_{name}", python - samples["busy echo"], unit)
    if name == "100k":
        report.add("python_ms_over_echo", python - samples["echo"], unit)
    for part in (*tree, "decode+view", "model", "echo", "busy echo"):
        report.add(f"{part.replace('+', '_').replace(' ', '_').lower()}_ms_{name}", samples[part], unit)
    for step, ms in steps.items():
        report.add(f"step_{step}_ms_{name}", ms, unit)
    report.add(f"batch_rows_{name}", samples["rows"], "rows / batch")


def _sum(samples: Samples, *parts: str) -> float:
    return sum(samples[part] for part in parts)


def _mirrored(jpeg: bytes) -> bytes:
    with Image.open(io.BytesIO(jpeg)) as file:
        out = io.BytesIO()
        ImageOps.mirror(file.convert("RGB")).save(out, "JPEG", quality=88)
    return out.getvalue()


def _request(data: bytes) -> bytes:
    return build_request(image=data, content_id="c", request_id="r", trace=True).SerializeToString()


def _score(answer: bytes) -> float:
    (score,) = pb.ModerateResponse.FromString(answer).decision.scores
    return float(score.score)
