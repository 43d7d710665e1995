"""Lets arrivals in one at a time, so that what is due goes first.

A burst of requests becomes runnable in one turn of the event loop, and reading them all takes that turn a millisecond
each. Answers that fall due meanwhile would wait behind the whole burst, several times over, because an answer takes a
few turns to leave. Here each turn reads one request, and whatever else is ready gets its share in between.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Turnstile:
    """First come, first let in: one a turn of the event loop that it is made on. Thread rule: that loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._free = True

    async def enter(self) -> None:
        """Returns at once when nobody has entered in this turn; else in a turn of its own. May be cancelled."""
        if self._free:
            self._free = False
            self._loop.call_soon(self._turn)
            return
        mine = self._loop.create_future()
        self._waiting.append(mine)
        await mine

    def _turn(self) -> None:
        while self._waiting:
            first = self._waiting.popleft()
            if not first.done():  # its caller may have left
                first.set_result(None)
                self._loop.call_soon(self._turn)
                return
        self._free = True
