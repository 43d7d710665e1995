"""A connection to Triton that batches go over, on the event loop's own thread.

tritonclient calls through ``grpc.aio``, whose threads wake some twenty times a call, each with cold caches: of a batch
of one picture that is a good part of the cost. Here the loop writes the request and reads the answer (HTTP/2 is the
core's ``RpcCaller``). All else that Triton is asked goes through tritonclient still; what fails, fails with its
exception, so that ``answers`` reads both alike.
"""

from __future__ import annotations

import asyncio
import socket
from typing import cast
from urllib.parse import unquote

from tritonclient.utils import InferenceServerException

import floodgate._core as _core
from floodgate.errors import FloodgateError, Unavailable

_CONNECT_TIMEOUT_S = 5.0
_ANSWER_BYTES = 256 << 20
_ROOM_BYTES = 64 << 10
_STATUS_NAMES = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED"),
    *("INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)
_NAME_OF_FAULT = {
    "UNAVAILABLE": "UNAVAILABLE",
    "TOO_LARGE": "RESOURCE_EXHAUSTED",
    "OVERLOADED": "RESOURCE_EXHAUSTED",
    "INVALID_ARGUMENT": "INTERNAL",
    "INTERNAL": "INTERNAL",
}
# A connection that something between lost without a word is noticed within about 25 s.
_KEEP_ALIVE = {
    socket.TCP_KEEPIDLE: 10,
    socket.TCP_KEEPINTVL: 5,
    socket.TCP_KEEPCNT: 3,
    socket.TCP_USER_TIMEOUT: 20_000,  # ms
}


class _NotBegun(Exception):
    """The server has certainly not begun the call."""


def _failure(name: str, message: str) -> InferenceServerException:
    return InferenceServerException(message, status=f"StatusCode.{name}")


class Channel:
    """Unary calls to ``address`` (HOST:PORT) over one connection, which is made when it is first wanted and anew after
    it broke. Thread rule: one event loop."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._link: _Link | None = None
        self._connecting: asyncio.Task[_Link] | None = None
        self._closed = False

    async def call(self, path: str, message: bytes) -> bytes:
        """Calls ``/package.Service/Method``. Raises InferenceServerException with the server's status, or UNAVAILABLE
        for a connection that cannot be had or breaks. No time-out; cancelling tells the server."""
        for _ in range(2):
            link = await self._connected()
            try:
                return await link.call(path, message)
            except (Unavailable, _NotBegun):  # the server is going: a new one may be there already
                link.leave()
        raise _failure("UNAVAILABLE", f"the server at {self._address} takes no calls")

    async def close(self) -> None:
        """Ends the connection; calls under way fail."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self._link is not None:
            self._link.abort()

    async def _connected(self) -> _Link:
        """The connection, made once for all who wait for it."""
        if self._closed:
            raise _failure("CANCELLED", "the channel is closed")
        if self._link is not None and not self._link.over:
            return self._link
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
        try:
            return await asyncio.shield(self._connecting)
        except asyncio.CancelledError:
            if self._closed:
                raise _failure("CANCELLED", "the channel is closed") from None
            raise

    async def _connect(self) -> _Link:
        host, _, port = self._address.rpartition(":")
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                _, self._link = await asyncio.get_running_loop().create_connection(
                    lambda: _Link(self._address), host.removeprefix("[").removesuffix("]"), int(port)
                )
            return self._link
        except OSError as error:  # TimeoutError is one
            raise _failure("UNAVAILABLE", f"cannot connect to {self._address}: {error}") from None
        finally:
            self._connecting = None


class _Link(asyncio.BufferedProtocol):
    """One connection. ``over``: it takes no more calls."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._caller = _core.RpcCaller(authority=address, message_bytes=_ANSWER_BYTES)
        self._room = bytearray(_ROOM_BYTES)
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self.over = False

    def call(self, path: str, message: bytes) -> asyncio.Future[bytes]:
        """The answer, or InferenceServerException, or _NotBegun; cancelling it tells the server. Raises Unavailable
        when the server takes no calls."""
        if self.over:  # it may have broken before whoever waited for it came to use it
            raise Unavailable(f"the connection to {self._address} takes no more calls")
        number = self._caller.call(path, message)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(lambda _: self._settled(number))
        self._flush()
        return answer

    def _settled(self, number: int) -> None:
        if self._waiting.pop(number, None) is not None:  # its caller has lost interest
            self._caller.cancel(number)
            self._flush()

    def abort(self) -> None:
        """Ends it at once; calls under way fail."""
        self.over = True
        if self._transport is not None:
            self._transport.abort()

    def leave(self) -> None:
        """Takes no more calls; ends once nothing is under way."""
        self.over = True
        if self._transport is not None and not self._waiting:
            self._transport.close()

    # The protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEP_ALIVE.items():
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
        self._flush()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        try:
            self._caller.receive(self._room, nbytes)
        except FloodgateError:
            self._answer()
            self.abort()
            return
        self._answer()
        self._flush()
        if self._caller.over:
            self.over = True
            if self._transport is not None:
                self._transport.close()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.over = True
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            if not answer.done():
                answer.set_exception(
                    _failure("UNAVAILABLE", f"the connection to {self._address} broke: {exc or 'EOF'}")
                )

    # Within.

    def _flush(self) -> None:
        if self._transport is not None and not self._paused and (output := self._caller.output()):
            self._transport.write(output)
        self._answer()

    def _answer(self) -> None:
        for number, message, http_status, status, text, fault, problem in self._caller.answers():
            answer = self._waiting.pop(number, None)
            if answer is None or answer.done():
                continue
            known = status.isdecimal() and int(status) < len(_STATUS_NAMES)
            name = _STATUS_NAMES[int(status)] if known else "UNKNOWN"
            if status and name != "OK":
                answer.set_exception(_failure(name, unquote(text)))
            elif fault == "CANCELLED":
                answer.set_exception(_NotBegun(problem))
            elif fault != "OK":
                answer.set_exception(_failure(_NAME_OF_FAULT[fault], problem))
            elif name == "OK" and message is not None:
                answer.set_result(message)
            else:
                answer.set_exception(_failure("UNKNOWN", f"an answer without status or message (HTTP {http_status})"))
        if self.over and not self._waiting and self._transport is not None:
            self._transport.close()
