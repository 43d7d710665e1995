"""Several processes take requests, one schedules them: the same answers, whatever becomes of any of them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack

import grpc
import pytest
from calls import MODERATE, UNLIMITED
from pressure import PHOTOS, TEXTS, Load, eventually, is_alive, scores_of, shared_memory_of

from bench.inspection import is_at_rest, metrics, total
from bench.processes import command, descendants, freeze, program
from bench.report import ROOT
from bench.server import Server, serving
from floodgate import AsyncClient
from floodgate.client import build_request
from floodgate.errors import Unavailable
from floodgate.v1 import moderation_pb2 as pb

pytestmark = pytest.mark.triton

TWO = {"FLOODGATE_ACCEPTORS": "2", "FLOODGATE_PRECISION": "f32"}
ENOUGH_S = 40.0


@pytest.fixture(scope="module")
def pair() -> Iterator[Server]:
    with serving(TWO) as server:
        yield server


def acceptors_of(server: Server) -> list[int]:
    """The process ids of a server's acceptors."""
    return [pid for pid in descendants(server.pid) if "floodgate.acceptor" in command(pid)]


def taken(server: Server, acceptor: int) -> float:
    """Parts that the scheduler has from one acceptor."""
    return total(metrics(server), "floodgate_acceptor_parts_total", f'acceptor="{acceptor}"')


async def channel_to(server: Server, acceptor: int, stack: AsyncExitStack) -> grpc.aio.Channel:
    """A connection that the kernel gave to one acceptor, found by trying."""
    raw = build_request(text=TEXTS[0]).SerializeToString()
    for _ in range(50):
        options = [*UNLIMITED, ("grpc.use_local_subchannel_pool", 1)]
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.target, options=options))
        before = taken(server, acceptor)
        await channel.unary_unary(MODERATE)(raw, timeout=20, wait_for_ready=True)
        if taken(server, acceptor) > before:
            return channel
    raise AssertionError("every connection went to the same acceptor")


async def test_verdicts_are_those_of_one_process(server: Server, pair: Server) -> None:
    truncated = (ROOT / "examples" / "truncated.jpg").read_bytes()
    requests = [
        *(build_request(image=photo, text=text, trace=True) for photo, text in zip(PHOTOS, TEXTS, strict=True)),
        build_request(image=truncated, trace=True),
        build_request(image=b"no picture", trace=True),
        build_request(text=TEXTS[1] * 40, trace=True),
    ]
    digests = {}
    async with AsyncClient(server.target) as alone, AsyncClient(pair.target) as shared:
        for request in requests:
            one, other = [await client.send(request, timeout=60.0) for client in (alone, shared)]
            contents = [part.image.data or part.text.text.encode() for part in request.parts]
            digests[other.decision_id] = [hashlib.sha256(content).hexdigest() for content in contents]
            for decision in (one, other):
                decision.ClearField("timings")
                decision.ClearField("decision_id")
                decision.handling.ClearField("decided_at")
            assert other == one
    await eventually(lambda: len(pair.decision_log.read_text().splitlines()) >= len(requests), "the records")
    records = [json.loads(line) for line in pair.decision_log.read_text().splitlines()]
    found = {record["decision_id"]: [part["sha256"] for part in record["parts"]] for record in records}
    assert {each: found[each] for each in digests} == digests


async def test_both_take_requests_and_are_counted_as_one(pair: Server) -> None:
    async with AsyncExitStack() as stack:
        channels = [await channel_to(pair, acceptor, stack) for acceptor in (0, 1)]
        before = metrics(pair)
        raw = build_request(image=PHOTOS[0]).SerializeToString()
        for channel in channels:
            for _ in range(5):
                await channel.unary_unary(MODERATE)(raw, timeout=20)
        after = metrics(pair)
        for name in ("floodgate_requests_total", "floodgate_core_done_total", "floodgate_decisions_total"):
            assert total(after, name) - total(before, name) == 10
        for acceptor in (0, 1):
            labels = f'acceptor="{acceptor}"'
            assert total(after, "floodgate_acceptor_parts_total", labels) == 5 + total(
                before, "floodgate_acceptor_parts_total", labels
            )
    await eventually(lambda: is_at_rest(pair), "rest")


