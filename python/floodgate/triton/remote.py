"""Watching a Triton that is not ours. A broken channel proves nothing: its process may still read our memory.

Proof of death is a server that answers and no longer knows the region we registered with it; until then calls
stay pending and their buffers quarantined.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace
from typing import Protocol

from floodgate.errors import FloodgateError, Unavailable
from floodgate.triton.breaker import backoff_s
from floodgate.triton.supervisor import Client, ServerState, ServerStatus

_log = logging.getLogger("floodgate.triton")
_INTERVAL_S = 1.0
_CONNECT_ATTEMPTS = 5
_PREPARE_TIMEOUT_S = 120.0


class RemoteClient(Client, Protocol):
    """What the watch needs beyond a supervisor's client."""

    async def same_process(self) -> bool:
        """False only when the server that answers is certainly another process."""


class RemoteWatch:
    """Thread rule: one event loop. ``interval_s`` is the time between two looks."""

    def __init__(self, address: str, client: Client, interval_s: float = _INTERVAL_S) -> None:
        self._address = address
        self._client: RemoteClient = client  # type: ignore[assignment]
        self._interval_s = interval_s
        self._task: asyncio.Task[None] | None = None
        self.status = ServerStatus(ServerState.STOPPED, address=address)

    async def start(self) -> None:
        """Raises Unavailable when nothing answers, or what ``prepare`` raised."""
        self.status = replace(self.status, state=ServerState.STARTING)
        for attempt in range(1, _CONNECT_ATTEMPTS + 1):
            if await self._client.probe(self._address):
                break
            await asyncio.sleep(backoff_s(attempt, 0.1, 1.0))
        else:
            raise Unavailable(f"no Triton answers at {self._address}")
        await self._prepare(1)
        self.status = replace(self.status, state=ServerState.READY, epoch=1)
        self._task = asyncio.create_task(self._run(), name="triton-remote-watch")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self.status = replace(self.status, state=ServerState.STOPPED)

    async def _run(self) -> None:
        attempt = 0
        while True:
            pause_s = backoff_s(attempt, self._interval_s, 30.0) if attempt else self._interval_s
            await asyncio.sleep(pause_s)
            if not await self._client.probe(self._address):
                self.status = replace(self.status, reason=f"Triton at {self._address} does not answer")
                continue
            if self.status.state is ServerState.READY:
                if await self._client.same_process():
                    self.status = replace(self.status, reason="")
                    continue
                reason = f"Triton at {self._address} was restarted"
                self._client.lost(self.status.epoch, reason)
                self.status = replace(self.status, state=ServerState.RESTARTING, reason=reason)
            attempt = await self._prepare_again(attempt)

    async def _prepare(self, epoch: int) -> None:
        try:
            async with asyncio.timeout(_PREPARE_TIMEOUT_S):
                await self._client.prepare(epoch, self._address)
        except TimeoutError:
            raise Unavailable(
                f"Triton at {self._address} did not load the models within {_PREPARE_TIMEOUT_S:g} s"
            ) from None

    async def _prepare_again(self, attempt: int) -> int:
        epoch = self.status.epoch + 1
        self.status = replace(self.status, epoch=epoch, restarts=self.status.restarts + 1, attempt=attempt + 1)
        try:
            await self._prepare(epoch)
        except Exception as error:
            # Whatever it was: the watch must live on and try again.
            if not isinstance(error, FloodgateError):
                _log.exception("preparing Triton at %s failed", self._address)
            self._client.lost(epoch, str(error))
            self.status = replace(self.status, reason=str(error) or type(error).__name__)
            return attempt + 1
        self.status = replace(self.status, state=ServerState.READY, reason="", attempt=0)
        return 0
