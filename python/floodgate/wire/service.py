"""The Moderation service: both calls, over message bytes.

The handlers get messages as bytes in an envelope, so that size and load are checked before anything is parsed, and so
that nothing but the core's arena holds a request's media while it waits: once an item was handed to the judge, neither
the message's bytes nor the parsed message exist any more. Every failure ends in ``wire.status``; a stream's item never
ends its stream.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc

from floodgate.config import Caller, Limits
from floodgate.decision import new_decision_id
from floodgate.errors import DeadlineExceeded, InvalidRequest
from floodgate.types import Decision, Item
from floodgate.v1 import moderation_pb2 as pb
from floodgate.wire import responses
from floodgate.wire.admission import InFlight
from floodgate.wire.envelope import Envelope
from floodgate.wire.malformed import salvage_ids
from floodgate.wire.metrics import UNKNOWN_LANE, Metrics
from floodgate.wire.requests import Asked, parse, to_item
from floodgate.wire.rpc import CallOver
from floodgate.wire.status import status_code, to_status
from floodgate.wire.turnstile import Turnstile

log = logging.getLogger(__name__)

SERVICE = pb.DESCRIPTOR.services_by_name["Moderation"].full_name
CALLER = "default"
_DAY_NS = 86_400 * 1_000_000_000

Judge = Callable[[Item, int, int], Awaitable[Decision]]
"""(item, arrival_ns, deadline_ns) -> decision: the pipeline's one method, as the door sees it."""


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """``answer_margin_ns`` is subtracted from the gRPC deadline; ``default_budget_ns`` applies when the caller gives
    neither a budget nor a deadline."""

    limits: Limits
    rights: Caller
    answer_margin_ns: int
    default_budget_ns: int


