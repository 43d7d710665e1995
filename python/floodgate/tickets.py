"""Parts under way, and what becomes of them: one future a part, whichever core they were submitted to."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import floodgate._core as _core
from floodgate.errors import CORE_ERRORS, ContentError, FloodgateError, InternalError, Overloaded
from floodgate.media import in_settings
from floodgate.types import Content, Lane, Part, SamplingPlan

log = logging.getLogger(__name__)

W = TypeVar("W")
WContra = TypeVar("WContra", contravariant=True)

_FIRST_FRAME = SamplingPlan(max_frames=1, min_interval_ms=0, seed=0)


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
    """The core's answer for one part. ``width`` and ``height`` are those that a viewer sees (upright, square pixels),
    px; 0 for text. ``missing_reason`` stands for every head that a row does not mention. ``orientation`` is EXIF's, 1
    to 8. What follows ``is_sequence`` is of videos and animations. ``partial``: the data was truncated or damaged."""

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
    frames_missed: int = 0
    orientation: int = 1
    is_sequence: bool = False
    duration_ms: int = 0
    codec: str = ""
    note: str = ""
    partial: bool = False
    ended_ns: int = 0
    """When the core had it (monotonic clock)."""


class Compiled(Protocol[WContra]):
    """What takes parts: the compiled scheduler, or the compiled link to one. ``WContra`` is how it names
    ensembles."""

    def submit(
        self,
        ticket: int,
        ensembles: WContra,
        data: bytes,
        *,
        modality: str,
        lane: int,
        deadline_ns: int | None,
        max_frames: int,
        min_interval_ms: int,
        seed: int,
    ) -> None: ...
    def cancel(self, ticket: int) -> object: ...


class Ticket:
    """One part under way. Await ``answer``: a PartAnswer, or ContentError, Unavailable, InternalError.

    ``digests``: the part's content knows its digest once ``answer`` is there. Else it is too large for that: whoever
    needs the digest takes it of the bytes.
    """

    __slots__ = ("_book", "_id", "answer", "digests")

    def __init__(
        self, book: Tickets[Any], ticket_id: int, answer: asyncio.Future[PartAnswer], *, digests: bool
    ) -> None:
        self._book = book
        self._id = ticket_id
        self.answer = answer
        self.digests = digests

    def cancel(self) -> None:
        """Withdraws the part if it is not answered yet; work not begun is never run."""
        self._book.withdraw(self._id)
        if self.answer.done() and not self.answer.cancelled():
            # Whoever withdraws a part that failed meanwhile knows all it wants: nothing is left unretrieved.
            self.answer.exception()


class Tickets(Generic[W]):
    """Those that one compiled core has not answered yet. Belongs to the event loop that it was made on."""

    def __init__(self, compiled: Compiled[W]) -> None:
        self._compiled = compiled
        self._open: dict[int, tuple[asyncio.Future[PartAnswer], Content]] = {}
        self._next = 1
        self._loop = asyncio.get_running_loop()

    def submit(self, ensembles: W, part: Part, lane: Lane, deadline_ns: int, plan: SamplingPlan | None) -> Ticket:
        """Raises ContentError (the part cannot be read), and what the compiled core refuses with. ``plan`` None: of an
        animation the first frame, as of a still."""
        ticket_id = self._next
        self._next += 1
        chosen = _FIRST_FRAME if plan is None else plan
        try:
            self._compiled.submit(
                ticket_id,
                ensembles,
                part.content.data,
                modality=part.modality.kind.value,
                lane=int(lane),
                deadline_ns=deadline_ns,
                max_frames=chosen.max_frames,
                min_interval_ms=chosen.min_interval_ms,
                seed=chosen.seed,
            )
        except ContentError as error:
            raise type(error)(in_settings(error.message)) from None
        answer: asyncio.Future[PartAnswer] = self._loop.create_future()
        self._open[ticket_id] = answer, part.content
        return Ticket(self, ticket_id, answer, digests=part.content.size_bytes <= _core.MOST_DIGESTED_BYTES)

    def withdraw(self, ticket_id: int) -> None:
        """Cancels a ticket that is not answered yet; its future is cancelled too."""
        held = self._open.pop(ticket_id, None)
        if held is not None:
            self._compiled.cancel(ticket_id)
            held[0].cancel()

    def settle(self, answers: Iterable[_core.Done]) -> None:
        """Hands ``answers`` to whoever waits for them."""
        for done in answers:
            held = self._open.pop(done.ticket, None)
            if held is None or held[0].done():
                continue
            answer, content = held
            content.digested(done)
            try:
                answer.set_result(_part_answer(done))
            except FloodgateError as error:
                answer.set_exception(error)
            except Exception as error:
                # The answers after this one are already out of the core: each must still reach its part.
                log.exception("the answer of ticket %d cannot be read", done.ticket)
                answer.set_exception(InternalError(f"the core's answer cannot be read: {error}"))

    def close(self) -> None:
        """Withdraws all that are open; none may be submitted afterwards."""
        for ticket_id in list(self._open):
            self.withdraw(ticket_id)
        del self._compiled


# What a head that a row does not mention is missing for, by the ticket's code.
_MISSING_REASON = {"OK": "failed", "DEADLINE_EXCEEDED": "deadline", "UNAVAILABLE": "unavailable"}


def _part_answer(done: _core.Done) -> PartAnswer:
    """The answer of an ended ticket. Raises what the ticket failed with, where that says more than missing heads."""
    if done.code not in _MISSING_REASON:
        error = CORE_ERRORS[done.code](in_settings(done.message))
        if isinstance(error, Overloaded) and done.retry_after_ms:
            error.retry_after_ms = done.retry_after_ms
        raise error
    info = done.info
    orientation = 1 if info is None else info.orientation
    turned = orientation >= 5
    # A sequence is shown as its container and pixel aspect say, which only its reader knows.
    width, height = (0, 0) if info is None else (info.width, info.height)
    shown = (
        (done.shown_width, done.shown_height) if done.shown_width else (height, width) if turned else (width, height)
    )
    return PartAnswer(
        media_format=info.format if info else "",
        width=shown[0],
        height=shown[1],
        rows=tuple(_row_answer(row, has_span=info is None) for row in done.rows),
        missing_reason=_MISSING_REASON[done.code],
        queue_us=done.queue_us + done.batch_us,
        decode_us=done.decode_us,
        infer_us=done.infer_us,
        frames_sampled=done.frames_sampled,
        frames_dropped=done.frames_dropped,
        frames_missed=done.frames_missed,
        orientation=orientation,
        is_sequence=bool(done.codec) or (info is not None and info.is_video),
        duration_ms=done.duration_ms,
        codec=done.codec,
        note=done.notes,
        partial=done.partial,
        ended_ns=done.ended_ns,
    )


def _row_answer(row: _core.DoneRow, *, has_span: bool) -> RowAnswer:
    outputs: dict[str, tuple[float, ...]] = {}
    missing: dict[str, str] = {}
    for scores in row.scores:
        for name, values in scores.outputs.items():
            outputs[name] = struct.unpack(f"={len(values) // 4}f", values)
        missing.update(scores.missing)
    return RowAnswer(row.time_ms, row.span if has_span else None, outputs, missing)
