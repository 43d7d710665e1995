"""A service with every shape of call, and frames as a client writes them that keeps to no rules."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from floodgate.wire.rpc import CallOver, RpcServer

SERVICE = "tests.Rpc"
MOST_BYTES = 1 << 20


class Handlers:
    """``seen`` is what happened, in order."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.begun = asyncio.Event()
        self.over = asyncio.Event()

    def methods(self) -> dict[str, grpc.RpcMethodHandler]:
        return {
            "Echo": grpc.unary_unary_rpc_method_handler(self.echo),
            "Wait": grpc.unary_unary_rpc_method_handler(self.wait),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "Refuse": grpc.unary_unary_rpc_method_handler(self.refuse),
            "Strict": grpc.unary_unary_rpc_method_handler(self.echo, request_deserializer=bytes.decode),
            "Many": grpc.unary_stream_rpc_method_handler(self.many),
            "Count": grpc.stream_unary_rpc_method_handler(self.count),
            "Echoes": grpc.stream_stream_rpc_method_handler(self.echoes),
        }

    async def echo(self, request: bytes, context: Any) -> bytes:
        self.seen.append(context.time_remaining())
        return request

    async def wait(self, _: bytes, context: Any) -> bytes:
        context.add_done_callback(lambda _: self.over.set())
        self.seen.append("begun")
        self.begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.seen.append("cancelled")
            raise
        raise AssertionError

    async def fail(self, _: bytes, __: Any) -> bytes:
        raise KeyError("a secret")

    async def refuse(self, request: bytes, context: Any) -> None:
        await context.abort(
            grpc.StatusCode.RESOURCE_EXHAUSTED, request.decode(), (("plain", "text"), ("raw-bin", b"\0\xff"))
        )

    async def many(self, request: bytes, context: Any) -> None:
        for _ in range(int(request)):
            try:
                await context.write(bytes(MOST_BYTES // 2))
            except CallOver:
                self.seen.append("over")
                raise
            self.seen.append("written")

    async def count(self, requests: AsyncIterator[bytes], _: Any) -> bytes:
        return str([request async for request in requests]).encode()

    async def echoes(self, requests: AsyncIterator[bytes], _: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request


@asynccontextmanager
async def serving(
    handlers: Handlers, address: str = "127.0.0.1:0", receiving_bytes: int = 16 * MOST_BYTES
) -> AsyncIterator[tuple[RpcServer, int]]:
    server = RpcServer(message_bytes=MOST_BYTES, receiving_bytes=receiving_bytes)
    server.add_registered_method_handlers(SERVICE, handlers.methods())
    port = await server.listen(address)
    try:
        yield server, port
    finally:
        await server.hang_up(0.5)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def headers(fields: dict[str, str]) -> bytes:
    return b"".join(
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in fields.items()
    )


def frames(raw: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(kind, flags, payload) of every whole frame."""
    while len(raw) >= 9 + (size := int.from_bytes(raw[:3], "big")):
        yield raw[3], raw[4], raw[9 : 9 + size]
        raw = raw[9 + size :]


async def answer_to(port: int, raw: bytes, *, until_kind: int) -> bytes:
    """The payload of the first frame of a kind that a client hears who says ``raw``."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + raw)
    heard = b""
    async with asyncio.timeout(20):
        while True:
            for kind, _, payload in frames(heard):
                if kind == until_kind:
                    writer.close()
                    return payload
            more = await reader.read(1 << 16)
            assert more, "the connection ended"
            heard += more


REQUEST = {
    ":method": "POST",
    ":scheme": "http",
    ":authority": "here",
    ":path": f"/{SERVICE}/Echo",
    "content-type": "application/grpc",
}
