"""The core of another process, as an acceptor sees it: the same parts, the same answers, over the compiled link.

What the scheduler over there refuses is an answer here: the heads of a part that came too late, or that nobody serves
just now, are missing; other refusals are raised by whoever awaits the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import floodgate._core as _core
from floodgate.core import CoreOptions, ensemble_config
from floodgate.tickets import Ticket, Tickets
from floodgate.types import EnsembleSpec, Lane, Part, SamplingPlan


class LinkedCore:
    """Submits parts to the scheduler of another process. Belongs to one event loop.

    ``on_lost`` is called, once, when that process is gone; by then every part under way was answered Unavailable.
    """

    def __init__(
        self,
        options: CoreOptions,
        ensembles: Sequence[EnsembleSpec],
        *,
        socket: int,
        arena: tuple[int, int],
        on_lost: Callable[[], None],
    ) -> None:
        """``ensembles`` is what the scheduler serves, in its order; ``socket`` a connected stream socket to it,
        ``arena`` (descriptor, bytes) the memory that it reads. Both descriptors belong to this object from here on.
        """
        self._link = _core.AcceptorLink(
            socket=socket,
            arena_fd=arena[0],
            arena_bytes=arena[1],
            ensembles=[ensemble_config(spec, options) for spec in ensembles],
            media_limits=options.media.limits(),
            max_text_bytes=options.text_bytes,
            live_reserve=options.live_reserve,
        )
        self._bits = {spec.name: 1 << place for place, spec in enumerate(ensembles)}
        self._on_lost = on_lost
        self._tickets = Tickets(self._link)
        self._loop = asyncio.get_running_loop()
        self._greeted = asyncio.Event()
        self._watching = True
        self._loop.add_reader(self._link.fd, self._on_ready)

    def submit(
        self,
        part: Part,
        ensembles: Sequence[EnsembleSpec],
        lane: Lane,
        deadline_ns: int,
        plan: SamplingPlan | None = None,
    ) -> Ticket:
        """As ``Core.submit``, except that what the scheduler refuses is told by the ticket's answer.

        Raises ContentError (the part cannot be read), Overloaded (no room), Unavailable, DeadlineExceeded.
        """
        bits = 0
        for ensemble in ensembles:
            bits |= self._bits[ensemble.name]
        return self._tickets.submit(bits, part, lane, deadline_ns, plan)

    def _on_ready(self) -> None:
        self._tickets.settle(self._link.poll())
        if self._link.greeted or not self._link.connected:
            self._greeted.set()
        if not self._link.connected and self._watching:
            self._stop_watching()
            self._on_lost()

    async def greeted(self) -> None:
        """Until the scheduler's process has said whether the inference server is ready, or is gone."""
        await self._greeted.wait()

    def ready(self) -> bool:
        """Whether the inference server is, as the scheduler's process last said; False once that is gone."""
        return self._link.ready

    def stats(self) -> Mapping[str, Any]:
        """What was refused here, and what is held; see ``floodgate::LinkStats``."""
        return self._link.stats()

    def _stop_watching(self) -> None:
        if self._watching:
            self._watching = False
            self._loop.remove_reader(self._link.fd)

    async def close(self) -> None:
        """Ends the connection; parts under way are cancelled. Nothing may be called afterwards."""
        self._stop_watching()
        self._tickets.close()
        del self._link