async def test_live_of_one_acceptor_goes_before_bulk_of_the_other() -> None:
    with serving({**TWO, "FLOODGATE_CORE__DECODE_WORKERS": "1"}) as server:
        async with AsyncExitStack() as stack:
            one = await channel_to(server, 0, stack)
            other = await channel_to(server, 1, stack)
            bulk = build_request(image=PHOTOS[0], lane="BULK").SerializeToString()
            live = build_request(image=PHOTOS[0], lane="LIVE").SerializeToString()
            ended: list[float] = []

            async def wait_for(call: grpc.aio.UnaryUnaryCall) -> None:
                await call
                ended.append(time.monotonic())

            calls = [asyncio.ensure_future(wait_for(one.unary_unary(MODERATE)(bulk, timeout=60))) for _ in range(100)]
            await eventually(lambda: taken(server, 0) >= 60, "a queue")
            answered_before = len(ended)
            await other.unary_unary(MODERATE)(live, timeout=60)
            waiting = len(calls) - len(ended)
            await asyncio.gather(*calls)
            # It has overtaken nearly all that was queued before it, in another process.
            assert waiting > (len(calls) - answered_before) / 2
        await eventually(lambda: is_at_rest(server), "rest")


async def test_an_acceptor_that_is_killed_takes_its_own_calls_with_it_and_comes_back() -> None:
    with serving(TWO) as server:
        async with AsyncExitStack() as stack:
            doomed = await channel_to(server, 0, stack)
            spared = await channel_to(server, 1, stack)
            requests = [build_request(image=photo, trace=True).SerializeToString() for photo in PHOTOS]
            outcomes: dict[str, list[str]] = {"doomed": [], "spared": []}
            stopping = asyncio.Event()

            async def caller(name: str, channel: grpc.aio.Channel, turn: int) -> None:
                while not stopping.is_set():
                    try:
                        raw = await channel.unary_unary(MODERATE)(requests[turn % 3], timeout=30)
                        outcome = "OK" if not pb.ModerateResponse.FromString(raw).decision.degraded else "degraded"
                    except grpc.RpcError as error:
                        outcome = error.code().name
                        await asyncio.sleep(0.05)
                    outcomes[name].append(outcome)
                    turn += 1

            async with asyncio.TaskGroup() as group:
                for turn in range(6):
                    group.create_task(caller("doomed", doomed, turn))
                    group.create_task(caller("spared", spared, turn))
                await eventually(lambda: min(map(len, outcomes.values())) > 12, "load")
                # Which process it is shows from what becomes of the connections.
                victim = pid_behind(server, 0)
                os.kill(victim, signal.SIGKILL)
                await eventually(
                    lambda: (
                        total(metrics(server), "floodgate_acceptor_up", 'acceptor="0"') == 0
                        or total(metrics(server), "floodgate_acceptor_restarts_total") == 1
                    ),
                    "the loss to be noticed",
                )
                await eventually(
                    lambda: total(metrics(server), "floodgate_acceptor_up") == 2, "the acceptor to be back", ENOUGH_S
                )
                seen = len(outcomes["doomed"])
                await eventually(lambda: outcomes["doomed"][seen:].count("OK") > 6, "its callers to be served again")
                stopping.set()
            assert set(outcomes["spared"]) == {"OK"}
            assert set(outcomes["doomed"]) == {"OK", "UNAVAILABLE"}
            assert total(metrics(server), "floodgate_acceptor_restarts_total") == 1
        await eventually(lambda: is_at_rest(server), "rest")


def pid_behind(server: Server, acceptor: int) -> int:
    """The process of an acceptor by its number. They are started in order, and ids grow."""
    return sorted(acceptors_of(server))[acceptor]


async def test_an_acceptor_that_stands_still_takes_nothing_from_the_other_and_is_replaced() -> None:
    with serving(TWO) as server:
        async with AsyncExitStack() as stack:
            standing = await channel_to(server, 0, stack)
            moving = await channel_to(server, 1, stack)
            raw = build_request(image=PHOTOS[0]).SerializeToString()
            freeze(pid_behind(server, 0))
            stuck = asyncio.ensure_future(standing.unary_unary(MODERATE)(raw, timeout=120))
            for _ in range(10):
                await moving.unary_unary(MODERATE)(raw, timeout=20)
            await eventually(
                lambda: total(metrics(server), "floodgate_acceptor_restarts_total") == 1, "its replacement", 90.0
            )
            with pytest.raises(grpc.RpcError) as failure:
                await stuck
            assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
            await standing.unary_unary(MODERATE)(raw, timeout=60, wait_for_ready=True)
        await eventually(lambda: is_at_rest(server), "rest")


