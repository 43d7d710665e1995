"""What the sandbox costs: pictures decoded on threads and in sandboxed processes, and what crashes and hangs cost.

*Price.* The same JPEGs go through the scheduler with its decode workers as threads and as sandboxed processes, in turns
of some tens of pictures within one run, on one core (affinity) and on all of them. ``sandbox_over_threads_*`` is the
median over neighbouring turns of sandbox time over thread time, ``*_cpu_*`` the same of CPU time, which others on the
machine disturb less. *Losses.* Streams of good pictures, in turns alone and with 1,000 crashes and 100 hangs mixed
in: one bad part in 46 (``loss_drop``), and one in 10 (``loss_drop_dense``). The figure is how much slower good pictures
came, once the time is taken off for which the lost parts had a worker (their decode time in the answers, until the
worker was cleared away): the median over neighbouring turns of a second or less, since the machine's own speed drifts
by more than that within a minute. Every batch is compared with the expected pixels, and every answer is looked at.

*Through the server.* The same share of crashes and hangs (a tenth as many) among good pictures that a whole server
judges, in turns with as many alone. ``loss_drop_server`` is how much slower good pictures came, with nothing taken off.
Every decision is looked at.
"""

from __future__ import annotations

import asyncio
import io
import mmap
import os
import select
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from bench.processes import descendants, exact_cpu_s
from bench.report import ROOT, Report
from bench.server import serving
from floodgate import AsyncClient, _core
from floodgate.v1 import moderation_pb2 as pb

DECODER = Path(_core.__file__).parent / "bin" / "floodgate-decoder"
VIEW = _core.ImageView(224, 224)
# width, height, bytes: what JPEGs at quality 88 have
PICTURES = {"640": (640, 427, 92_000), "1280": (1280, 854, 244_000)}
TURNS = 40
A_TURN = {"640": 60, "1280": 25}
CRASHES, HANGS = 1_000, 100
LOSS_TURNS = 50
A_STREAM_TURN = {"loss_drop": 1_000, "loss_drop_dense": 200}  # good pictures: one part in 46 is bad, and one in 10
HANG_MS = 20
OPEN = 64  # tickets at once
State = pb.PartStatus.State
SERVER_TURNS = 10
A_SERVER_TURN = {"good": 500, "crash": 10, "hang": 1}
SERVER_HANG_MS = 100  # the least that may be configured
CALLERS = 16


def run() -> Report:
    """Runs the benchmark, prints the tables."""
    report = Report()
    cores = sorted(os.sched_getaffinity(0))
    table = Table("picture", "cores", "threads us", "sandbox us", "sandbox / threads", "CPU", box=None, pad_edge=False)
    for name in PICTURES:
        for which in (cores[:1], cores):
            _price(name, which, report, table)
    Console().print(table)
    os.sched_setaffinity(0, cores)
    _losses(len(cores), report)
    _losses_of_a_server(report)
    return report


def _price(name: str, cores: list[int], report: Report, table: Table) -> None:
    os.sched_setaffinity(0, cores)  # before the threads and the zygote, which inherit it
    picture = photo(*PICTURES[name])
    feeds = {"threads": Feed(len(cores), ""), "sandbox": Feed(len(cores), str(DECODER))}
    times: dict[str, list[float]] = {kind: [] for kind in feeds}
    cpus: dict[str, list[float]] = {kind: [] for kind in feeds}
    count = A_TURN[name]
    for feed in feeds.values():
        feed.expect(picture)
    for turn in range(TURNS):
        for kind in sorted(feeds, reverse=turn % 2 == 0):
            before = _cpu_everywhere()
            times[kind].append(feeds[kind].decode([picture] * count) / count)
            cpus[kind].append((_cpu_everywhere() - before) / count)
    ratio = statistics.median(s / t for s, t in zip(times["sandbox"], times["threads"], strict=True))
    cpu = statistics.median(s / t for s, t in zip(cpus["sandbox"], cpus["threads"], strict=True))
    us = {kind: 1e6 * statistics.median(each) for kind, each in times.items()}
    where = "one_core" if len(cores) == 1 else "all_cores"
    report.add(f"sandbox_over_threads_{name}_{where}", ratio, "time per picture, ratio")
    report.add(f"sandbox_over_threads_cpu_{name}_{where}", cpu, "CPU time per picture, ratio")
    report.add(f"threads_us_{name}_{where}", us["threads"], "us per picture")
    report.add(f"sandbox_us_{name}_{where}", us["sandbox"], "us per picture")
    table.add_row(name, f"{len(cores)}", f"{us['threads']:.0f}", f"{us['sandbox']:.0f}", f"{ratio:.3f}", f"{cpu:.3f}")
    if name == "640" and len(cores) == 1:
        report.add("sandbox_over_threads", ratio, "time per picture, ratio")


