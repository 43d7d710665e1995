"""Deadlines and cancelled calls: an answer at its time with what there is, and no work for nobody."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pressure import PHOTOS, TEXTS, eventually, recovers, serves
from unruly_heads import UnrulyHead, repository_in

from bench.inspection import is_at_rest, metrics, total, triton_of
from bench.processes import freeze, thaw
from bench.server import serving
from floodgate import AsyncClient
from floodgate.errors import DeadlineExceeded
from floodgate.v1 import moderation_pb2 as pb

pytestmark = pytest.mark.triton


async def test_budget_ends_while_triton_is_stopped() -> None:
    with serving({"FLOODGATE_CORE__BUFFERS": "64", "FLOODGATE_CORE__QUARANTINE": "63"}) as server:
        async with AsyncClient(server.target) as client:
            assert await serves(client)
            pid = triton_of(server)
            freeze(pid)
            try:
                for call in range(10):
                    content = {"image": PHOTOS[call % 3]} if call % 2 else {"text": TEXTS[call % 3]}
                    with pytest.raises(DeadlineExceeded, match="nothing was scored"):
                        await client.moderate(**content, budget_ms=50, timeout=10.0)
            finally:
                thaw(pid)
            ended = 'code="DEADLINE_EXCEEDED"'
            assert total(metrics(server), "floodgate_requests_total", 'rpc="Moderate"', ended) == 10
            await recovers(client)
            await eventually(lambda: is_at_rest(server), "buffers and arena as at the start")


async def test_part_answered_in_time_makes_a_degraded_decision(tmp_path: Path) -> None:
    repository = repository_in(tmp_path)
    head = UnrulyHead(repository, "nsfw", "sexual.explicit")
    with serving({"FLOODGATE_MODEL_REPOSITORY": str(repository)}) as server:
        async with AsyncClient(server.target) as client:
            for _ in range(5):  # the first batch of a server that has just started may be slow, and admission learns
                whole = await client.moderate(image=PHOTOS[0], text=TEXTS[0], trace=True, timeout=60.0)
                assert not whole.degraded
            head.order = "slow"
            decision = await client.moderate(image=PHOTOS[0], text=TEXTS[0], trace=True, budget_ms=500, timeout=60.0)
            (degradation,) = decision.degraded
            assert degradation.kind == pb.Degradation.KIND_DEADLINE
            assert list(degradation.missing) == ["0/nsfw"]
            picture, text = decision.parts
            assert (picture.state, picture.reason_code) == (pb.PartStatus.STATE_SKIPPED, "DEADLINE")
            assert text.state == pb.PartStatus.STATE_JUDGED
            assert [score.score for score in decision.scores] == [whole.scores[1].score]
            # Nobody looked at the picture, so it is not let through as if somebody had.
            assert decision.review.hold
            head.order = "ok"
            await recovers(client)
            await eventually(lambda: is_at_rest(server), "buffers and arena as at the start")


async def test_cancelled_calls_that_had_not_begun_are_never_run() -> None:
    with serving({"FLOODGATE_CORE__CREDIT": "1", "FLOODGATE_CORE__MAX_BATCH": "1"}) as server:
        async with AsyncClient(server.target) as client:
            assert await serves(client)
            await eventually(lambda: is_at_rest(server), "a server at rest")
            before = metrics(server)

            def grown(name: str) -> float:
                return total(metrics(server), name) - total(before, name)

            pid = triton_of(server)
            freeze(pid)
            try:
                calls = [asyncio.ensure_future(client.moderate(image=PHOTOS[0], timeout=60.0)) for _ in range(8)]
                await eventually(lambda: grown("floodgate_core_tickets_total") == 8, "eight calls accepted")
                # One row is at Triton, one waits in the filling buffer, six have not been decoded.
                await eventually(lambda: grown("floodgate_core_pictures_decoded_total") == 2, "two pictures decoded")
                for call in calls:
                    call.cancel()
                await asyncio.wait(calls)
                await eventually(lambda: total(metrics(server), "floodgate_in_flight_items") == 0, "cancelled calls")
            finally:
                thaw(pid)
            await eventually(lambda: is_at_rest(server), "buffers and arena as at the start")
            assert grown("floodgate_core_cancelled_in_flight_total") == 1
            # A cancelled row leaves room for the next to be decoded, if that is not cancelled by then.
            begun_or_not = ("cancelled_before_decode", "cancelled_before_batch")
            assert sum(grown(f"floodgate_core_{name}_total") for name in begun_or_not) == 7
            assert grown("floodgate_core_rows_batched_total") == 1
            assert await serves(client)
