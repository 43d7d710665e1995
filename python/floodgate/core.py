"""The compiled core on the event loop. The only module that imports ``_core``.

``Core`` submits parts, hands ready batches to a backend and resolves one future a part. Nothing here waits in C++: the
core signals one eventfd, which the loop watches. Buffers follow the backend's word: ``infer`` returning or raising
means that nobody reads the batch's memory any more; a batch still unanswered after its last row's deadline is
quarantined until then.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import floodgate._core as _core
from floodgate.errors import CORE_ERRORS, BackendLost, FloodgateError, InternalError, InvalidRequest
from floodgate.types import (
    Backend,
    Batch,
    BatchOutcome,
    EnsembleSpec,
    HeadFailure,
    ImageViewSpec,
    Lane,
    Part,
    ViewSpec,
    output_name,
)

log = logging.getLogger(__name__)

# How long after a batch's last deadline its buffer counts as lost to an unanswered call.
_QUARANTINE_AFTER_S = 0.25
_CLOSE_S = 5.0
# Raised whenever the core makes another tensor of the same bytes and view.
_VIEW_ARITHMETIC = 1


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
        if self.answer.done() and not self.answer.cancelled():
            # Whoever withdraws a part that failed meanwhile knows all it wants: nothing is left unretrieved.
            self.answer.exception()


class Core:
    """The scheduler and whoever answers its batches. Belongs to one event loop."""

    def __init__(self, options: CoreOptions, backend: Backend) -> None:
        """Raises InvalidRequest naming the option that cannot be, Unavailable when memory cannot be had."""
        if stale := _core.sweep_stale_buffers():
            log.info("removed %d shared memory regions that a dead server left behind", stale)
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
            modality=part.modality.value,
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

    def _on_ready(self) -> None:
        for batch in self._scheduler.take_batches():
            task = self._loop.create_task(self._run(batch))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        self._hand_out_answers()

    def _hand_out_answers(self) -> None:
        for done in self._scheduler.poll_done():
            answer = self._tickets.pop(done.ticket, None)
            if answer is None or answer.done():
                continue
            try:
                answer.set_result(_part_answer(done))
            except FloodgateError as error:
                answer.set_exception(error)
            except Exception as error:
                # The answers after this one are already out of the core: each must still reach its part.
                log.exception("the answer of ticket %d cannot be read", done.ticket)
                answer.set_exception(InternalError(f"the core's answer cannot be read: {error}"))

    async def _run(self, batch: Batch) -> None:
        """Has one batch inferred and tells the scheduler; the buffer is its own again when this ends."""
        late_s = (batch.deadline_ns - time.monotonic_ns()) / 1e9 + _QUARANTINE_AFTER_S
        unanswered = self._loop.call_later(max(0.0, late_s), self._quarantine, batch.batch_id)
        try:
            outcome = await self._backend.infer(batch)
        except BackendLost as error:
            self._scheduler.fail_batch(batch.batch_id, "UNAVAILABLE", error.message)
        except BaseException as error:
            # Whether the server still reads the memory is not known, so it is not handed out again.
            self._quarantine(batch.batch_id)
            if not isinstance(error, Exception):
                raise
            log.exception("batch %d of %s failed in a way that no backend should", batch.batch_id, batch.ensemble)
        else:
            self._complete(batch, outcome)
        finally:
            unanswered.cancel()

    def _complete(self, batch: Batch, outcome: BatchOutcome) -> None:
        try:
            self._scheduler.complete(batch.batch_id, dict(outcome.outputs), _failures(outcome.failures))
        except Exception:
            log.exception("the answer to batch %d of %s cannot be taken", batch.batch_id, batch.ensemble)
            self._scheduler.fail_batch(batch.batch_id, "INTERNAL", "the inference server's answer cannot be taken")

    def _quarantine(self, batch_id: int) -> None:
        try:
            self._scheduler.quarantine(batch_id)
        except InvalidRequest:
            log.debug("batch %d was answered or quarantined before", batch_id)

    def stats(self) -> Mapping[str, Any]:
        """Counters and gauges of the scheduler; see ``floodgate::Stats``."""
        return self._scheduler.stats()

    async def close(self) -> None:
        """Refuses new parts, ends those under way, and gives back threads and memory. Nothing may be called afterwards.
        Batches under way end first: close the backend before."""
        self._scheduler.drain()
        self._on_ready()
        if self._running:
            await asyncio.wait(self._running, timeout=_CLOSE_S)
        self._loop.remove_reader(self._scheduler.fd)
        for task in list(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
        self._hand_out_answers()
        for ticket_id in list(self._tickets):
            self.withdraw(ticket_id)
        # Whoever still holds this object must not keep the shared memory from being removed.
        del self._scheduler


def _failures(failures: Mapping[str, HeadFailure]) -> dict[str, tuple[str, str]]:
    return {head: (failure.reason, failure.message) for head, failure in failures.items()}


# What a head that a row does not mention is missing for, by the ticket's code.
_MISSING_REASON = {"OK": "failed", "DEADLINE_EXCEEDED": "deadline", "UNAVAILABLE": "unavailable"}


def _part_answer(done: _core.Done) -> PartAnswer:
    """The answer of an ended ticket. Raises what the ticket failed with, where that says more than missing heads."""
    if done.code not in _MISSING_REASON:
        raise CORE_ERRORS[done.code](done.message)
    info = done.info
    turned = info is not None and info.orientation >= 5
    return PartAnswer(
        media_format=info.format if info else "",
        width=0 if info is None else info.height if turned else info.width,
        height=0 if info is None else info.width if turned else info.height,
        rows=tuple(_row_answer(row, has_span=info is None) for row in done.rows),
        missing_reason=_MISSING_REASON[done.code],
        queue_us=done.queue_us + done.batch_us,
        decode_us=done.decode_us,
        infer_us=done.infer_us,
        frames_sampled=done.frames_sampled,
        frames_dropped=done.frames_dropped,
    )


def _row_answer(row: _core.DoneRow, *, has_span: bool) -> RowAnswer:
    outputs: dict[str, tuple[float, ...]] = {}
    missing: dict[str, str] = {}
    for scores in row.scores:
        for name, values in scores.outputs.items():
            outputs[name] = struct.unpack(f"={len(values) // 4}f", values)
        missing.update(scores.missing)
    return RowAnswer(row.time_ms, row.span if has_span else None, outputs, missing)


def _view(spec: ViewSpec) -> _core.ImageView | _core.TextView:
    if isinstance(spec, ImageViewSpec):
        return _core.ImageView(**asdict(spec))
    return _core.TextView(spec.buckets)


def render_view(data: bytes, spec: ImageViewSpec) -> bytes:
    """Decodes a picture and renders one view: exactly the uint8 pixels that a head sees.

    Returns out_height x out_width x 3 bytes for "nhwc", 3 x out_height x out_width for "nchw". Raises ContentError, or
    InvalidRequest for a view that cannot be. For tests and for people; the server never calls it.
    """
    return _core.render_view(data, _core.ImageView(**asdict(spec)))


def codecs() -> Mapping[str, str]:
    """Versions of the codec libraries in use."""
    return _core.codecs()


def preprocessing_digest(ensembles: Sequence[EnsembleSpec]) -> str:
    """SHA-256, hex, over all that stands between bytes and tensors: views and codec versions. Equal digests mean
    equal tensors for equal bytes."""
    views = {
        f"{spec.modality.value}/{tensor.name}": asdict(tensor.view) for spec in ensembles for tensor in spec.tensors
    }
    content = json.dumps({"views": views, "codecs": dict(codecs()), "arithmetic": _VIEW_ARITHMETIC}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
