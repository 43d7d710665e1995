"""What befalls the Triton of a running server: killed, stopped for a while or for good; and its model processes too."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

from bench.inspection import stubs_of, triton_of
from bench.processes import freeze, thaw
from bench.server import Server

FAULTS = {"stop": 5, "kill": 2, "kill a head": 2, "stop a head": 2, "hang": 1}
"""How often which. *hang*: Triton is stopped until its supervisor kills it."""
BETWEEN = (50, 150)
"""Decisions from one fault to the next: a slow machine sees as many faults as a fast one."""
_STOPPED_S, _HEAD_STOPPED_S = (0.05, 1.5), (0.5, 4.0)


async def faults(
    server: Server, heads: Sequence[str], decisions: Callable[[], int], source: random.Random
) -> AsyncIterator[str]:
    """One fault after another, without end; yields its name when it is over. ``decisions``: made so far. Nothing is
    left stopped when this is closed or cancelled."""
    while True:
        goal = decisions() + source.randint(*BETWEEN)
        await until(partial(_reached, decisions, goal))
        (fault,) = source.choices(list(FAULTS), list(FAULTS.values()))
        with contextlib.suppress(ValueError, OSError, TimeoutError):  # what it is meant for is being replaced just now
            await _commit(fault, server, source.choice(heads), source)
            yield fault


async def _commit(fault: str, server: Server, head: str, source: random.Random) -> None:
    victims = stubs_of(server.pid, head) if fault.endswith("a head") else [triton_of(server)]
    if fault.startswith("kill"):
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        return
    try:
        for pid in victims:
            freeze(pid)
        if fault == "hang":
            await until(partial(_is_gone, victims[0]))
        else:
            await asyncio.sleep(source.uniform(*(_STOPPED_S if fault == "stop" else _HEAD_STOPPED_S)))
    finally:
        for pid in victims:
            with contextlib.suppress(OSError):  # it was killed meanwhile
                thaw(pid)


def _reached(count: Callable[[], int], goal: int) -> bool:
    return count() >= goal


def _is_gone(pid: int) -> bool:
    return not os.path.exists(f"/proc/{pid}")


async def until(condition: Callable[[], bool]) -> None:
    """Polls; has no patience of its own."""
    while not condition():  # noqa: ASYNC110 (what is waited for lies in another process)
        await asyncio.sleep(0.02)