def _losses(workers: int, report: Report) -> None:
    good = photo(*PICTURES["640"])
    feed = Feed(workers, str(DECODER))
    feed.expect(good)
    feed.decode([good] * 1000)
    counted = 0
    for name in A_STREAM_TURN:
        counted += CRASHES + HANGS
        _stream(name, feed, good, workers, report)
        losses = feed.scheduler.stats()["worker_losses"]
        if losses["crashed"] + losses["hung"] != counted:
            raise RuntimeError(f"losses were not counted: {losses}")


def _stream(name: str, feed: Feed, good: bytes, workers: int, report: Report) -> None:
    """Turns of good pictures alone and of as many among crashes and hangs."""
    alone = [good] * A_STREAM_TURN[name]
    crashes, hangs = CRASHES // LOSS_TURNS, HANGS // LOSS_TURNS
    bad = [faulty(good, "crash")] * crashes + [faulty(good, "hang")] * hangs
    wanted = {"the decoder crashed (SIGSEGV)": crashes, "the decoder hung": hangs}
    random = np.random.default_rng(3)
    clean_s, mixed_s, lost_s = [], [], []
    for turn in range(LOSS_TURNS):
        mixed = alone + bad
        random.shuffle(mixed)
        for stream in (alone, mixed) if turn % 2 else (mixed, alone):
            spent_s = feed.decode(stream)
            if stream is alone:
                clean_s.append(spent_s)
                continue
            mixed_s.append(spent_s)
            lost_s.append(feed.lost_s / workers)
            if {text: count for text, count in feed.outcomes.items() if text} != wanted:
                raise RuntimeError(f"lost other parts than the bad ones: {feed.outcomes}")
    turns = list(zip(clean_s, mixed_s, lost_s, strict=True))
    drops = [1 - clean / (mixed - lost) for clean, mixed, lost in turns]
    drop = statistics.median(drops)
    low, _, high = statistics.quantiles(drops)
    per_loss_ms = 1e3 * statistics.median(mixed - lost - clean for clean, mixed, lost in turns) / len(bad)
    share = f"{len(bad) / len(alone):.1%} losses"
    report.add(name, drop, f"share of throughput, beyond the lost parts' time; {share}")
    report.add(f"{name}_ms_per_loss", per_loss_ms, "ms of the whole stream, beyond the lost part's time")
    print(
        f"{LOSS_TURNS * len(alone)} good pictures: {sum(clean_s):.2f} s alone, {sum(mixed_s):.2f} s with {CRASHES} "
        f"crashes and {HANGS} hangs of {HANG_MS} ms, of which the lost parts took {sum(lost_s):.2f} s: {drop:+.1%} "
        f"beyond that (half of the turns {low:+.1%} to {high:+.1%}), {per_loss_ms:.2f} ms each"
    )


def _losses_of_a_server(report: Report) -> None:
    with serving({"FLOODGATE_MEDIA__FAULTS": "true", "FLOODGATE_MEDIA__HANG_MS": str(SERVER_HANG_MS)}) as server:
        turns = asyncio.run(_server_turns(server.target))
    drop = statistics.median(1 - alone / mixed for alone, mixed in turns)
    low, _, high = statistics.quantiles(1 - alone / mixed for alone, mixed in turns)
    bad = A_SERVER_TURN["crash"] + A_SERVER_TURN["hang"]
    share = f"{bad / A_SERVER_TURN['good']:.1%} losses"
    report.add("loss_drop_server", drop, f"share of the whole server's throughput, nothing taken off; {share}")
    alone_s, mixed_s = (sum(times) for times in zip(*turns, strict=True))
    print(
        f"through the server: {SERVER_TURNS * A_SERVER_TURN['good']} good pictures: {alone_s:.2f} s alone, "
        f"{mixed_s:.2f} s with {SERVER_TURNS * A_SERVER_TURN['crash']} crashes and "
        f"{SERVER_TURNS * A_SERVER_TURN['hang']} hangs of {SERVER_HANG_MS} ms: {drop:+.1%} "
        f"(half of the turns {low:+.1%} to {high:+.1%})"
    )


async def _server_turns(target: str) -> list[tuple[float, float]]:
    """Seconds of each turn of good pictures alone, and of as many among crashes and hangs."""
    good = photo(*PICTURES["640"])
    alone = [(good, State.STATE_JUDGED)] * A_SERVER_TURN["good"]
    bad = [
        (faulty(good, fault), State.STATE_UNREADABLE)
        for fault in ("crash", "hang")
        for _ in range(A_SERVER_TURN[fault])
    ]
    random = np.random.default_rng(5)
    turns = []
    async with AsyncClient(target) as client:
        await _judged(client, alone)
        for turn in range(SERVER_TURNS):
            mixed = alone + bad
            random.shuffle(mixed)
            seconds = {}
            for kind, stream in sorted({"alone": alone, "mixed": mixed}.items(), reverse=turn % 2 == 0):
                seconds[kind] = await _judged(client, stream)
            turns.append((seconds["alone"], seconds["mixed"]))
    return turns


