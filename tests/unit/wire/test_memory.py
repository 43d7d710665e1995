"""While a request waits, nothing on the Python side holds its media: only the core's arena may."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from floodgate.client import build_request
from floodgate.config import Caller, Limits
from floodgate.errors import Unavailable
from floodgate.types import Decision, Item
from floodgate.v1 import moderation_pb2 as pb
from floodgate.wire.admission import InFlight
from floodgate.wire.metrics import Metrics
from floodgate.wire.server import DoorServer
from floodgate.wire.service import ModerationService, ServiceOptions

CALLS = 8
IMAGE_BYTES = 2 << 20
METHOD = "/floodgate.v1.Moderation/Moderate"


class Waiting:
    """A judge that takes each item as the pipeline does, lets go of its contents, and then waits."""

    def __init__(self) -> None:
        self.digests: list[str] = []
        self.all_here = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, item: Item, arrival_ns: int, deadline_ns: int) -> Decision:
        for part in item.parts:
            part.content.release()
            self.digests.append(part.content.sha256)
        if len(self.digests) == CALLS:
            self.all_here.set()
        await self.go_on.wait()
        raise Unavailable("enough waited")


@asynccontextmanager
async def served(judge: Waiting) -> AsyncIterator[grpc.aio.Channel]:
    in_flight = InFlight(100, 1 << 30)
    options = ServiceOptions(Limits(), Caller(), answer_margin_ns=0, default_budget_ns=60_000_000_000)
    service = ModerationService(judge, in_flight, Metrics(), options)
    door = DoorServer(service, in_flight, address="127.0.0.1:0", message_bytes=Limits().message_bytes)
    await door.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{door.port}") as channel:
            yield channel
    finally:
        judge.go_on.set()
        await door.drain(10.0)


def traced_bytes() -> int:
    return tracemalloc.get_traced_memory()[0]


async def ask_by_calls(channel: grpc.aio.Channel, raws: list[bytes]) -> None:
    await asyncio.gather(*(channel.unary_unary(METHOD)(raw) for raw in raws), return_exceptions=True)


async def ask_by_stream(channel: grpc.aio.Channel, raws: list[bytes]) -> None:
    async for raw in channel.stream_stream(METHOD + "Stream")(iter(raws)):
        assert pb.ModerateResponse.FromString(raw).HasField("error")


@pytest.mark.parametrize("ask", [ask_by_calls, ask_by_stream])
async def test_what_waits_is_held_by_nobody(ask: object) -> None:
    judge = Waiting()
    # The caller lives in this process too: its messages are made before anything is measured, and share one picture.
    messages = [build_request(image=bytes(IMAGE_BYTES), request_id=str(n), content_id="c") for n in range(CALLS)]
    raws = [message.SerializeToString() for message in messages]
    async with served(judge) as channel:
        tracemalloc.start()
        try:
            before = traced_bytes()
            asking = asyncio.create_task(ask(channel, raws))  # type: ignore[operator]
            await asyncio.wait_for(judge.all_here.wait(), 30)
            held = traced_bytes() - before
        finally:
            tracemalloc.stop()
        judge.go_on.set()
        await asking
    assert len(set(judge.digests)) == 1
    assert held < IMAGE_BYTES / 2, f"{held} bytes are held for {CALLS} pictures of {IMAGE_BYTES} bytes"


async def test_a_call_that_ends_without_a_message_is_told_so() -> None:
    async with served(Waiting()) as channel:
        call = channel.stream_unary(METHOD)(iter(()))
        with pytest.raises(grpc.aio.AioRpcError, match="without a request"):
            await call
