"""The acceptor processes of a server: started, told what to do, started again when they end, and drained."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field, replace

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from floodgate.acceptor.control import Control, Handover, packed
from floodgate.acceptor.counts import Counts
from floodgate.core import Core
from floodgate.errors import ConfigError, FloodgateError, StartupError
from floodgate.pipeline import Policies
from floodgate.wire.admission import InFlight
from floodgate.wire.metrics import Metrics

log = logging.getLogger(__name__)

_START_S = 60.0
_ASK_EVERY_S = 1.0
_ANSWER_S = 1.0
_SILENT_S = 30.0
"""An acceptor that answers nothing for so long is killed and started again."""
_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
_LIVED_S = 10.0
_LOOK_EVERY_S = 0.02
_LAST_CALLS_S = 10.0
"""What an acceptor may take beyond the time that requests have, until it is killed."""


@dataclass(slots=True)
class _Acceptor:
    """One of the processes, or the place for one."""

    number: int
    process: subprocess.Popen[bytes] | None = None
    control: Control | None = None
    serving: asyncio.Event = field(default_factory=asyncio.Event)
    counted: asyncio.Event = field(default_factory=asyncio.Event)
    heard_at: float = 0.0
    restarts: int = 0


class Fleet:
    """As many acceptors as ``handover.config`` wants, which all listen on one port. Belongs to one event loop."""

    def __init__(self, core: Core, handover: Handover) -> None:
        """Raises ConfigError when the address cannot be had."""
        self._core = core
        self._reserved, address = reserve_port(handover.config.address)
        self.port = int(address.rpartition(":")[2])
        self._handover = replace(handover, config=handover.config.model_copy(update={"address": address}))
        self._acceptors = [_Acceptor(number) for number in range(handover.config.acceptors)]
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._loop = asyncio.get_running_loop()
        self.counts = Counts(_like_an_acceptors())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Starts them, and drains them when the block ends. Raises StartupError when one cannot serve."""
        with closing(self._reserved):
            try:
                self._tasks = [asyncio.create_task(self._keep(acceptor)) for acceptor in self._acceptors]
                await self._all_serving()
                self._tasks.append(asyncio.create_task(self._ask_regularly()))
                yield
            finally:
                await self._drain()

    async def _all_serving(self) -> None:
        serving = asyncio.create_task(self._each_serving())
        try:
            await asyncio.wait({serving, *self._tasks}, timeout=_START_S, return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                raise StartupError("the acceptors do not serve; what they said is above")
        finally:
            serving.cancel()

    async def _each_serving(self) -> None:
        for acceptor in self._acceptors:
            await acceptor.serving.wait()

    async def _keep(self, acceptor: _Acceptor) -> None:
        """Has the acceptor run until all are to end. One that never served is not tried again."""
        pause_s = _PAUSE_S
        while not self._stopping:
            began = self._loop.time()
            try:
                reason = f"exit status {await self._live(acceptor)}"
            except (FloodgateError, OSError) as error:
                reason = str(error)
            except Exception as error:
                # Whatever it was: a keeper that ended would leave the place of its acceptor empty for good.
                reason = f"it cannot be kept: {error!r}"
                log.exception("acceptor %d cannot be kept", acceptor.number)
            self.counts.end(acceptor.number)
            if self._stopping or not acceptor.serving.is_set():
                return
            reason = self._core.acceptors.states()[acceptor.number]["reason"] or reason
            log.error("acceptor %d ended and is started again: %s", acceptor.number, reason)
            acceptor.restarts += 1
            await self._unread(acceptor.number)
            pause_s = _PAUSE_S if self._loop.time() - began > _LIVED_S else min(2 * pause_s, _LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)

    async def _unread(self, number: int) -> None:
        """Until nobody reads any more what the last process left in its arena."""
        while self._core.acceptors.states()[number]["held"]:  # noqa: ASYNC110 (nobody tells of a counter in C++)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _live(self, acceptor: _Acceptor) -> int:
        """One process's life; its exit status."""
        process, link, control_end = self._spawn(acceptor.number)
        acceptor.process = process
        try:
            acceptor.control = control = await Control.over(control_end)
            self._core.acceptors.attach(acceptor.number, link.detach())
            control.send(handover=packed(self._handover))
            if self._stopping:
                control.send(drain=True)
            acceptor.heard_at = self._loop.time()
            listening = asyncio.create_task(self._listen(acceptor, control))
            ending = asyncio.create_task(_end_of(process))
            try:
                await asyncio.wait({listening, ending}, return_when=asyncio.FIRST_COMPLETED)
                if listening.done():
                    listening.result()  # raises what nobody foresaw; nothing it says would be heard any more
                status = await ending
                with suppress(TimeoutError):
                    await asyncio.wait_for(listening, _ANSWER_S)  # its last words
            finally:
                listening.cancel()
                ending.cancel()
                self._core.acceptors.detach(acceptor.number)
                await control.close()
        finally:
            acceptor.process = acceptor.control = None
            if process.poll() is None:
                process.kill()
                process.wait()
        return status

    def _spawn(self, number: int) -> tuple[subprocess.Popen[bytes], socket.socket, socket.socket]:
        """A new process, and the ends here of its link and its control connection."""
        control, their_control = socket.socketpair()
        link, their_link = socket.socketpair()
        arena_fd, _ = self._core.acceptor_arena(number)
        with closing(their_control), closing(their_link):
            descriptors = (their_control.fileno(), their_link.fileno(), arena_fd)
            loop = "uvloop" if self._handover.config.uvloop else "asyncio"
            # -P: nothing is imported from the folder that the server happens to run in.
            command = [sys.executable, "-P", "-m", "floodgate.acceptor", loop, *map(str, descriptors)]
            # Popen's vfork runs no fork handlers; the event loop's own fork would run gRPC's.
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=descriptors), link, control

    async def _listen(self, acceptor: _Acceptor, control: Control) -> None:
        while (message := await control.receive()) is not None:
            acceptor.heard_at = self._loop.time()
            if "serving" in message:
                acceptor.serving.set()
            elif "counts" in message:
                try:
                    self.counts.take(acceptor.number, message["counts"])
                except ValueError as error:
                    log.error("acceptor %d counts what cannot be read: %s", acceptor.number, error)
                acceptor.counted.set()

    async def _ask_regularly(self) -> None:
        while True:
            await asyncio.sleep(_ASK_EVERY_S)
            await self.refresh()
            for acceptor in self._acceptors:
                if acceptor.process is not None and self._loop.time() - acceptor.heard_at > _SILENT_S:
                    log.error("acceptor %d has been silent for %.0f s and is killed", acceptor.number, _SILENT_S)
                    acceptor.process.kill()

    async def refresh(self) -> None:
        """Has every acceptor say what it counts; ``counts`` knows it then, but for those that take too long."""
        asked = [acceptor for acceptor in self._acceptors if acceptor.process is not None and acceptor.control]
        for acceptor in asked:
            acceptor.counted.clear()
            if acceptor.control is not None:
                acceptor.control.send(counts=True)
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(acceptor.counted.wait() for acceptor in asked)), _ANSWER_S)

    def replace_policies(self, policies: Policies) -> None:
        """Every acceptor, those to come too, judges by ``policies`` from now on."""
        self._handover.policies.replace(policies)
        self._tell(policies=packed(self._handover.policies))

    def reopen_log(self) -> None:
        """Every acceptor lets go of the decision log's file and opens its path anew."""
        self._tell(reopen=True)

    def _tell(self, **message: object) -> None:
        for acceptor in self._acceptors:
            if acceptor.control is not None:
                acceptor.control.send(**message)

    async def _drain(self) -> None:
        """Every acceptor answers what it has accepted, refuses the rest, and ends."""
        self._stopping = True
        self._tell(drain=True)
        keeping = self._tasks[: len(self._acceptors)]
        for task in self._tasks[len(self._acceptors) :]:
            task.cancel()
        if keeping:
            await asyncio.wait(keeping, timeout=self._handover.config.drain_s + _LAST_CALLS_S)
        for acceptor in self._acceptors:
            if acceptor.process is not None:
                log.error("acceptor %d does not end and is killed", acceptor.number)
                acceptor.process.kill()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def families(self) -> Iterable[Metric]:
        """What is known of the acceptors themselves."""
        up = GaugeMetricFamily("floodgate_acceptor_up", "1 while an acceptor is connected", labels=["acceptor"])
        taken = CounterMetricFamily("floodgate_acceptor_parts", "Parts taken from an acceptor", labels=["acceptor"])
        restarts = CounterMetricFamily("floodgate_acceptor_restarts", "Restarts of an acceptor", labels=["acceptor"])
        for acceptor, state in zip(self._acceptors, self._core.acceptors.states(), strict=True):
            name = [str(acceptor.number)]
            up.add_metric(name, float(state["connected"]))
            taken.add_metric(name, state["submitted"])
            restarts.add_metric(name, acceptor.restarts)
        return up, taken, restarts

    def registry(self, own: CollectorRegistry) -> CollectorRegistry:
        """The metrics of ``own`` and of all acceptors, added up, for a thread to collect."""
        registry = CollectorRegistry()
        registry.register(_AddedUp(self, own, self._loop))
        return registry


