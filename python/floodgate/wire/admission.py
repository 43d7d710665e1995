"""The first gate: counts what is being handled, in items and message bytes, before anything is parsed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from floodgate.errors import Overloaded, Unavailable


class InFlight:
    """Items and bytes now being handled. Lives on the event loop; not thread-safe.

    ``admit`` refuses with Overloaded when either is at its limit, with Unavailable once ``close`` was called.
    """

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self.max_bytes = max_bytes
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._owed = 0
        self._even = asyncio.Event()
        self._even.set()
        self.items = 0
        self.bytes = 0
        self.refused = 0

    @contextmanager
    def admit(self, size_bytes: int) -> Iterator[None]:
        """Counts one item of ``size_bytes`` while the block runs."""
        if self._closed:
            raise Unavailable("the server is draining; send the request elsewhere")
        if self.items >= self._max_items:
            self.refused += 1
            raise Overloaded(f"{self.items} items are being handled, as many as this server takes")
        if self.bytes + size_bytes > self.max_bytes:
            self.refused += 1
            raise Overloaded(f"{self.bytes} bytes are being handled; {size_bytes} more would exceed {self.max_bytes}")
        self.items += 1
        self.bytes += size_bytes
        self._idle.clear()
        try:
            yield
        finally:
            self.items -= 1
            self.bytes -= size_bytes
            if self.items == 0:
                self._idle.set()

    def owe(self) -> None:
        """Counts a call as owed an answer, be it a verdict or a refusal: from here until ``paid``."""
        self._owed += 1
        self._even.clear()

    def paid(self) -> None:
        """The call has ended: its last answer was written to the connection, or its client has left."""
        self._owed -= 1
        if self._owed == 0:
            self._even.set()

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """From now on nothing is admitted."""
        self._closed = True

    async def idle(self) -> None:
        """Returns once nothing is being handled."""
        await self._idle.wait()

    async def even(self) -> None:
        """Returns once no call is owed an answer."""
        await self._even.wait()
