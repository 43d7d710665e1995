"""The gRPC server, met by gRPC's own client."""

from __future__ import annotations

import asyncio
import gzip
import logging
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import pytest

from floodgate.wire.rpc import RpcServer
from floodgate.wire.rpc.metadata import BadMessage, decompress
from tests.unit.wire.rpc_service import MOST_BYTES, SERVICE, Handlers, serving


@asynccontextmanager
async def called(handlers: Handlers) -> AsyncIterator[grpc.aio.Channel]:
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    async with (
        serving(handlers) as (_, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel,
    ):
        yield channel


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


@pytest.mark.parametrize("size", [0, 1, 70_000, MOST_BYTES])
@pytest.mark.parametrize("compression", list(grpc.Compression))
async def test_a_message_comes_and_goes_whole(size: int, compression: grpc.Compression) -> None:
    message = bytes(n * n % 251 for n in range(size))
    async with called(Handlers()) as channel:
        call = channel.unary_unary(f"/{SERVICE}/Echo")
        assert await call(message, compression=compression) == message


async def test_many_calls_share_a_connection() -> None:
    async with called(Handlers()) as channel:
        call = channel.unary_unary(f"/{SERVICE}/Echo")
        answers = await asyncio.gather(*(call(b"%d" % n * 1000) for n in range(500)))
    assert answers == [b"%d" % n * 1000 for n in range(500)]


async def test_every_shape_of_call() -> None:
    async with called(Handlers()) as channel:
        assert await channel.stream_unary(f"/{SERVICE}/Count")(iter([b"a", b"", b"b"])) == b"[b'a', b'', b'b']"
        assert await channel.stream_unary(f"/{SERVICE}/Count")(iter([])) == b"[]"
        assert [each async for each in channel.stream_stream(f"/{SERVICE}/Echoes")(iter([b"a", b"b"]))] == [b"a", b"b"]
        assert len([each async for each in channel.unary_stream(f"/{SERVICE}/Many")(b"3")]) == 3
        assert [each async for each in channel.unary_stream(f"/{SERVICE}/Many")(b"0")] == []


async def test_the_deadline_is_known() -> None:
    handlers = Handlers()
    async with called(handlers) as channel:
        call = channel.unary_unary(f"/{SERVICE}/Echo")
        await call(b"")
        await call(b"", timeout=30)
    assert handlers.seen[0] is None
    assert 25 < handlers.seen[1] < 31  # gRPC's client rounds up


async def test_a_call_ends_at_its_deadline_though_its_client_says_nothing() -> None:
    handlers = Handlers()
    async with called(handlers) as channel:
        call = channel.unary_unary(f"/{SERVICE}/Wait")
        error = await refusal(call(b"", metadata=(("grpc-timeout", "50m"),)))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(handlers.over.wait(), 20)
    assert handlers.seen == ["begun", "cancelled"]


@pytest.mark.parametrize("leave", ["cancel", "close"])
async def test_a_client_that_leaves_ends_its_handler(leave: str) -> None:
    handlers = Handlers()
    async with serving(handlers) as (_, port):
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        call = channel.unary_unary(f"/{SERVICE}/Wait")(b"")
        await asyncio.wait_for(handlers.begun.wait(), 20)
        if leave == "cancel":
            call.cancel()
        else:
            await channel.close()
        with suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
            await call
        await asyncio.wait_for(handlers.over.wait(), 20)
        await channel.close()
    assert handlers.seen == ["begun", "cancelled"]


async def test_a_refusal_carries_its_text_and_trailers() -> None:
    text = "Größe 100% zu viel\n\t~ 高い"
    async with called(Handlers()) as channel:
        error = await refusal(channel.unary_unary(f"/{SERVICE}/Refuse")(text.encode()))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.details() == text
    trailers = dict(error.trailing_metadata())
    assert trailers["plain"] == "text"
    assert trailers["raw-bin"] == b"\0\xff"


async def test_a_failing_handler_tells_the_log_and_not_the_caller(caplog: pytest.LogCaptureFixture) -> None:
    async with called(Handlers()) as channel:
        with caplog.at_level(logging.ERROR):
            error = await refusal(channel.unary_unary(f"/{SERVICE}/Fail")(b""))
        assert await channel.unary_unary(f"/{SERVICE}/Echo")(b"still here") == b"still here"
    assert error.code() is grpc.StatusCode.UNKNOWN
    assert "secret" not in (error.details() or "")
    assert "a secret" in caplog.text


@pytest.mark.parametrize(
    ("method", "messages", "code", "says"),
    [
        ("None", [b""], grpc.StatusCode.UNIMPLEMENTED, "no method /tests.Rpc/None"),
        ("Echo", [], grpc.StatusCode.INVALID_ARGUMENT, "without a request"),
        ("Wait", [b"a", b"b"], grpc.StatusCode.INVALID_ARGUMENT, "one message"),
        ("Echo", [bytes(MOST_BYTES + 1)], grpc.StatusCode.RESOURCE_EXHAUSTED, "1048577 bytes long; at most 1048576"),
        ("Strict", [b"\xff"], grpc.StatusCode.INTERNAL, "cannot be read"),
    ],
)
async def test_what_breaks_the_rules_is_told_so(
    method: str, messages: list[bytes], code: grpc.StatusCode, says: str
) -> None:
    async with called(Handlers()) as channel:
        error = await refusal(channel.stream_unary(f"/{SERVICE}/{method}")(iter(messages)))
        assert await channel.unary_unary(f"/{SERVICE}/Echo")(b"still here") == b"still here"
    assert error.code() is code
    assert says in (error.details() or "")


async def test_a_small_message_that_unpacks_to_a_huge_one_is_refused() -> None:
    async with called(Handlers()) as channel:
        call = channel.unary_unary(f"/{SERVICE}/Echo")
        error = await refusal(call(bytes(300 << 20), compression=grpc.Compression.Gzip))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "once decompressed" in (error.details() or "")


async def test_who_reads_slowly_is_written_to_slowly() -> None:
    handlers = Handlers()
    async with called(handlers) as channel:
        call = channel.unary_stream(f"/{SERVICE}/Many")(b"200")
        await call.read()
        await asyncio.sleep(0.3)
        # Sockets and windows hold some 20 MB; the rest of the 100 waits for the reader.
        assert handlers.seen.count("written") < 150
        while await call.read() is not grpc.aio.EOF:
            pass
    assert handlers.seen.count("written") == 200


async def test_who_leaves_while_it_is_written_to_is_noticed() -> None:
    handlers = Handlers()
    async with called(handlers) as channel:
        call = channel.unary_stream(f"/{SERVICE}/Many")(b"1000")
        await call.read()
        call.cancel()
        await asyncio.sleep(0.2)
        written = handlers.seen.count("written")
        await asyncio.sleep(0.1)
        assert handlers.seen.count("written") == written < 1000


async def test_a_stream_of_messages_longer_than_any_window_goes_on() -> None:
    messages = [bytes([n]) * MOST_BYTES for n in range(12)]
    async with called(Handlers()) as channel:
        assert [each async for each in channel.stream_stream(f"/{SERVICE}/Echoes")(iter(messages))] == messages


async def test_what_is_no_http2_is_hung_up_on_and_nobody_else() -> None:
    async with serving(Handlers()) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        async with asyncio.timeout(20):
            await reader.read()
        writer.close()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            assert await channel.unary_unary(f"/{SERVICE}/Echo")(b"x") == b"x"


@pytest.mark.parametrize(
    ("encoding", "raw", "code"),
    [
        ("", b"x", grpc.StatusCode.INTERNAL),
        ("identity", b"x", grpc.StatusCode.INTERNAL),
        ("snappy", b"x", grpc.StatusCode.UNIMPLEMENTED),
        ("gzip", b"no gzip", grpc.StatusCode.INTERNAL),
        ("gzip", gzip.compress(b"hello", mtime=0)[:-4], grpc.StatusCode.INTERNAL),
        ("deflate", zlib.compress(bytes(101)), grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
)
def test_what_cannot_be_decompressed_is_said(encoding: str, raw: bytes, code: grpc.StatusCode) -> None:
    with pytest.raises(BadMessage) as caught:
        decompress(encoding, raw, 100)
    assert caught.value.code is code
    assert caught.value.message


async def test_hanging_up_ends_connections_in_order_and_lets_nobody_in() -> None:
    handlers = Handlers()
    async with serving(handlers) as (server, port):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await channel.unary_unary(f"/{SERVICE}/Echo")(b"x")
            assert await server.hang_up(10)
            error = await refusal(channel.unary_unary(f"/{SERVICE}/Echo")(b"x"))
            assert error.code() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


@pytest.mark.parametrize("address", ["[::]:0", "0.0.0.0:0"])
async def test_a_wildcard_means_every_address_of_both_families(address: str) -> None:
    async with serving(Handlers(), address) as (_, port):
        for host in ("127.0.0.1", "::1"):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()


async def test_a_port_that_is_taken_is_said() -> None:
    async with serving(Handlers()) as (_, port):
        with pytest.raises(OSError, match="in use"):
            await RpcServer(message_bytes=1, receiving_bytes=1).listen(f"127.0.0.1:{port}")
