"""A client's connection: the socket's bytes to calls, and their answers back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, cast

import grpc

import floodgate._core as _core
from floodgate.errors import FloodgateError, Overloaded
from floodgate.wire.rpc.call import Call
from floodgate.wire.rpc.metadata import Trailers, status_trailers, timeout_s
from floodgate.wire.status import to_status

log = logging.getLogger(__name__)

_HEADER_BYTES = 16 << 10
_CALLS = 8192
_STALLED_S = 10.0
_LINGER_S = 5.0
_UNSENT_BYTES = 64 << 10
_CONTENT = "application/grpc"
_STATUS_OF_FAULT = {
    "TOO_LARGE": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "OVERLOADED": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "INVALID_ARGUMENT": grpc.StatusCode.INVALID_ARGUMENT,
}


class Connection(asyncio.BufferedProtocol):
    """``methods``: path -> handler. ``room``: where the socket's bytes go first; connections of one loop may share it,
    since they are read one at a time. ``budget``: of the messages that are being received. ``opened`` and ``closed``
    are told of this one. Thread rule: the event loop."""

    def __init__(
        self,
        methods: Mapping[str, grpc.RpcMethodHandler],
        room: bytearray,
        message_bytes: int,
        budget: _core.RpcBudget,
        opened: Callable[[Connection], None],
        closed: Callable[[Connection], None],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._methods = methods
        self._room = room
        self._message_bytes = message_bytes
        self._opened = opened
        self._closed = closed
        self._session = _core.RpcSession(budget, message_bytes=message_bytes, header_bytes=_HEADER_BYTES, calls=_CALLS)
        self._calls: dict[int, Call] = {}
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._leaving = False
        self._ended = False  # our side: nothing may be written any more
        self._unsent: dict[int, asyncio.Future[None]] = {}
        self._telling = False
        self._timers: list[asyncio.TimerHandle] = []

    # The protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._opened(self)
        self._look_later()
        self.flush()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        try:
            self._session.receive(self._room, nbytes)
        except FloodgateError as error:
            log.info("a connection is closed: it does not speak gRPC (%s)", error.message)
            self._tell()
            self.flush()
            if self._transport is not None:
                self._transport.close()
            return
        self._tell()
        self.flush()

    def eof_received(self) -> bool:
        # Whoever writes no more has no use for answers: gRPC's clients close only what they are done with.
        return False

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._close_calls()
        self._wake_senders()
        self._closed(self)

    # For calls.

    def taken(self, number: int) -> None:
        self._session.taken(number)

    def send(self, number: int, message: bytes) -> None:
        self._session.send(number, message)

    def finish(self, number: int, trailers: list[tuple[str, str]]) -> None:
        self._session.finish(number, trailers)
        self.flush()

    def reset(self, number: int) -> None:
        self._session.reset(number)
        self.flush()

    async def sent(self, number: int) -> None:
        self.flush()
        if self._session.unsent(number) > _UNSENT_BYTES and self._transport is not None:
            await self._unsent.setdefault(number, self.loop.create_future())

    # For the server.

    def hang_up(self) -> None:
        """Ends the connection in order: what was written arrives, and then its end. Calls under way are not awaited."""
        if self._transport is None:
            return
        self._session.go_away()
        self._leaving = True
        self._paused = False
        self.flush()

    def abort(self) -> None:
        """Ends the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def flush(self) -> None:
        """Hands the socket all that may be written now."""
        transport = self._transport
        if transport is None or self._paused or self._ended:
            return
        if output := self._session.output():
            transport.write(output)
            self._tell()
        if self._unsent:
            self._wake_senders()
        if (self._leaving or self._session.over) and not transport.is_closing():
            # The client's end comes back when it has read all; closing at once could take from it what it has not. One
            # that holds on is not waited for.
            self._ended = True
            self._timers.append(self.loop.call_later(_LINGER_S, self.abort))
            with suppress(OSError):  # the client was faster
                transport.write_eof()
            if self._session.over:
                self._close_calls()

    def _close_calls(self) -> None:
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.closed()

    def _look_later(self) -> None:
        self._timers[:1] = [self.loop.call_later(_STALLED_S, self._look)]

    def _look(self) -> None:
        """Ends calls whose message does not come on: what they hold is others' room."""
        for number in self._session.stalled():
            message = f"a message has not come on for {_STALLED_S:g} s"
            if call := self._calls.get(number):
                call.fail(grpc.StatusCode.DEADLINE_EXCEEDED, message)
            else:
                self._refuse(number, grpc.StatusCode.DEADLINE_EXCEEDED, message)
        self._look_later()
        self.flush()

    # Events.

    def _tell(self) -> None:
        if self._telling:
            return  # whoever tells goes on with what this has brought about, in its order
        self._telling = True
        try:
            while events := self._session.events():
                for event in events:
                    _ON[event[0]](self, *event[1:])
        except Exception:
            # Events are lost: their calls would hang.
            log.exception("a connection is closed after a defect")
            self.abort()
        finally:
            self._telling = False

    def _on_call(self, number: int, method: str, path: str, content_type: str, timeout: str, encoding: str) -> None:
        plain = content_type == _CONTENT
        if method != "POST" or not (plain or content_type.startswith((_CONTENT + "+", _CONTENT + ";"))):
            # Of HTTP, not of gRPC: no status would be understood.
            self._session.finish(number, [], "405" if method != "POST" else "415")
            return
        handler = self._methods.get(path)
        if handler is None:
            self._refuse(number, grpc.StatusCode.UNIMPLEMENTED, f"there is no method {path}")
            return
        seconds = timeout_s(timeout) if timeout else None
        if timeout and seconds is None:
            self._refuse(number, grpc.StatusCode.INVALID_ARGUMENT, f"grpc-timeout {timeout!r} is malformed")
            return
        call = self._calls[number] = Call(self, number, handler, seconds, encoding, self._message_bytes)
        call.begin()

    def _refuse(self, number: int, code: grpc.StatusCode, message: str, trailers: Trailers = ()) -> None:
        self._session.finish(number, status_trailers(code, message, trailers))

    def _on_message(self, number: int, raw: bytes, compressed: bool) -> None:
        if call := self._calls.get(number):
            call.message(raw, compressed)

    def _on_end(self, number: int) -> None:
        if call := self._calls.get(number):
            call.end()

    def _on_fault(self, number: int, code: str, message: str) -> None:
        trailers: Trailers = ()
        if code == "OVERLOADED":  # and when to come again
            trailers = (("grpc-status-details-bin", to_status(Overloaded(message), "").SerializeToString()),)
        if call := self._calls.get(number):
            call.fail(_STATUS_OF_FAULT[code], message, trailers)
        else:
            self._refuse(number, _STATUS_OF_FAULT[code], message, trailers)

    def _on_closed(self, number: int) -> None:
        if call := self._calls.pop(number, None):
            call.closed()

    def _wake_senders(self) -> None:
        for number in list(self._unsent):
            if self._transport is None or self._session.unsent(number) <= _UNSENT_BYTES:
                future: asyncio.Future[Any] = self._unsent.pop(number)
                if not future.done():
                    future.set_result(None)


# By kind of event. Not bound to a connection: a connection that refers to itself would hold its memory until the
# garbage collector comes by, which is seldom.
_ON: Mapping[int, Callable[..., None]] = {
    _core.RpcSession.CALL: Connection._on_call,
    _core.RpcSession.MESSAGE: Connection._on_message,
    _core.RpcSession.END: Connection._on_end,
    _core.RpcSession.FAULT: Connection._on_fault,
    _core.RpcSession.CLOSED: Connection._on_closed,
}
