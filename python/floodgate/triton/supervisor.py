"""Keeps one embedded Triton running: start, watch, restart with back-off, stop.

A dead process is known at once. A silent one (stopped, swapping, stuck), and one that answers but leaves a batch or the
loading of a model unanswered, is given ``liveness_timeout_s`` before it is killed: its work may still come back, and
killing it costs every batch under way. Time in which this process stood still itself, as when a virtual machine is
suspended or moved, is not held against the server, which most likely stood still with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import time
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol

from floodgate.errors import FloodgateError, Unavailable
from floodgate.triton.breaker import backoff_s
from floodgate.triton.install import TritonInstall
from floodgate.triton.process import ServerOptions, TritonProcess, log_tail, spawn

_log = logging.getLogger("floodgate.triton")
_RESTART_FIRST_S = 0.25
_RESTART_MAX_S = 30.0
_STABLE_S = 60.0  # a server that ran this long has earned a fresh back-off
PROBE_S = 2.0
_LAPSE_S = 2.0  # no busy event loop is late by so much


class ServerState(Enum):
    STARTING = "STARTING"
    READY = "READY"
    RESTARTING = "RESTARTING"
    STOPPED = "STOPPED"


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """``epoch`` counts processes from 1. ``attempt`` and ``next_in_s`` (from the moment of the change) are
    those of a restart; ``reason`` is why there was one, for a person."""

    state: ServerState
    epoch: int = 0
    pid: int = 0
    address: str = ""
    restarts: int = 0
    reason: str = ""
    attempt: int = 0
    next_in_s: float = 0.0


class Client(Protocol):
    """What the supervisor asks and tells its owner, on the supervisor's loop."""

    async def probe(self, address: str) -> bool:
        """Whether a server at ``address`` answers, known within ``PROBE_S``. Never raises."""

    async def prepare(self, epoch: int, address: str) -> None:
        """A new process answers: make it servable. May raise; the process is then replaced."""

    def unanswered_s(self) -> float:
        """How long the oldest call under way has waited for its answer, s; 0 when there is none."""

    def lost(self, epoch: int, reason: str) -> None:
        """Process ``epoch`` is dead for certain."""


class TritonSupervisor:
    """Thread rule: one event loop. REQUIRES: nobody else uses ``options.run_dir`` (a lock file sees to
    it)."""

    def __init__(self, install: TritonInstall, options: ServerOptions, client: Client) -> None:
        self._install = install
        self._options = options
        self._client = client
        self._process: TritonProcess | None = None
        self._task: asyncio.Task[None] | None = None
        self._lock: int | None = None
        self._stopping = False
        self.status = ServerStatus(ServerState.STOPPED)

    async def start(self) -> None:
        """Returns when the first process is ready. Raises what kept it from that: Unavailable with the
        log's last lines, or what ``prepare`` raised."""
        self._take_lock()
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.status = ServerStatus(ServerState.STARTING)
        self._task = asyncio.create_task(self._run(first), name="triton-supervisor")
        try:
            await first
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Ends the process (in-flight work first) and the watching of it."""
        self._stopping = True
        if self._process is not None:
            await self._process.stop(idle=self._client.unanswered_s() == 0)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        self.status = replace(self.status, state=ServerState.STOPPED, pid=0)

    async def _run(self, first: asyncio.Future[None]) -> None:
        attempt = 0
        while not self._stopping:
            epoch = self.status.epoch + 1
            self.status = replace(self.status, epoch=epoch, next_in_s=0.0)
            began = time.monotonic()
            reason, error = await self._one_life(epoch, first)
            self._client.lost(epoch, reason)
            if self._stopping:
                return
            if not first.done():
                first.set_exception(error or Unavailable(reason))
                return
            attempt = 1 if time.monotonic() - began > _STABLE_S else attempt + 1
            pause_s = backoff_s(attempt, _RESTART_FIRST_S, _RESTART_MAX_S)
            self.status = ServerStatus(
                ServerState.RESTARTING, epoch, 0, "", self.status.restarts + 1, reason, attempt, pause_s
            )
            await asyncio.sleep(pause_s)

    async def _one_life(self, epoch: int, first: asyncio.Future[None]) -> tuple[str, FloodgateError | None]:
        """One process from start to certain death. Returns why it ended and what kept it from being ready."""
        try:
            process = self._process = await spawn(self._install, self._options)
        except OSError as failure:
            reason = f"tritonserver could not be started: {failure}"
            return reason, Unavailable(reason)
        death = asyncio.create_task(process.wait())
        error: FloodgateError | None = None
        cause = ""
        try:
            self.status = replace(self.status, pid=process.pid, address=process.address)
            work = asyncio.create_task(self._prepare_and_watch(process, epoch, first))
            await asyncio.wait({death, work}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                cause, error = work.result()
            work.cancel()
            await asyncio.wait({work})
        finally:
            if not death.done():
                process.kill()
            ending = await asyncio.shield(death)
            self._process = None
        if cause:
            return cause, error
        tail = log_tail(self._options.log)
        return f"tritonserver {ending}" + (f"; its log ends:\n{tail}" if tail else ""), None

    async def _prepare_and_watch(
        self, process: TritonProcess, epoch: int, first: asyncio.Future[None]
    ) -> tuple[str, FloodgateError | None]:
        """Returns only when the process should be replaced: (why, the error if it never became ready)."""
        limit_s = self._options.start_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                while not await self._client.probe(process.address):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                await self._client.prepare(epoch, process.address)
        except TimeoutError:
            tail = log_tail(self._options.log)
            reason = f"tritonserver was not ready within {limit_s:g} s" + (f"; its log ends:\n{tail}" if tail else "")
            return reason, Unavailable(reason)
        except FloodgateError as error:
            return f"the models could not be loaded: {error}", error
        except Exception as error:
            # Whatever it was: the supervisor must live on and try again.
            _log.exception("preparing tritonserver failed")
            reason = f"tritonserver could not be prepared: {error}"
            return reason, Unavailable(reason)
        self.status = replace(self.status, state=ServerState.READY)
        if not first.done():
            first.set_result(None)
        return await self._watch(process.address), None

    async def _watch(self, address: str) -> str:
        """Returns only when the process should be replaced: why."""
        limit_s, interval_s = self._options.liveness_timeout_s, self._options.liveness_interval_s
        awake = heard = time.monotonic()  # since when this process has run without a lapse
        while True:
            turn = time.monotonic()
            await asyncio.sleep(interval_s)
            answers = await self._client.probe(address)
            now = time.monotonic()
            if (lapse_s := now - turn - interval_s - PROBE_S) > _LAPSE_S:
                _log.warning("this process stood still for about %.0f s; tritonserver gets its time anew", lapse_s)
                awake = heard = now
            if not answers:
                if (silence_s := now - heard) >= limit_s:
                    return f"tritonserver was silent for {silence_s:.0f} s and was killed"
                continue
            heard = now
            if (waited_s := min(self._client.unanswered_s(), now - awake)) >= limit_s:
                return f"tritonserver left a batch or a loading unanswered for {waited_s:.0f} s and was killed"

    def _take_lock(self) -> None:
        self._options.run_dir.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._options.run_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise Unavailable(f"{self._options.run_dir} is in use by another Floodgate") from error
        self._lock = lock