async def _judged(client: AsyncClient, stream: list[tuple[bytes, int]]) -> float:
    """Seconds until all of them are judged. Raises RuntimeError when one is not in the state that is given with it."""
    waiting: Iterator[tuple[bytes, int]] = iter(stream)

    async def caller() -> None:
        for picture, state in waiting:
            decision = await client.moderate(image=picture, timeout=60.0)
            if [part.state for part in decision.parts] != [state]:
                raise RuntimeError(f"a part is not what it should be: {decision.parts}")

    start = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return time.perf_counter() - start


class Feed:
    """A scheduler kept busy with pictures, its batches answered here with whether their rows are as expected."""

    def __init__(self, workers: int, decoder: str) -> None:
        self.scheduler = _core.Scheduler(
            decode_workers=workers,
            arena_bytes=64 << 20,
            decoder_program=decoder,
            decoder_faults=True,
            decoder_hang_ms=HANG_MS if decoder else 5000,
        )
        config = _core.EnsembleConfig(
            "image@bench", "image", [("image", VIEW)], [("same__pixels", "same", 1)], ["same"], max_batch=16, buffers=6
        )
        self.scheduler.configure(1, [config])
        self.outcomes: Counter[str] = Counter()
        self.lost_s = 0.0
        self._expected: np.ndarray | None = None
        self._regions: dict[str, mmap.mmap] = {}
        self._ticket = 0

    def expect(self, picture: bytes) -> None:
        """The good picture, whose pixels a thread decodes first."""
        self._expected = np.frombuffer(_core.render_views(picture, [VIEW])[0], np.uint8)

    def decode(self, pictures: list[bytes]) -> float:
        """Seconds until all of them are answered."""
        self.outcomes.clear()
        self.lost_s = 0.0
        waiting = iter(pictures)
        open_tickets, more = 0, True
        start = time.perf_counter()
        while open_tickets or more:
            while more and open_tickets < OPEN:
                picture = next(waiting, None)
                if picture is None:
                    more = False
                    break
                self._ticket += 1
                self.scheduler.submit(self._ticket, ["image@bench"], picture, modality="image")
                open_tickets += 1
            if open_tickets:
                select.select([self.scheduler.fd], [], [], 20)
            for batch in self.scheduler.take_batches():
                self.scheduler.complete(batch.batch_id, {"same__pixels": self._compare(batch)})
            for done in self.scheduler.poll_done():
                open_tickets -= 1
                self._note(done)
        return time.perf_counter() - start

    def _compare(self, batch: _core.Batch) -> np.ndarray:
        (tensor,) = batch.tensors
        if tensor.region not in self._regions:
            with open("/dev/shm" + tensor.region, "rb") as file:
                self._regions[tensor.region] = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        rows = np.frombuffer(self._regions[tensor.region], np.uint8, tensor.bytes, tensor.offset)
        rows = rows.reshape(batch.rows, -1)
        assert self._expected is not None
        return np.array([[np.array_equal(row, self._expected)] for row in rows], np.float32)

    def _note(self, done: _core.Done) -> None:
        self.outcomes[done.message] += 1
        if done.code != "OK":
            self.lost_s += done.decode_us / 1e6
            return
        if np.frombuffer(done.rows[0].scores[0].outputs["same__pixels"], np.float32)[0] != 1.0:
            raise RuntimeError("a picture's pixels are not what they should be")


def photo(width: int, height: int, size_bytes: int) -> bytes:
    """An example photo at this size, with as much grain as brings its JPEG at quality 88 to about ``size_bytes``."""
    with Image.open(ROOT / "examples" / "astronaut.jpg") as file:
        scaled = np.asarray(file.convert("RGB").resize((width, height), Image.Resampling.LANCZOS), np.float32)
    noise = np.random.default_rng(1).normal(size=scaled.shape)
    encoded = b""
    for grain in np.arange(0, 40, 0.5):
        out = io.BytesIO()
        Image.fromarray(np.clip(scaled + grain * noise, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=88)
        encoded = out.getvalue()
        if len(encoded) >= size_bytes:
            break
    return encoded


def faulty(jpeg: bytes, fault: str) -> bytes:
    """The JPEG with a comment that makes a decoder misbehave."""
    comment = f"floodgate-fault:{fault} ".encode()
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]


def _cpu_everywhere() -> float:
    """CPU seconds of this process and all below it, those included that have ended and been collected."""
    return sum(exact_cpu_s(pid) for pid in (os.getpid(), *descendants(os.getpid())))
