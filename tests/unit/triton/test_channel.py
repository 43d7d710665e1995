"""The connection that batches go over, met by servers that answer, refuse, go away and break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from tritonclient.utils import InferenceServerException

from floodgate.errors import Unavailable
from floodgate.triton.answers import status_of
from floodgate.triton.channel import Channel

METHOD = "/tests.Channel/Call"


class Answers:
    """What a server does with its calls: ``b"wait"`` is answered once ``go_on`` is set."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def call(self, request: bytes, context: Any) -> bytes:
        if request == b"refuse":
            await context.abort(grpc.StatusCode.NOT_FOUND, "nö, 100% not here")
        if request == b"wait":
            self.begun.set()
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        return request[::-1]


@asynccontextmanager
async def serving(answers: Answers, port: int = 0) -> AsyncIterator[tuple[grpc.aio.Server, int]]:
    """gRPC's own server."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.aio.server(options=options)
    handler = grpc.unary_unary_rpc_method_handler(answers.call)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("tests.Channel", {"Call": handler}),))
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield server, port
    finally:
        await server.stop(0)


@asynccontextmanager
async def calling(answers: Answers) -> AsyncIterator[Channel]:
    async with serving(answers) as (_, port):
        channel = Channel(f"127.0.0.1:{port}")
        yield channel
        await channel.close()


async def failure(call: Any) -> tuple[str, str]:
    with pytest.raises(InferenceServerException) as caught:
        await call
    return status_of(caught.value), str(caught.value.message())


@pytest.mark.parametrize("size", [0, 1, 100_000, 20 << 20])
async def test_a_message_comes_back(size: int) -> None:
    message = bytes(range(251)) * (size // 251 + 1)
    async with calling(Answers()) as channel:
        assert await channel.call(METHOD, message[:size]) == message[:size][::-1]


async def test_many_calls_share_a_connection() -> None:
    async with calling(Answers()) as channel:
        wanted = [b"%d" % n * 5000 for n in range(300)]
        assert await asyncio.gather(*(channel.call(METHOD, each) for each in wanted)) == [w[::-1] for w in wanted]


async def test_a_refusal_has_its_status_and_text() -> None:
    async with calling(Answers()) as channel:
        assert await failure(channel.call(METHOD, b"refuse")) == ("NOT_FOUND", "nö, 100% not here")
        assert (await failure(channel.call("/tests.Channel/Other", b"")))[0] == "UNIMPLEMENTED"
        assert await channel.call(METHOD, b"ab") == b"ba"


async def test_a_call_that_is_cancelled_ends_at_the_server_too() -> None:
    answers = Answers()
    async with calling(answers) as channel:
        task = asyncio.create_task(channel.call(METHOD, b"wait"))
        await asyncio.wait_for(answers.begun.wait(), 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(answers.cancelled.wait(), 20)
        assert await channel.call(METHOD, b"ab") == b"ba"


async def test_a_server_that_is_not_there_is_unavailable_and_may_come_later() -> None:
    answers = Answers()
    async with serving(answers) as (_, port):
        pass
    channel = Channel(f"127.0.0.1:{port}")
    status, text = await failure(channel.call(METHOD, b"ab"))
    assert status == "UNAVAILABLE"
    assert f"cannot connect to 127.0.0.1:{port}" in text
    async with serving(answers, port):
        assert await channel.call(METHOD, b"ab") == b"ba"
    async with serving(answers, port):
        assert await channel.call(METHOD, b"ab") == b"ba", "after the server's restart"
    await channel.close()


async def test_a_server_that_stops_finishes_what_it_began() -> None:
    answers = Answers()
    async with serving(answers) as (server, port):
        channel = Channel(f"127.0.0.1:{port}")
        task = asyncio.create_task(channel.call(METHOD, b"wait"))
        await asyncio.wait_for(answers.begun.wait(), 20)
        stopping = asyncio.create_task(server.stop(20))
        await asyncio.sleep(0.1)
        assert (await failure(channel.call(METHOD, b"ab")))[0] == "UNAVAILABLE"
        answers.go_on.set()
        assert await asyncio.wait_for(task, 20) == b"tiaw"
        await stopping
        await channel.close()


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0\x04\0\0\0\0\0\0\0\x05nonsense"])
async def test_a_connection_that_breaks_fails_its_calls(says: bytes) -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(says)
        writer.close()

    async with await asyncio.start_server(break_off, "127.0.0.1", 0) as server:
        channel = Channel(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        calls = [asyncio.wait_for(failure(channel.call(METHOD, b"ab")), 20) for _ in range(3)]
        assert [status for status, _ in await asyncio.gather(*calls)] == ["UNAVAILABLE"] * 3
        await channel.close()


async def test_a_connection_that_broke_before_its_use_takes_no_call() -> None:
    async with calling(Answers()) as channel:
        await channel.call(METHOD, b"ab")
        link = await channel._connected()
        link.abort()
        with pytest.raises(Unavailable):
            link.call(METHOD, b"ab")
        assert await channel.call(METHOD, b"ab") == b"ba"


async def test_a_call_that_was_refused_before_it_began_is_made_again_on_another_connection() -> None:
    connections = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await reader.read(100)
        settings, refused = b"\0\0\0\x04\0\0\0\0\0", b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x07"
        writer.write(settings + refused)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        channel = Channel(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        status, text = await asyncio.wait_for(failure(channel.call(METHOD, b"ab")), 20)
        await channel.close()
    assert (status, len(connections)) == ("UNAVAILABLE", 2)
    assert "takes no calls" in text


async def test_closing_fails_what_is_asked_afterwards() -> None:
    async with calling(Answers()) as channel:
        await channel.call(METHOD, b"ab")
        await channel.close()
        assert (await failure(channel.call(METHOD, b"ab")))[0] == "CANCELLED"