async def test_sigterm_drains_every_acceptor() -> None:
    with serving(TWO) as server:
        below = descendants(server.pid)
        async with AsyncClient(server.target) as client, AsyncClient(server.target) as second:
            load, more = Load(client), Load(second)
            await load.learn()
            await more.learn()
            async with (
                load.running(clients=8, deadlines_s=(10.0,)) as tally,
                more.running(clients=8, deadlines_s=(10.0,)) as other,
            ):
                await eventually(lambda: tally.decisions > 25 and other.decisions > 25, "load")
                server.process.send_signal(signal.SIGTERM)
                await eventually(lambda: "Unavailable" in tally.errors and "Unavailable" in other.errors, "refusals")
        await eventually(lambda: server.process.poll() is not None, "the end of the server", ENOUGH_S)
        assert server.process.returncode == 0
        for each in (tally, other):
            assert not each.wrong
            assert each.answered == each.sent
            assert set(each.errors) == {"Unavailable"}
        assert len(server.decision_log.read_text().splitlines()) == (
            tally.decisions + other.decisions + len(load.tally.wrong) + 2 * len(PHOTOS)
        )
        await eventually(lambda: not any(map(is_alive, below)), "the end of everything below the server")
        assert not shared_memory_of(server)


async def test_acceptors_end_with_a_killed_server_and_answer_what_they_hold() -> None:
    with serving(TWO) as server:
        below = acceptors_of(server)
        assert len(below) == 2
        (triton,) = [pid for pid in descendants(server.pid) if program(pid).endswith("tritonserver")]
        async with AsyncClient(server.target) as client:
            await client.moderate(image=PHOTOS[0], timeout=20.0)
            freeze(triton)
            calls = [asyncio.ensure_future(client.moderate(image=PHOTOS[0], timeout=60.0)) for _ in range(4)]
            await eventually(lambda: total(metrics(server), "floodgate_core_open_tickets") == 4, "accepted calls")
            os.kill(server.pid, signal.SIGKILL)
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Unavailable] * 4
        await eventually(lambda: not any(map(is_alive, below)), "the end of the acceptors")
        server.process.wait()


async def test_sighup_reaches_every_acceptor_and_those_that_come_later(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("policies")
    policy = folder / "policy.yaml"
    text = (ROOT / "policies" / "default.yaml").read_text(encoding="utf-8")
    policy.write_text(text, encoding="utf-8")
    revision = next(line for line in text.splitlines() if line.startswith("revision:")).split()[1].strip("\"'")
    with serving({**TWO, "FLOODGATE_POLICY": str(policy)}) as server:
        async with AsyncExitStack() as stack:
            channels = [await channel_to(server, acceptor, stack) for acceptor in (0, 1)]
            raw = build_request(text=TEXTS[0]).SerializeToString()

            async def revisions() -> set[str]:
                answers = [await channel.unary_unary(MODERATE)(raw, timeout=20) for channel in channels]
                return {pb.ModerateResponse.FromString(answer).decision.policy.revision for answer in answers}

            assert await revisions() == {revision}
            policy.write_text(text.replace(revision, "next-one"), encoding="utf-8")
            server.process.send_signal(signal.SIGHUP)
            await eventually(
                lambda: total(metrics(server), "floodgate_policy_reloads_total", 'outcome="taken"') == 1, "the reload"
            )
            assert await revisions() == {"next-one"}
            # What was not reloaded is not read by an acceptor that starts meanwhile either.
            policy.write_text(text.replace(revision, "unread"), encoding="utf-8")
            os.kill(pid_behind(server, 0), signal.SIGKILL)
            await eventually(
                lambda: (
                    total(metrics(server), "floodgate_acceptor_restarts_total") == 1
                    and total(metrics(server), "floodgate_acceptor_up") == 2
                ),
                "the acceptor to be back",
                ENOUGH_S,
            )
            channels.append(await channel_to(server, 0, stack))
            del channels[0]
            assert await revisions() == {"next-one"}


def test_a_port_that_is_taken_is_refused(pair: Server) -> None:
    with pytest.raises(RuntimeError, match="did not start"), serving({**TWO, "FLOODGATE_ADDRESS": pair.target}):
        pass


def test_scores_are_there(pair: Server) -> None:
    """Comparisons of nothing would prove nothing."""
    with grpc.insecure_channel(pair.target) as channel:
        raw = build_request(image=PHOTOS[0], trace=True).SerializeToString()
        answer = pb.ModerateResponse.FromString(channel.unary_unary(MODERATE)(raw, timeout=20))
    assert scores_of(answer.decision)
