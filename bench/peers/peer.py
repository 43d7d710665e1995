"""The peers: how each is started, on which core, and how the load reaches it. Floodgate is one of them."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.peers import wire as wires
from bench.peers.environment import peers_python
from bench.peers.machine import raise_priority
from bench.peers.tree import MARK, Tree
from bench.report import ROOT
from bench.server import serving

SERVERS = Path(__file__).with_name("servers")
MODEL = ROOT / "model_repository" / "nsfw" / "1" / "model.onnx"
THREADS = 1
START_TIMEOUT_S = 90.0
BUDGET_MS = 250.0


@dataclass(frozen=True)
class Setup:
    """See ``servers/classifier.py``, whose ``Setup`` this becomes."""

    decode: str
    workers: int
    batch: int
    wait_ms: float
    fast_transport: bool = False


WRITTEN = Setup("full", workers=1, batch=8, wait_ms=5.0)
"""A handler that decodes the whole picture with Pillow, one worker for the one core, the framework's batching on."""


@dataclass(frozen=True)
class Peer:
    """``program``: file of ``servers``, run by the peers' environment or (``own``) by Floodgate's. ``connect``: the
    wire to a port. ``fast_transport``: what that stands for here, "" when there is nothing of the kind."""

    name: str
    program: tuple[str, ...]
    connect: Callable[[int, Sequence[bytes]], wires.Wire]
    own: bool = False
    fast_transport: str = ""


PEERS = (
    Peer(
        "triton_client",
        ("triton_client.py",),
        wires.FramedWire,
        own=True,
        fast_transport="system shared memory",
    ),
    Peer(
        "triton_ensemble",
        ("triton_server.py",),
        lambda port, images: wires.triton_http(port, "image", images),
        own=True,
    ),
    Peer(
        "litserve",
        ("litserve_server.py",),
        lambda port, images: wires.raw_http(port, "/predict", images),
        fast_transport="fast_queue (ZeroMQ)",
    ),
    Peer(
        "mosec",
        ("mosec_server.py",),
        lambda port, images: wires.raw_http(port, "/inference", images),
        fast_transport="decode and inference in one worker",
    ),
    Peer(
        "bentoml",
        ("-m", "bentoml", "serve", "bentoml_server:ImageService", "--host", "127.0.0.1", "--port", "{port}"),
        lambda port, images: wires.upload_http(port, "/classify", images, "images"),
    ),
    Peer(
        "ray",
        ("ray_server.py",),
        lambda port, images: wires.raw_http(port, "/", images),
        fast_transport="RAY_SERVE_THROUGHPUT_OPTIMIZED",
    ),
)


@dataclass(frozen=True)
class Started:
    """A server that answers."""

    wire: wires.Wire
    tree: Tree


class CannotStart(Exception):
    """A server that did not come to answer; the message has the end of its log."""


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started meanwhile, and the calling thread, runs on ``core`` only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@asynccontextmanager
async def peer_server(
    peer: Peer, setup: Setup, core: int, images: Sequence[bytes], precision: str
) -> AsyncIterator[Started]:
    """Starts a peer on ``core`` and yields it once it has scored a picture; ends its whole tree afterwards."""
    port, mark = _free_ports(3), uuid.uuid4().hex
    python = sys.executable if peer.own else str(peers_python())
    with tempfile.TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True) as scratch:
        environment = {
            **os.environ,
            MARK: mark,
            "PEER_NAME": peer.name,
            "PEER_SETUP": json.dumps(asdict(setup)),
            "PEER_PORT": str(port),
            "PEER_MODEL": str(MODEL),
            "PEER_PRECISION": precision,
            "PEER_THREADS": str(THREADS),
            "PEER_STATE": str(ROOT / "var"),
            "PEER_SCRATCH": scratch,
            # Every peer gets its threads told: one core is all there is.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "BENTOML_DO_NOT_TRACK": "True",
            "BENTOML_HOME": f"{scratch}/bentoml",
            **({"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"} if peer.name == "ray" and setup.fast_transport else {}),
        }
        log = Path(scratch) / "log"
        command = [python, *(word.format(port=port) for word in peer.program)]
        with log.open("wb") as sink, on_core(core):
            process = subprocess.Popen(  # noqa: ASYNC220
                command, cwd=SERVERS, env=environment, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink
            )
        tree = Tree(process.pid, mark)
        wire = peer.connect(port, images)
        try:
            await _first_answer(peer, process, wire, log)
            raise_priority(tree.members())
            yield Started(wire, tree)
        finally:
            await wire.close()
            tree.end()
            process.wait()


@asynccontextmanager
async def floodgate_server(
    views: str, core: int, images: Sequence[bytes], settings: dict[str, str] | None = None
) -> AsyncIterator[Started]:
    """Floodgate as it is shipped, decision log and metrics on, on ``core``. ``views``: "exact" or "fast", the latter
    down to the view's own size, as the peers' reduced decodes."""
    mark = uuid.uuid4().hex
    chosen = {"FLOODGATE_MEDIA__VIEWS": views, "FLOODGATE_MEDIA__DECODE_MIN": "256", MARK: mark, **(settings or {})}
    with on_core(core):
        server = serving(chosen)
        entered = server.__enter__()
    wire = wires.FloodgateWire(entered.target, images, BUDGET_MS)
    tree = Tree(entered.pid, mark)
    raise_priority(tree.members())
    try:
        yield Started(wire, tree)
    finally:
        await wire.close()
        server.__exit__(None, None, None)


async def _first_answer(peer: Peer, process: subprocess.Popen[bytes], wire: wires.Wire, log: Path) -> None:
    until, last = time.monotonic() + START_TIMEOUT_S, "nothing listened"
    while time.monotonic() < until:
        if process.poll() is not None:
            last = f"it ended with status {process.returncode}"
            break
        try:
            await asyncio.wait_for(wire.send(0), 20.0)
            return
        except (OSError, EOFError, wires.Refused, ValueError, KeyError, TimeoutError) as error:
            last = f"{type(error).__name__}: {error}"
        await asyncio.sleep(0.2)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])  # noqa: ASYNC240
    raise CannotStart(f"{peer.name} did not start ({last}); its log ends:\n{tail}")


def _free_ports(count: int) -> int:
    """The first of ``count`` neighbouring ports that are free now."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first = int(probe.getsockname()[1])
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
