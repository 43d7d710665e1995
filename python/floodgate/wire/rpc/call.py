"""One call, as its handler sees it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import grpc

from floodgate.wire.rpc.metadata import ENCODINGS, BadMessage, Trailers, decompress, status_trailers

log = logging.getLogger(__name__)


class Aborted(Exception):
    """Ends a handler whose call has its status already."""


class CallOver(Exception):
    """Nobody is left to hear an answer."""


class Sends(Protocol):
    """The connection, as its calls see it."""

    loop: asyncio.AbstractEventLoop

    def taken(self, number: int) -> None:
        """The handler has read one of the call's messages."""

    def send(self, number: int, message: bytes) -> None:
        """Writes one message."""

    def finish(self, number: int, trailers: list[tuple[str, str]]) -> None:
        """Writes the end of the call."""

    def reset(self, number: int) -> None:
        """Ends the call at once, whatever was not sent yet."""

    async def sent(self, number: int) -> None:
        """Returns once little of what was written of the call waits."""


class Call:
    """Made when a call begins; runs its handler on a task of its own. Of ``grpc.aio.ServicerContext`` it has what
    handlers here use. Thread rule: the event loop."""

    __slots__ = (
        "_connection",
        "_deadline",
        "_done",
        "_encoding",
        "_ended",
        "_messages",
        "_method",
        "_most_bytes",
        "_number",
        "_over",
        "_reader",
        "_task",
        "_timer",
    )

    def __init__(
        self,
        connection: Sends,
        number: int,
        method: grpc.RpcMethodHandler,
        timeout_s: float | None,
        encoding: str,
        most_bytes: int,
    ) -> None:
        """``encoding``: of messages that are compressed, which have at most ``most_bytes`` afterwards."""
        self._connection = connection
        self._number = number
        self._method = method
        self._encoding = encoding
        self._most_bytes = most_bytes
        self._messages: deque[tuple[bytes, bool]] = deque()
        self._ended = False
        self._reader: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._over = False
        self._done: list[Callable[[Any], object]] = []
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        if timeout_s is not None:
            self._deadline = connection.loop.time() + timeout_s
            self._timer = connection.loop.call_at(self._deadline, self._expire)

    # For the handler.

    def time_remaining(self) -> float | None:
        """Seconds until the call's deadline, at least 0; None without one."""
        return None if self._deadline is None else max(0.0, self._deadline - self._connection.loop.time())

    async def read(self) -> Any:
        """The next request; ``grpc.aio.EOF`` when the client sends no more."""
        while not self._messages:
            if self._ended:
                return grpc.aio.EOF
            self._reader = self._connection.loop.create_future()
            await self._reader
        return await self._next()

    async def write(self, response: Any) -> None:
        """Sends a response; returns once the client has room for more. Raises CallOver."""
        if self._over:
            raise CallOver("the call is over")
        self._connection.send(self._number, self._serialized(response))
        await self._connection.sent(self._number)
        if self._over:
            raise CallOver("the client left")

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Trailers = ()) -> None:
        """Ends the call with ``code``. Always raises Aborted."""
        self.finish(code, details, trailing_metadata)
        raise Aborted

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """``callback`` is called with the call once it is over: all was written, or the client left."""
        self._done.append(callback)

    # For the connection.

    def begin(self) -> None:
        """The call is there; a handler of streams need not wait for a message."""
        if self._method.request_streaming:
            self._start()

    def message(self, raw: bytes, compressed: bool) -> None:
        """A message was received."""
        if self._over:
            return
        if not self._method.request_streaming and (self._messages or self._task is not None):
            self.fail(grpc.StatusCode.INVALID_ARGUMENT, "a unary call has one message; this one has more")
            return
        self._messages.append((raw, compressed))
        if self._method.request_streaming:
            self._wake()
        else:
            self._start()

    def end(self) -> None:
        """The client sends no more messages."""
        self._ended = True
        self._wake()
        if not self._over and not self._method.request_streaming and self._task is None:
            self.finish(grpc.StatusCode.INVALID_ARGUMENT, "the call ended without a request")

    def finish(self, code: grpc.StatusCode, message: str = "", trailers: Trailers = ()) -> None:
        """Ends the call with a status, once; what the handler still does is nobody's."""
        if self._over:
            return
        self._over = True
        self._messages.clear()
        self._connection.finish(self._number, status_trailers(code, message, trailers))

    def fail(self, code: grpc.StatusCode, message: str, trailers: Trailers = ()) -> None:
        """Ends the call from outside its handler."""
        self.finish(code, message, trailers)
        self._stop()

    def closed(self) -> None:
        """The call is over on both sides, or its connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
        if not self._over:
            self._over = True
            self._messages.clear()
            self._stop()
        done, self._done = self._done, []
        for callback in done:
            callback(self)

    # Within.

    def _start(self) -> None:
        self._task = self._connection.loop.create_task(self._run())

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _expire(self) -> None:
        if self._over:
            self._connection.reset(self._number)  # its answer found no way out
        else:
            self.fail(grpc.StatusCode.DEADLINE_EXCEEDED, "the call's deadline has passed")

    async def _next(self) -> Any:
        raw, compressed = self._messages.popleft()
        self._connection.taken(self._number)
        try:
            if compressed:
                # On a thread: a small message may take long to become a large one.
                raw = await asyncio.to_thread(decompress, self._encoding, raw, self._most_bytes)
            deserialize = self._method.request_deserializer
            return deserialize(raw) if deserialize else raw
        except BadMessage as bad:
            known = [("grpc-accept-encoding", ENCODINGS)] if bad.code is grpc.StatusCode.UNIMPLEMENTED else []
            self.finish(bad.code, bad.message, known)
            raise Aborted from bad
        except Exception as error:
            self.finish(grpc.StatusCode.INTERNAL, "the request cannot be read")
            raise Aborted from error

    def _serialized(self, response: Any) -> bytes:
        serialize = self._method.response_serializer
        raw: bytes = serialize(response) if serialize else response
        return raw

    async def _requests(self) -> AsyncIterator[Any]:
        while (request := await self.read()) is not grpc.aio.EOF:
            yield request

    async def _run(self) -> None:
        try:
            await self._handle()
        except Aborted:
            pass
        except asyncio.CancelledError:
            self.finish(grpc.StatusCode.CANCELLED, "the call was cancelled")
            raise
        except CallOver:
            log.debug("a client left before its answer")
        except Exception:
            log.exception("a handler failed")
            self.finish(grpc.StatusCode.UNKNOWN, "the handler failed")

    async def _handle(self) -> None:
        method = self._method
        streaming = method.request_streaming
        if not method.response_streaming:
            handler = method.stream_unary if streaming else method.unary_unary
            response = await handler(self._requests() if streaming else await self._next(), self)
            if not self._over:
                self._connection.send(self._number, self._serialized(response))
        else:
            handler = method.stream_stream if streaming else method.unary_stream
            responses = handler(self._requests() if streaming else await self._next(), self)
            if hasattr(responses, "__aiter__"):
                async for each in responses:
                    await self.write(each)
            else:
                await responses
        self.finish(grpc.StatusCode.OK)