def _like_an_acceptors() -> CollectorRegistry:
    """A registry with all that an acceptor counts."""
    metrics = Metrics()
    metrics.watch_door(InFlight(0, 0))
    return metrics.registry


class _AddedUp(Collector):
    def __init__(self, fleet: Fleet, own: CollectorRegistry, loop: asyncio.AbstractEventLoop) -> None:
        self._fleet = fleet
        self._own = own
        self._loop = loop

    def describe(self) -> Iterable[Metric]:
        return ()  # nothing is asked for while it is registered

    def collect(self) -> Iterable[Metric]:
        refreshing = asyncio.run_coroutine_threadsafe(self._fleet.refresh(), self._loop)
        with suppress(TimeoutError):
            refreshing.result(2 * _ANSWER_S)
        yield from self._fleet.counts.families(self._own)
        yield from self._fleet.families()


async def _end_of(process: subprocess.Popen[bytes]) -> int:
    """Waits for a child; its exit status, negative for a signal."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    death = os.pidfd_open(process.pid)
    loop.add_reader(death, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(death)
        os.close(death)
    return process.wait()


def reserve_port(address: str) -> tuple[socket.socket, str]:
    """A socket that holds HOST:PORT for processes that listen there together, and the address with the port that port 0
    came to. Raises ConfigError when somebody else listens there, or nobody can."""
    host, _, port = address.rpartition(":")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as alone:
            # Fails while anybody listens, which sharing the port would not.
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(where)
            port = str(alone.getsockname()[1])
            where = (where[0], int(port), *where[2:])
        shared = socket.socket(family, kind, protocol)
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        shared.bind(where)
    except socket.gaierror as error:
        raise ConfigError(f"cannot listen on {address}: no address has that name ({error.strerror})") from None
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "is another server running there?" if taken else error.strerror
        raise ConfigError(f"cannot listen on {address}: {why}") from None
    return shared, f"{host}:{port}"
