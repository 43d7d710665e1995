"""``python -m floodgate.acceptor LOOP CONTROL LINK ARENA``: takes requests for the server that started it. LOOP is
uvloop or asyncio, the others are descriptors: of two connected sockets and of this process's arena. It ends when told
to, or when that server does.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from contextlib import AsyncExitStack
from dataclasses import asdict

import uvloop

from floodgate.acceptor.control import Control, Handover, unpacked
from floodgate.acceptor.counts import snapshot
from floodgate.acceptor.front import build_front, settle
from floodgate.decision import DecisionLog
from floodgate.errors import FloodgateError
from floodgate.link import LinkedCore
from floodgate.wire.metrics import Metrics
from floodgate.wire.server import DoorServer

log = logging.getLogger(__name__)

_HEALTH_EVERY_S = 0.05
_ORPHAN_S = 1.0
"""How long an acceptor without its server waits for what it has answered to be fetched."""


def main() -> int:
    """Runs until it is told to end; the exit status."""
    # What a terminal sends to all of its foreground is for the server to act on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    control, link, arena = (int(argument) for argument in sys.argv[2:5])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if sys.argv[1] == "uvloop" else None) as runner:
        return runner.run(_run(control, link, arena))


async def _run(control_fd: int, link_fd: int, arena_fd: int) -> int:
    control = await Control.over(socket.socket(fileno=control_fd))
    first = await control.receive()
    if first is None:
        return 0  # the server is gone already
    handover: Handover = unpacked(first["handover"])
    try:
        await _serve(handover, control, link_fd, arena_fd)
    except FloodgateError as error:
        print(f"error: an acceptor cannot start: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(handover: Handover, control: Control, link_fd: int, arena_fd: int) -> None:
    config = handover.config
    lost = asyncio.Event()
    async with AsyncExitStack() as stack:
        records = DecisionLog(config.decision_log, report=log.warning)
        stack.callback(records.close)
        metrics = Metrics()
        core = LinkedCore(
            handover.core,
            handover.ensembles,
            socket=link_fd,
            arena=(arena_fd, handover.arena_bytes),
            on_lost=lost.set,
        )
        stack.push_async_callback(core.close)
        front = build_front(
            config,
            core=core,
            backend=core,
            policies=handover.policies,
            ensembles=handover.ensembles,
            preprocessing_digest=handover.preprocessing_digest,
            records=records,
            metrics=metrics,
        )
        metrics.watch_door(front.in_flight)
        await core.greeted()
        await front.door.start()
        await front.door.set_serving(core.ready())
        health = asyncio.create_task(_publish_health(front.door, core))
        stack.callback(health.cancel)
        settle(first=config.go_first)
        terminated = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminated.set)
        control.send(serving=True)

        async def obey() -> None:
            """Until it is told to drain, or nobody is left to tell it."""
            while (message := await control.receive()) is not None and "drain" not in message:
                if "policies" in message:
                    handover.policies.replace(unpacked(message["policies"]))
                elif "reopen" in message:
                    records.reopen()
                elif "counts" in message:
                    control.send(counts=snapshot(metrics.registry, asdict(records.stats()), core.stats()))
            if message is None:
                lost.set()

        waits = [asyncio.ensure_future(wait) for wait in (obey(), lost.wait(), terminated.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        health.cancel()
        await front.door.drain(_ORPHAN_S if lost.is_set() else config.drain_s)
        records.close()
        control.send(counts=snapshot(metrics.registry, asdict(records.stats()), core.stats()))
    await control.close()


async def _publish_health(door: DoorServer, core: LinkedCore) -> None:
    while True:
        await door.set_serving(core.ready())
        await asyncio.sleep(_HEALTH_EVERY_S)


if __name__ == "__main__":
    sys.exit(main())
