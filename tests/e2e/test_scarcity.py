"""What runs out or stands still inside the server itself: room for waiting bytes, batch buffers, decode workers, the
disk under the decision log. Whoever comes meanwhile is told so or waits, and afterwards all is as before."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pressure import PHOTOS, TEXTS, Load, eventually, recovers, serves

from bench.inspection import is_at_rest, metrics, total, triton_of
from bench.processes import descendants, freeze, thaw
from bench.server import Server, serving
from floodgate import AsyncClient
from floodgate.errors import DeadlineExceeded, Overloaded
from floodgate.v1 import moderation_pb2 as pb

pytestmark = pytest.mark.triton


def workers_of(server: Server) -> list[int]:
    """The decode workers of a server; the processes that they are forked from are not among them."""
    decoders = [pid for pid in descendants(server.pid) if Path(f"/proc/{pid}/comm").read_text().strip() == "fg-worker"]
    assert decoders
    return decoders


async def test_full_arena_refuses_with_word_of_a_retry_and_is_empty_again_afterwards() -> None:
    with serving({"FLOODGATE_CORE__ARENA_BYTES": str(1 << 20), "FLOODGATE_CORE__MAX_BATCH": "1"}) as server:
        async with AsyncClient(server.target) as client:
            assert await serves(client)
            pid = triton_of(server)
            freeze(pid)
            try:
                waiting = []
                for _ in range(100):
                    waiting.append(asyncio.ensure_future(client.moderate(image=PHOTOS[0], timeout=60.0)))
                    accepted = len(waiting)
                    await eventually(
                        lambda n=accepted: (
                            total(metrics(server), "floodgate_in_flight_items") == n  # type: ignore[misc]
                            or any(call.done() for call in waiting)
                        ),
                        "a call that is accepted or refused",
                    )
                    if any(call.done() for call in waiting):
                        break
                (refused,) = [call for call in waiting if call.done()]
                error = refused.exception()
                assert isinstance(error, Overloaded)
                assert "no room for" in error.message
                assert error.retry_after_ms > 0
                # What is small still finds room.
                with pytest.raises(DeadlineExceeded):
                    await client.moderate(text=TEXTS[0], budget_ms=3000, timeout=60.0)
            finally:
                thaw(pid)
            answers = [await call for call in waiting if call is not refused]
            assert answers
            assert not any(answer.degraded for answer in answers)
            # Batches that took as long as Triton stood still have the next ones expected to take that long, until some
            # were tried.
            await recovers(client)
            await eventually(lambda: is_at_rest(server), "buffers and arena as at the start")


async def test_few_buffers_slow_the_load_down_and_lose_none_of_it() -> None:
    settings = {"BUFFERS": "2", "CREDIT": "1", "QUARANTINE": "1", "MAX_BATCH": "2"}
    with serving({f"FLOODGATE_CORE__{name}": value for name, value in settings.items()}) as server:
        async with AsyncClient(server.target) as client:
            load = Load(client)
            await load.learn()
            async with load.running(clients=32, deadlines_s=(20.0,)) as tally:
                await eventually(lambda: tally.decisions > 200, "load")
            assert not tally.wrong
            assert not tally.errors
            assert not tally.degraded
            assert tally.answered == tally.sent
            await eventually(lambda: is_at_rest(server), "buffers and arena as at the start")


async def test_stuck_decode_workers_cost_the_parts_that_they_held_and_are_replaced() -> None:
    with serving({"FLOODGATE_MEDIA__HANG_MS": "300"}) as server:
        async with AsyncClient(server.target) as client:
            load = Load(client)
            await load.learn()
            for pid in workers_of(server):
                os.kill(pid, signal.SIGSTOP)
            stuck = await asyncio.gather(*(client.moderate(image=photo, timeout=60.0) for photo in PHOTOS))
            lost = [answer.parts[0] for answer in stuck if answer.parts[0].state != pb.PartStatus.STATE_JUDGED]
            assert lost
            for part in lost:
                assert (part.state, part.reason_code) == (pb.PartStatus.STATE_UNREADABLE, "INVALID_CONTENT")
                assert part.reason == "the decoder hung"
            assert total(metrics(server), "floodgate_decode_worker_losses_total", 'reason="hung"') == len(lost)
            async with load.running(clients=8, deadlines_s=(20.0,)) as tally:
                await eventually(lambda: tally.decisions > 30, "load")
            assert not tally.wrong
            assert not tally.errors
            assert not tally.degraded
            await eventually(lambda: is_at_rest(server), "buffers and arena as at the start")


@contextmanager
def no_file_grows(pid: int, beyond_bytes: int) -> Iterator[None]:
    """A process whose files are as if the disk were full once they have so many bytes."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (beyond_bytes, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


async def test_disk_that_is_full_for_a_while_costs_records_and_no_request() -> None:
    def count(name: str) -> float:
        return total(metrics(server), f"floodgate_decision_log_{name}_total")

    with serving() as server:
        async with AsyncClient(server.target) as client:

            async def ask(times: int) -> list[str]:
                answers = await asyncio.gather(*(client.moderate(text=TEXTS[0], timeout=60.0) for _ in range(times)))
                return [answer.decision_id for answer in answers]

            before = await ask(10)
            await eventually(lambda: count("written") == 10, "ten records")
            # Room for a part of a line more, as a disk leaves it.
            with no_file_grows(server.pid, server.decision_log.stat().st_size + 100):
                meanwhile = await ask(20)
                await eventually(lambda: count("failed") == 20, "every lost record is counted")
            after = await ask(10)
            await eventually(lambda: count("written") == 20, "ten more records")
            kept, torn = [], 0
            for line in server.decision_log.read_text().splitlines():
                try:
                    kept.append(json.loads(line)["decision_id"])
                except json.JSONDecodeError:
                    torn += 1
            assert sorted(kept) == sorted(before + after)
            assert torn == 1
            assert len(meanwhile) == 20
