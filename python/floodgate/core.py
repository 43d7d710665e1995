"""The compiled core on the event loop. The only module that imports ``_core``.

``Core`` submits parts, hands ready batches to a backend and resolves one future a part. Nothing here waits in C++: the
core signals one eventfd, which the loop watches. Buffers follow the backend's word: ``infer`` returning or raising
means that nobody reads the batch's memory any more; a batch still unanswered after its last row's deadline is
quarantined until then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from floodgate import _core
from floodgate.types import (
    Backend,
    EnsembleSpec,
    Lane,
    Part,
    output_name,
)

log = logging.getLogger(__name__)

# How long after a batch's last deadline its buffer counts as lost to an unanswered call.
_QUARANTINE_AFTER_S = 0.25


@dataclass(frozen=True, slots=True)
class CoreOptions:
    """Sizes and limits; see ``config.CoreSettings`` and ``config.Limits`` for units and meaning."""

    decode_workers: int
    arena_bytes: int
    queue_rows: int
    buffers: int
    credit: int
    quarantine: int
    max_batch: int
    image_bytes: int
    pixels: int
    side_px: int
    text_bytes: int


@dataclass(frozen=True, slots=True)
class RowAnswer:
    """What the heads said about one row. ``outputs`` maps ``<head>__<output>`` to its float32 values;
    ``missing`` maps heads without any to the reason."""

    time_ms: int
    span: tuple[int, int] | None
    outputs: Mapping[str, tuple[float, ...]]
    missing: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PartAnswer:
    """The core's answer for one part. ``width`` and ``height`` are those of the upright picture, px; 0 for text.
    ``missing_reason`` stands for every head that a row does not mention."""

    media_format: str
    width: int
    height: int
    rows: tuple[RowAnswer, ...]
    missing_reason: str
    queue_us: int
    decode_us: int
    infer_us: int
    frames_sampled: int
    frames_dropped: int


class Ticket:
    """One part under way. Await ``answer``: a PartAnswer, or ContentError, Unavailable, InternalError."""

    __slots__ = ("_core", "_id", "answer")

    def __init__(self, core: Core, ticket_id: int, answer: asyncio.Future[PartAnswer]) -> None:
        self._core = core
        self._id = ticket_id
        self.answer = answer

    def cancel(self) -> None:
        """Withdraws the part if it is not answered yet; work not begun is never run."""
        self._core.withdraw(self._id)


class Core:
    """The scheduler and whoever answers its batches. Belongs to one event loop."""

    def __init__(self, options: CoreOptions, backend: Backend) -> None:
        """Raises ConfigError-like InvalidRequest for options that cannot be, Unavailable when memory cannot be had."""
        self._options = options
        self._backend = backend
        self._scheduler = _core.Scheduler(
            decode_workers=options.decode_workers,
            arena_bytes=options.arena_bytes,
            max_queue_rows=options.queue_rows,
            quarantine_cap=options.quarantine,
            media_limits=_core.MediaLimits(options.image_bytes, options.pixels, options.side_px),
            max_text_bytes=options.text_bytes,
        )
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._scheduler.fd, self._on_ready)
        self._tickets: dict[int, asyncio.Future[PartAnswer]] = {}
        self._next_ticket = 1
        self._generation = 0
        self._outputs: dict[str, tuple[str, ...]] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def configure(self, ensembles: Sequence[EnsembleSpec]) -> None:
        """Serves ``ensembles`` from now on; parts under way finish on the old ones."""
        generation = self._generation + 1
        await self._backend.load(generation, ensembles)
        self._scheduler.configure(generation, [self._ensemble_config(spec) for spec in ensembles])
        self._generation = generation

    def _ensemble_config(self, spec: EnsembleSpec) -> _core.EnsembleConfig:
        return _core.EnsembleConfig(
            name=spec.name,
            modality=spec.modality.value,
            tensors=[(tensor.name, _view(tensor.view)) for tensor in spec.tensors],
            outputs=[
                (output_name(head.name, output.name), head.name, output.elements)
                for head in spec.heads
                for output in head.outputs
            ],
            heads=[head.name for head in spec.heads],
            max_batch=min(spec.max_batch, self._options.max_batch),
            buffers=self._options.buffers,
            credit=self._options.credit,
        )

    def submit(self, part: Part, ensembles: Sequence[EnsembleSpec], lane: Lane, deadline_ns: int) -> Ticket:
        """Probes the part, copies it once and queues it.

        Raises ContentError (the part cannot be read), Overloaded, Unavailable, DeadlineExceeded.
        """
        ticket_id = self._next_ticket
        self._next_ticket += 1
        self._scheduler.submit(
            ticket_id,
            [ensemble.name for ensemble in ensembles],
            part.data,
            part.modality.value,
            lane=int(lane),
            deadline_ns=deadline_ns,
        )
        answer: asyncio.Future[PartAnswer] = self._loop.create_future()
        self._tickets[ticket_id] = answer
        return Ticket(self, ticket_id, answer)

    def withdraw(self, ticket_id: int) -> None:
        """Cancels a ticket that is not answered yet; its future is cancelled too."""
        answer = self._tickets.pop(ticket_id, None)
        if answer is not None:
            self._scheduler.cancel(ticket_id)
            answer.cancel()
