"""A Triton that is not ours: somebody else starts it, ends it and starts it again."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pressure import PHOTOS, SERVES_WITHIN_S, TEXTS, Load, eventually, recovers, scores_of, serves

from bench.inspection import is_at_rest, metrics, total
from bench.report import ROOT
from bench.server import serving
from floodgate import AsyncClient
from floodgate.triton.ensemble import assemble, build_ensembles
from floodgate.triton.install import locate
from floodgate.triton.process import ServerOptions, TritonProcess, spawn
from floodgate.triton.repository import load_heads

pytestmark = pytest.mark.triton


class Remote:
    """A tritonserver over the project's heads, without Floodgate's ensembles, at one port for life."""

    def __init__(self, folder: Path) -> None:
        install = locate(ROOT / "var")
        assert install is not None, "Triton is not installed; `make test` does it"
        self._install = install
        self._folder = folder
        self._process: TritonProcess | None = None
        self.address = ""

    async def start(self, *heads: str) -> None:
        """Raises what ``spawn`` raises. The first start picks the port."""
        options = ServerOptions(self._folder, threads=1)
        assemble(options.repository, ROOT / "model_repository", build_ensembles(load_heads(_heads(), heads)))
        for ensemble in options.repository.glob("*@*"):
            shutil.rmtree(ensemble)
        port = (f"--grpc-port={self.address.rpartition(':')[2]}",) if self.address else ()
        self._process = await spawn(self._install, ServerOptions(self._folder, threads=1, extra_arguments=port))
        self.address = self.address or self._process.address

    async def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
            self._process = None


def _heads() -> Path:
    return ROOT / "model_repository"


@pytest.fixture
async def remote(tmp_path: Path) -> AsyncIterator[Remote]:
    made = Remote(tmp_path / "remote")
    yield made
    await made.kill()


@pytest.mark.parametrize("memory", ["shm", "inline"])
async def test_remote_triton_serves_and_is_found_again_after_its_death(remote: Remote, memory: str) -> None:
    await remote.start("nsfw", "toxicity")
    settings = {"FLOODGATE_TRITON__ADDRESS": remote.address, "FLOODGATE_TRITON__MEMORY": memory}
    # Starting is blocking; the fixture's process is watched by this loop.
    starting = serving(settings)
    server = await asyncio.to_thread(starting.__enter__)
    try:
        async with AsyncClient(server.target) as client:
            load = Load(client)
            await load.learn()
            before = await client.moderate(image=PHOTOS[0], text=TEXTS[0], trace=True, timeout=60.0)
            async with load.running(clients=4, deadlines_s=(0.5, 2.0)) as tally:
                await eventually(lambda: tally.decisions > 10, "load")
                killed_at = time.monotonic()
                await remote.kill()
                await eventually(lambda: sum(tally.errors.values()) > 0, "calls that notice")
                await remote.start("nsfw", "toxicity")
                await recovers(client, patience_s=40.0)
                recovered_at = time.monotonic()
                decided = tally.decisions
                await eventually(lambda: tally.decisions > decided + 20, "decisions as before")
            assert not tally.wrong
            assert tally.answered == tally.sent
            assert set(tally.errors) <= {"Unavailable", "DeadlineExceeded", "Overloaded"}
            # Four callers with so much time are too many only for a server that has lost its Triton.
            assert not tally.overloaded(except_between=(killed_at, recovered_at), had_s=SERVES_WITHIN_S)
            after = await client.moderate(image=PHOTOS[0], text=TEXTS[0], trace=True, timeout=60.0)
            assert scores_of(after) == scores_of(before)
            assert await serves(client)
            await eventually(lambda: is_at_rest(server), "buffers and arena as at the start")
            assert total(metrics(server), "floodgate_triton_restarts_total") == 1
            assert (total(metrics(server), "floodgate_triton_inline_bytes_total") > 0) == (memory == "inline")
    finally:
        await asyncio.to_thread(starting.__exit__, None, None, None)


async def test_remote_without_the_heads_is_refused_by_name(remote: Remote) -> None:
    await remote.start("toxicity")
    environment = {
        **os.environ,
        "FLOODGATE_ADDRESS": "127.0.0.1:0",
        "FLOODGATE_METRICS_ADDRESS": "",
        "FLOODGATE_DECISION_LOG": os.devnull,
        "FLOODGATE_TRITON__ADDRESS": remote.address,
    }
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("floodgate")),
        "serve",
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    said, complained = await asyncio.wait_for(process.communicate(), 60.0)
    assert process.returncode == 1
    assert b"serving" not in said
    assert b"nsfw" in complained
    assert b"Traceback" not in complained
