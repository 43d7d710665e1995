"""The gRPC server, met by gRPC's own client and by clients that do not keep to the rules."""

from __future__ import annotations

import asyncio
import gzip
import logging
import socket
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import pytest

from floodgate.wire.rpc import CallOver, RpcServer
from floodgate.wire.rpc.metadata import BadMessage, decompress, timeout_s

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


async def test_a_connection_that_broke_the_rules_ends_its_calls_at_once() -> None:
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


async def test_who_holds_on_is_not_waited_for_beyond_patience() -> None:
    async with serving(Handlers()) as (server, port):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
            await asyncio.sleep(0.05)
            assert not await server.hang_up(0.1)


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
