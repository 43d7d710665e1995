"""The gRPC server, met by clients that keep to no rules: what they do harms themselves."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2

from floodgate.errors import Overloaded
from floodgate.wire.rpc import connection as connections
from floodgate.wire.rpc.metadata import timeout_s
from floodgate.wire.status import from_status
from tests.unit.wire.rpc_service import MOST_BYTES, REQUEST, SERVICE, Handlers, answer_to, frame, headers, serving


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"content-type": "text/plain"}, "415"),
        ({"content-type": "application/grpc-web"}, "415"),
        ({":method": "GET"}, "405"),
    ],
)
async def test_what_is_http_but_not_grpc_is_answered_in_http(change: dict[str, str], status: str) -> None:
    async with serving(Handlers()) as (_, port):
        answer = await answer_to(port, frame(1, 5, 1, headers(REQUEST | change)), until_kind=1)
    assert status.encode() in answer  # three digits are no shorter in Huffman's code


@pytest.mark.parametrize("timeout", ["", "5", "S", "123456789S", "-5S", "5x", "٣S"])
async def test_a_malformed_timeout_is_refused(timeout: str) -> None:
    assert timeout_s(timeout) is None


async def test_an_unknown_encoding_is_answered_with_those_that_are_known() -> None:
    raw = frame(1, 4, 1, headers(REQUEST | {"grpc-encoding": "snappy"})) + frame(0, 1, 1, b"\1\0\0\0\1x")
    async with serving(Handlers()) as (_, port):
        answer = await answer_to(port, raw, until_kind=1)
    assert b"12" in answer  # grpc-status
    assert len(answer) > 60


async def test_uploads_that_stall_take_no_more_than_their_room() -> None:
    """Each sends the first 48 KiB of a message of the largest size: some 210 kB of room are left."""
    begun = frame(1, 4, 1, headers(REQUEST)) + frame(0, 0, 1, b"\0" + MOST_BYTES.to_bytes(4, "big"))
    begun += b"".join(frame(0, 0, 1, bytes(16 << 10)) for _ in range(3))
    large = bytes(MOST_BYTES // 3)
    hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")
    async with serving(Handlers(), receiving_bytes=1_000_000) as (_, port):
        stalled = [await asyncio.open_connection("127.0.0.1", port) for _ in range(16)]
        for _, writer in stalled:
            writer.write(hello + begun)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary(f"/{SERVICE}/Echo")
            refused = await asyncio.wait_for(_refused(call, large), 20)
            assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "no room now" in (refused.details() or "")
            details = dict(refused.trailing_metadata() or ())["grpc-status-details-bin"]
            error = from_status(status_pb2.Status.FromString(details))
            assert isinstance(error, Overloaded)
            assert error.retry_after_ms > 0
            assert await call(b"small") == b"small"
            for _, writer in stalled:
                writer.close()
                await writer.wait_closed()
            assert await asyncio.wait_for(_answered(call, large), 20) == large


async def _refused(call: Any, message: bytes) -> grpc.aio.AioRpcError:
    """The first refusal, once all of the others' beginnings were heard."""
    while True:
        try:
            await call(message)
        except grpc.aio.AioRpcError as error:
            return error
        await asyncio.sleep(0.01)


async def _answered(call: Any, message: bytes) -> bytes:
    while True:
        with suppress(grpc.aio.AioRpcError):
            return bytes(await call(message))
        await asyncio.sleep(0.01)


async def test_what_one_event_brings_about_is_told_after_the_others() -> None:
    """A call without a message is answered at once, which sends the reset of a later call in the same bytes."""
    handlers = Handlers()
    fields = headers(REQUEST | {":path": f"/{SERVICE}/Count"})
    raw = frame(1, 5, 1, headers(REQUEST)) + frame(1, 4, 3, fields) + frame(8, 0, 3, (2**31 - 1).to_bytes(4, "big"))
    async with serving(handlers) as (server, port):
        await answer_to(port, raw, until_kind=3)
        assert not [call for connection in server._connections for call in connection._calls]


async def test_a_header_of_any_bytes_harms_its_own_call_only() -> None:
    raw = b"".join(
        frame(1, 5, number, headers(REQUEST).replace(old, new))
        for number, old, new in ((1, b"/grpc", b"/gr\xffc"), (3, b"tests.Rpc", b"tests.\xffpc"))
    )
    async with serving(Handlers()) as (_, port):
        good = frame(1, 4, 5, headers(REQUEST)) + frame(0, 1, 5, b"\0\0\0\0\1x")
        assert await answer_to(port, raw + good, until_kind=0) == b"\0\0\0\0\1x"


async def test_a_watcher_that_does_not_read_holds_nobody_up() -> None:
    """Its window is 0, so that nothing can be sent to it."""
    fields = headers(REQUEST | {":path": f"/{SERVICE}/Many"})
    settings = frame(4, 0, 0, (4).to_bytes(2, "big") + bytes(4))
    raw = settings + frame(1, 4, 1, fields) + frame(0, 1, 1, b"\0\0\0\0\x010")
    small = raw.replace(b"Many", b"Echo") + frame(6, 0, 0, bytes(8))
    async with serving(Handlers()) as (server, port):
        await answer_to(port, small, until_kind=6)
        for connection in server._connections:
            await asyncio.wait_for(connection.sent(1), 5)


async def test_a_connection_that_broke_the_rules_ends_its_calls_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_LINGER_S", 60.0)
    handlers = Handlers()
    wait = headers(REQUEST | {":path": f"/{SERVICE}/Wait"})
    raw = frame(1, 4, 1, wait) + frame(0, 1, 1, b"\0\0\0\0\0")
    async with serving(handlers) as (_, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + raw)
        await asyncio.wait_for(handlers.begun.wait(), 20)
        writer.write(frame(0, 0, 0, b"data on no stream"))
        await asyncio.wait_for(handlers.over.wait(), 20)
        writer.close()


async def test_who_holds_on_is_not_waited_for_beyond_patience() -> None:
    async with serving(Handlers()) as (server, port):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
            await asyncio.sleep(0.05)
            assert not await server.hang_up(0.1)


async def test_a_message_that_does_not_come_on_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_STALLED_S", 0.05)
    begun = frame(1, 4, 1, headers(REQUEST)) + frame(0, 0, 1, b"\0\0\0\0\x09half")
    async with serving(Handlers()) as (server, port):
        await answer_to(port, begun, until_kind=1)
        assert not [call for connection in server._connections for call in connection._calls]


async def test_an_answer_that_finds_no_way_out_ends_at_its_deadline() -> None:
    """The client's window is 0."""
    settings = frame(4, 0, 0, (4).to_bytes(2, "big") + bytes(4))
    ask = frame(1, 4, 1, headers(REQUEST | {"grpc-timeout": "50m"})) + frame(0, 1, 1, b"\0\0\0\0\x01x")
    async with serving(Handlers()) as (_, port):
        assert await answer_to(port, settings + ask, until_kind=3) == (8).to_bytes(4, "big")  # CANCEL
