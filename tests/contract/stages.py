"""A stage is a backend with two small heads, *first* and *second*, and the levers that break it. One stage is
the fake, the other is the real Triton; every test of the contract runs on both."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

from fake_backend import FakeBackend
from region import Region, TestBatch, make_batch
from small_heads import SmallHead, rows

from floodgate.triton.backend import TritonBackend
from floodgate.triton.backends import embedded
from floodgate.triton.ensemble import build_ensembles
from floodgate.triton.install import TritonInstall
from floodgate.triton.process import ServerOptions
from floodgate.triton.repository import load_heads
from floodgate.types import Backend

PATIENCE_S = 60.0


async def eventually(condition: Callable[[], bool]) -> None:
    """Until ``condition`` holds; fails the test when it never does."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 (what is waited for lies in another process)
            await asyncio.sleep(0.005)


class Stage:
    backend: Backend

    def __init__(self, folder: Path) -> None:
        self.repository = folder / "repository"
        self.heads = {name: SmallHead(self.repository, name) for name in ("first", "second")}
        (self.ensemble,) = build_ensembles(load_heads(self.repository, ["first", "second"]))
        self.regions: list[Region] = []

    async def open(self) -> None:
        await self.backend.load(1, [self.ensemble])

    def batch(self, *values: int, region: Region | None = None) -> TestBatch:
        if region is None:
            region = Region(64 * 1024)
            self.regions.append(region)
        return make_batch(self.ensemble.name, region, {self.ensemble.tensors[0].name: rows(*values)}, offset=4096)

    def break_head(self, name: str, fault: str) -> None:
        self.heads[name].fault = fault

    async def hold(self) -> None: ...
    async def held(self) -> None: ...
    def release(self) -> None: ...
    def kill(self) -> None: ...
    async def freeze(self) -> None: ...
    def thaw(self) -> None: ...
    async def back(self) -> None: ...

    async def close(self) -> None:
        self.release()
        await self.backend.close()
        for region in self.regions:
            region.close()


class FakeStage(Stage):
    backend: FakeBackend

    async def open(self) -> None:
        self.backend = FakeBackend()
        await super().open()

    def break_head(self, name: str, fault: str) -> None:
        self.backend.faults[name] = fault

    async def hold(self) -> None:
        self.backend.hold()

    async def held(self) -> None:
        await eventually(lambda: self.backend.in_flight > 0)

    def release(self) -> None:
        self.backend.release()

    freeze = hold
    thaw = release

    def kill(self) -> None:
        self.backend.die()

    async def back(self) -> None:
        self.backend.come_back()
        self.backend.release()


class TritonStage(Stage):
    backend: TritonBackend

    def __init__(self, folder: Path, install: TritonInstall, memory: str) -> None:
        super().__init__(folder)
        options = ServerOptions(run_dir=folder / "run", threads=1, stop_timeout_s=2.0)
        self.backend = embedded(install, options, self.repository, memory=memory)

    @property
    def pid(self) -> int:
        return self.backend.status.pid

    async def hold(self) -> None:
        self.break_head("first", "wait")

    async def held(self) -> None:
        await eventually(self.heads["first"].held.exists)

    def release(self) -> None:
        if self.heads["first"].fault == "wait":
            self.break_head("first", "ok")

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    async def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)
        await eventually(self._every_thread_is_stopped)

    def _every_thread_is_stopped(self) -> bool:
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return all((task / "stat").read_text().rpartition(")")[2].split()[0] == "T" for task in tasks)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def back(self) -> None:
        self.release()
        await eventually(lambda: self.backend.ready())