class ModerationService:
    """Handlers for one server."""

    def __init__(self, judge: Judge, in_flight: InFlight, metrics: Metrics, options: ServiceOptions) -> None:
        self._judge = judge
        self._in_flight = in_flight
        self._metrics = metrics
        self._options = options
        self._turnstile = Turnstile()

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """Method name -> handler, for a gRPC server. Requests and responses stay bytes."""
        return {
            "Moderate": grpc.unary_unary_rpc_method_handler(self.moderate, request_deserializer=Envelope),
            "ModerateStream": grpc.stream_stream_rpc_method_handler(
                self.moderate_stream, request_deserializer=Envelope
            ),
        }

    async def moderate(self, envelope: Envelope, context: Any) -> bytes:
        """Moderate."""
        self._in_flight.owe()
        context.add_done_callback(self._paid)
        arrival_ns = time.monotonic_ns()
        remaining_s = context.time_remaining()
        known = _Known()
        try:
            response = await self._answer(envelope, arrival_ns, remaining_s, known)
        except asyncio.CancelledError:
            self._metrics.ended("Moderate", known.lane, "CANCELLED")
            raise
        except Exception as error:
            self._ended("Moderate", known, error)
            status = to_status(error, known.request_id)
            trailers = (("grpc-status-details-bin", status.SerializeToString()),)
            await context.abort(status_code(error), status.message, trailers)
        self._metrics.ended("Moderate", known.lane, "OK")
        return response.SerializeToString()

    def _paid(self, _: Any) -> None:
        self._in_flight.paid()

    async def moderate_stream(self, _: Any, context: Any) -> None:
        """ModerateStream."""
        self._in_flight.owe()
        context.add_done_callback(self._paid)
        writing = asyncio.Lock()
        slots = asyncio.Semaphore(self._options.limits.stream_in_flight)
        ids: set[str] = set()

        async def serve(envelope: Envelope) -> None:
            try:
                raw = (await self._stream_answer(envelope, context, ids)).SerializeToString()
                async with writing:
                    await _write(context, raw)
            finally:
                slots.release()

        async with asyncio.TaskGroup() as tasks:
            await slots.acquire()
            while (envelope := await context.read()) is not grpc.aio.EOF:
                tasks.create_task(serve(envelope))
                await slots.acquire()

    async def _stream_answer(self, envelope: Envelope, context: Any, ids: set[str]) -> pb.ModerateResponse:
        arrival_ns = time.monotonic_ns()
        remaining_s = context.time_remaining()
        known = _Known()
        try:
            response = await self._answer(envelope, arrival_ns, remaining_s, known, ids)
        except asyncio.CancelledError:
            self._metrics.ended("ModerateStream", known.lane, "CANCELLED")
            raise
        except Exception as error:
            self._ended("ModerateStream", known, error)
            if raw := envelope.take():  # refused before it was opened
                known.request_id, known.content_id = salvage_ids(raw)
            return responses.refusal(known.request_id, known.content_id, to_status(error, known.request_id))
        self._metrics.ended("ModerateStream", known.lane, "OK")
        return response

    async def _answer(
        self,
        envelope: Envelope,
        arrival_ns: int,
        remaining_s: float | None,
        known: _Known,
        stream_ids: set[str] | None = None,
    ) -> pb.ModerateResponse:
        size_bytes, limit = envelope.size_bytes, self._options.limits.message_bytes
        if size_bytes > limit:
            raise InvalidRequest(f"the message is {size_bytes} bytes long; at most {limit} are allowed")
        with self._in_flight.admit(size_bytes):
            claimed: list[str] = []
            try:
                await self._turnstile.enter()
                asked = self._open(envelope, known, stream_ids, claimed)
                return await self._judged(asked, arrival_ns, remaining_s, known)
            finally:
                if stream_ids is not None:
                    stream_ids.difference_update(claimed)

    def _open(self, envelope: Envelope, known: _Known, stream_ids: set[str] | None, claimed: list[str]) -> Asked:
        """The item in an envelope. The bytes and the message are gone when this returns: nobody else holds them."""
        raw = envelope.take()
        try:
            request = parse(raw)
        except InvalidRequest:
            known.request_id, known.content_id = salvage_ids(raw)
            raise
        known.content_id = request.content_id
        known.request_id = request.request_id
        if stream_ids is not None:
            _claim(request.request_id, stream_ids)
            claimed.append(request.request_id)
        elif not known.request_id:
            known.request_id = str(new_decision_id())
        options = self._options
        return to_item(
            request, request_id=known.request_id, limits=options.limits, caller=CALLER, rights=options.rights
        )

    async def _judged(
        self, asked: Asked, arrival_ns: int, remaining_s: float | None, known: _Known
    ) -> pb.ModerateResponse:
        options = self._options
        known.lane = asked.item.lane.name
        deadline_ns = effective_deadline_ns(
            arrival_ns, asked.budget_ns, remaining_s, options.answer_margin_ns, options.default_budget_ns
        )
        known.deadline_ns = deadline_ns
        parsed_ns = time.monotonic_ns()
        if parsed_ns >= deadline_ns:
            raise DeadlineExceeded("the effective deadline had passed on arrival")
        decision = await self._judge(asked.item, arrival_ns, deadline_ns)
        response = responses.answer(decision)
        self._metrics.decided(decision, parse_ns=parsed_ns - arrival_ns)
        self._metrics.late(known.lane, time.monotonic_ns() - deadline_ns)
        return response

    def _ended(self, rpc: str, known: _Known, error: Exception) -> None:
        self._metrics.ended(rpc, known.lane, status_code(error).name)
        if known.deadline_ns is not None:
            self._metrics.late(known.lane, time.monotonic_ns() - known.deadline_ns)
        if status_code(error) is grpc.StatusCode.INTERNAL:
            log.error("request %s failed", known.request_id or "without id", exc_info=error)


async def _write(context: Any, raw: bytes) -> None:
    try:
        await context.write(raw)
    except CallOver:
        log.debug("nobody was left to hear an answer on a stream")


@dataclass(slots=True)
class _Known:
    """What is known of a request by the time it fails."""

    request_id: str = ""
    content_id: str = ""
    lane: str = UNKNOWN_LANE
    deadline_ns: int | None = None


def _claim(request_id: str, ids: set[str]) -> None:
    if not request_id:
        raise InvalidRequest("request_id is required on a stream", field="request_id")
    if request_id in ids:
        raise InvalidRequest(f"request_id {request_id!r} is in flight on this stream already", field="request_id")
    ids.add(request_id)


def effective_deadline_ns(
    arrival_ns: int,
    budget_ns: int | None,
    remaining_s: float | None,
    answer_margin_ns: int,
    default_budget_ns: int,
) -> int:
    """The time, on CLOCK_MONOTONIC in ns, by which the answer must leave: the sooner of arrival + budget and the gRPC
    deadline less the answer margin; arrival + default budget when neither is given; at most a day after arrival."""
    candidates = []
    if budget_ns is not None:
        candidates.append(arrival_ns + budget_ns)
    if remaining_s is not None:
        candidates.append(arrival_ns + int(remaining_s * 1e9) - answer_margin_ns)
    # Far enough for anybody, near enough that no sum of times leaves 64 bits.
    return min(*candidates, arrival_ns + _DAY_NS) if candidates else arrival_ns + default_budget_ns
