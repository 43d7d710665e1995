"""Finds each peer's best setup and keeps it in ``sweep.json``, which the benchmark reads.

    .venv/bin/python -m bench.peers.sweep [PEER ...]

One thing after another: way of decoding, faster transport where the peer has one, batch, workers, wait. The best is the
one with the least CPU an image in a closed loop that keeps one core busy (unlike images a second, CPU time is not what
neighbours on the machine take); a setup that fails or gives a wrong score is out. All that was tried is kept beside it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import uvloop

from bench.peers.load import WrongScore
from bench.peers.machine import cores, end_on_sigterm, precision
from bench.peers.measure import Capacity, capacity, check_alone
from bench.peers.peer import PEERS, CannotStart, Peer, Setup, floodgate_server, peer_server
from bench.peers.pictures import is_same_score, pictures
from bench.report import commit, machine

KEPT = Path(__file__).with_name("sweep.json")
WARM_S = 1.0
SECONDS = 3.0
_START = Setup("draft", workers=1, batch=8, wait_ms=5.0)
_CHOICES: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("decode", ("draft", "opencv")),
    ("fast_transport", (False, True)),
    ("batch", (8, 1, 16)),
    ("workers", (1, 2)),
    ("wait_ms", (5.0, 1.0)),
)


def tuned_setup(peer: Peer) -> Setup:
    """The best setup that the last sweep found. Raises KeyError when the peer was never swept."""
    return Setup(**json.loads(KEPT.read_text(encoding="utf-8"))["peers"][peer.name]["best"])


async def sweep(
    peer: Peer, core: int, images: Sequence[bytes], exact: Sequence[float], precision: str
) -> dict[str, Any]:
    """What was tried for one peer, and the best of it."""
    tried: dict[Setup, Capacity | str] = {}

    async def cost(setup: Setup) -> float:
        if setup not in tried:
            tried[setup] = await _try(peer, setup, core, images, exact, precision)
            print(f"{peer.name:16} {setup} {tried[setup]}", flush=True)
        result = tried[setup]
        return result.cpu_s_per_1000 if isinstance(result, Capacity) else float("inf")

    best = _START
    for name, values in _CHOICES:
        if name == "fast_transport" and not peer.fast_transport:
            continue
        candidates = [replace(best, **{name: value}) for value in values]
        costs = [await cost(candidate) for candidate in candidates]
        best = candidates[costs.index(min(costs))]
    listed = [
        {**asdict(setup), **(asdict(result) if isinstance(result, Capacity) else {"failed": result})}
        for setup, result in tried.items()
    ]
    return {"best": asdict(best), "tried": listed}


async def _try(
    peer: Peer, setup: Setup, core: int, images: Sequence[bytes], exact: Sequence[float], precision: str
) -> Capacity | str:
    def check(which: int, score: float) -> bool:
        return is_same_score(score, exact[which], setup.decode)

    try:
        async with peer_server(peer, setup, core, images, precision) as server:
            return await capacity(server, len(images), check, warm_s=WARM_S, seconds=SECONDS)
    except (CannotStart, WrongScore, OSError, EOFError) as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]


async def _main(names: Sequence[str]) -> None:
    end_on_sigterm()
    generator, server_core = cores()
    os.sched_setaffinity(0, {generator})
    images = pictures()
    async with floodgate_server("exact", server_core, images) as server:
        exact = await check_alone(server.wire, len(images))
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {"peers": {}}
    for peer in PEERS:
        if not names or peer.name in names:
            kept["peers"][peer.name] = await sweep(peer, server_core, images, exact, precision())
            kept |= {"machine": machine(), "commit": commit()}
            KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    uvloop.run(_main(sys.argv[1:]))
