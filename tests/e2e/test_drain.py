"""How a server ends: what was accepted is answered, the rest refused, and nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pressure import PHOTOS, TEXTS, Load, eventually, is_alive, serves, shared_memory_of, stub_memory_of

from bench.inspection import metrics, total
from bench.processes import descendants, freeze
from bench.report import ROOT
from bench.server import Server, serving
from floodgate import AsyncClient
from floodgate.client import build_request
from floodgate.errors import Unavailable
from floodgate.v1 import moderation_pb2 as pb

pytestmark = pytest.mark.triton

ENOUGH_S = 30.0
"""How long a server may take to end before a test says that it hangs."""


async def ended(server: Server) -> int:
    """The exit status, once the process has ended."""
    await eventually(lambda: server.process.poll() is not None, "the end of the server", ENOUGH_S)
    assert server.process.returncode is not None
    return server.process.returncode


async def test_sigterm_answers_what_was_accepted_and_refuses_the_rest() -> None:
    with serving() as server:
        below, made = descendants(server.pid), stub_memory_of(server)
        assert made
        async with AsyncClient(server.target) as client:
            load = Load(client)
            await load.learn()
            sent: list[str] = []
            answers: list[pb.ModerateResponse] = []
            stopping = asyncio.Event()

            async def items() -> AsyncIterator[pb.ModerateRequest]:
                while not stopping.is_set():
                    request = build_request(image=PHOTOS[len(sent) % 3], request_id=f"item-{len(sent)}", trace=True)
                    sent.append(request.request_id)
                    yield request
                    await asyncio.sleep(0.01)

            async def stream() -> None:
                async for answer in client.stream(items(), timeout=60.0):
                    answers.append(answer)  # noqa: PERF401 (the load looks at it meanwhile)

            streaming = asyncio.ensure_future(stream())
            async with load.running(clients=16, deadlines_s=(10.0,)) as tally:
                await eventually(lambda: tally.decisions > 50 and len(answers) > 5, "load")
                server.process.send_signal(signal.SIGTERM)
                await eventually(lambda: tally.errors.get("Unavailable", 0) > 0, "refused calls")
                stopping.set()
            await streaming
        assert await ended(server) == 0
        assert not tally.wrong
        assert tally.answered == tally.sent
        assert set(tally.errors) == {"Unavailable"}
        assert sorted(answer.request_id for answer in answers) == sorted(sent)
        refused = {answer.error.code for answer in answers if answer.WhichOneof("result") == "error"}
        assert refused <= {14}  # google.rpc.Code.UNAVAILABLE
        await eventually(lambda: not any(map(is_alive, below)), "the end of everything below the server")
        assert not shared_memory_of(server, made)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_server_ends_well_while_triton_is_stopped(number: signal.Signals) -> None:
    with serving({"FLOODGATE_DRAIN_S": "2"}) as server:
        below, made = descendants(server.pid), stub_memory_of(server)
        async with AsyncClient(server.target) as client:
            assert await serves(client)
            for pid in below:
                freeze(pid)
            calls = [asyncio.ensure_future(client.moderate(image=PHOTOS[0], timeout=60.0)) for _ in range(4)]
            calls += [asyncio.ensure_future(client.moderate(text=TEXTS[0], timeout=1.0))]
            await eventually(lambda: total(metrics(server), "floodgate_core_open_tickets") == 5, "accepted calls")
            server.process.send_signal(number)
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(outcome, Exception) for outcome in outcomes)
        assert await ended(server) == 0
        assert not any(map(is_alive, below))
        assert not shared_memory_of(server, made)


async def test_nothing_outlives_a_killed_server_but_what_the_next_start_removes() -> None:
    with serving() as server:
        below, made = descendants(server.pid), stub_memory_of(server)
        async with AsyncClient(server.target) as client:
            assert await serves(client)
        os.kill(server.pid, signal.SIGKILL)
        await eventually(lambda: not any(map(is_alive, below)), "the end of everything below the server")
        server.process.wait()
        with serving() as next_one:
            assert not shared_memory_of(server, made)
            async with AsyncClient(next_one.target) as client:
                assert await serves(client)


async def test_idle_stream_does_not_hold_the_end_up_for_ever() -> None:
    with serving() as server:
        async with AsyncClient(server.target) as client:
            asked = asyncio.Event()

            async def one_item() -> AsyncIterator[pb.ModerateRequest]:
                yield build_request(text=TEXTS[0], request_id="only")
                await asked.wait()

            answers = aiter(client.stream(one_item(), timeout=60.0))
            assert (await anext(answers)).request_id == "only"
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises((Unavailable, StopAsyncIteration)):
                await anext(answers)
            asked.set()
        assert await ended(server) == 0


async def test_sigterm_during_the_start_ends_it_with_status_0() -> None:
    """Models take their time to load, and an operator who has thought better of it does not."""
    environment = {**os.environ, "FLOODGATE_ADDRESS": "127.0.0.1:0", "FLOODGATE_METRICS_ADDRESS": ""}
    environment["FLOODGATE_DECISION_LOG"] = os.devnull
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("floodgate")),
        "serve",
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    while b"starting" not in (line := await process.stdout.readline()):
        assert line, "the server ended before it started Triton"
    process.send_signal(signal.SIGTERM)
    said, _ = await asyncio.wait_for(process.communicate(), ENOUGH_S)
    assert process.returncode == 0
    assert b"serving" not in said
