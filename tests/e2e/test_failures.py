"""What callers see when Triton, a head or the disk fails: no wrong score, nothing lost, and service back by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from pressure import PHOTOS, SERVES_WITHIN_S, TEXTS, Load, eventually, recovers, scores_of, serves
from unruly_heads import UnrulyHead, repository_in

from bench.inspection import command_of, is_at_rest, metrics, stubs_of, total, triton_of
from bench.processes import descendants, freeze, thaw
from bench.report import ROOT
from bench.server import serving
from floodgate import AsyncClient
from floodgate.errors import DeadlineExceeded, Unavailable
from floodgate.v1 import moderation_pb2 as pb

pytestmark = pytest.mark.triton

FROZEN_S = 10.0


async def test_killed_triton_costs_no_wrong_score_and_comes_back_by_itself() -> None:
    with serving() as server:
        async with AsyncClient(server.target) as client:
            load = Load(client)
            await load.learn()
            pid = triton_of(server)
            async with load.running(clients=16, deadlines_s=(2.0, 5.0)) as tally:
                await eventually(lambda: tally.decisions > 50, "load")
                os.kill(pid, signal.SIGKILL)
                await eventually(lambda: sum(tally.errors.values()) > 0, "calls that notice")
                await recovers(client)
            assert triton_of(server) != pid
            assert not tally.wrong
            assert tally.answered == tally.sent
            assert set(tally.errors) == {"Unavailable"}
            assert tally.late_s < 0
            await eventually(lambda: is_at_rest(server), "buffers and arena as at the start")


@pytest.mark.parametrize("memory", ["shm", "inline"])
async def test_stopped_triton_loses_nothing_and_leaks_no_buffer(memory: str) -> None:
    with serving({"FLOODGATE_TRITON__MEMORY": memory}) as server:
        async with AsyncClient(server.target) as client:
            load = Load(client)
            await load.learn()
            pid = triton_of(server)
            async with load.running(clients=16, deadlines_s=(0.05, 0.5, 5.0)) as tally:
                await eventually(lambda: tally.decisions > 50, "load")
                frozen_at = time.monotonic()
                freeze(pid)
                frozen_until = frozen_at + FROZEN_S
                try:
                    quarantined = "floodgate_core_batches_quarantined_total"
                    await eventually(lambda: total(metrics(server), quarantined) > 0, "a quarantined batch")
                    await eventually(lambda: time.monotonic() >= frozen_until, "the time to be over")
                finally:
                    thaw(pid)
                await recovers(client)
                recovered_at = time.monotonic()
                decided = tally.decisions
                await eventually(lambda: tally.decisions > decided + 50, "decisions as before")
            assert triton_of(server) == pid
            assert not tally.wrong
            assert tally.answered == tally.sent
            assert set(tally.errors) <= {"Unavailable", "DeadlineExceeded", "Overloaded"}
            # Less cannot always be promised behind 15 others. What it took to see that it serves again can, unless
            # Triton stands still, or has just taken seconds for a batch.
            assert not tally.overloaded(except_between=(frozen_at, recovered_at), had_s=SERVES_WITHIN_S)
            await eventually(lambda: is_at_rest(server), "buffers and arena as at the start")


async def test_at_the_quarantine_cap_callers_are_refused_at_once_until_triton_goes_on() -> None:
    with serving({"FLOODGATE_CORE__QUARANTINE": "1"}) as server:
        async with AsyncClient(server.target) as client:
            assert await serves(client)
            pid = triton_of(server)
            freeze(pid)
            try:
                # A budget that passes before the photo is decoded reaches no batch: a machine may be that slow.
                with pytest.raises(DeadlineExceeded):
                    await client.moderate(image=PHOTOS[0], budget_ms=1000, timeout=20.0)
                held = 'state="quarantined"'
                await eventually(lambda: total(metrics(server), "floodgate_core_buffers", held) == 1, "the cap")
                # The budget is so long that an answer within the test's patience is one that did not wait for it.
                with pytest.raises(Unavailable):
                    await asyncio.wait_for(client.moderate(image=PHOTOS[0], budget_ms=3_600_000), 20.0)
                # Only the picture heads hold buffers back, so a text is still taken.
                with pytest.raises(DeadlineExceeded):
                    await client.moderate(text=TEXTS[0], budget_ms=50, timeout=10.0)
            finally:
                thaw(pid)
            await recovers(client)
            assert triton_of(server) == pid
            await eventually(lambda: is_at_rest(server), "buffers and arena as at the start")


async def test_pause_of_the_whole_machine_is_not_held_against_triton() -> None:
    """As when a virtual machine is suspended or moved: everything stands still for longer than Triton may be silent."""
    with serving({"FLOODGATE_TRITON__LIVENESS_S": "3"}) as server:
        async with AsyncClient(server.target) as client:
            assert await serves(client)
            pid = triton_of(server)
            freeze(pid)
            try:
                under_way = asyncio.create_task(client.moderate(image=PHOTOS[0], budget_ms=60_000, timeout=60.0))
                held = 'state="in_flight"'
                await eventually(
                    lambda: total(metrics(server), "floodgate_core_buffers", held) > 0, "a batch under way"
                )
                freeze(server.pid)
                try:
                    await asyncio.sleep(FROZEN_S)
                finally:
                    thaw(server.pid)
            finally:
                thaw(pid)
            assert (await under_way).action
            assert triton_of(server) == pid
            assert total(metrics(server), "floodgate_triton_restarts_total") == 0
            await eventually(lambda: is_at_rest(server), "buffers and arena as at the start")


async def test_server_that_lives_but_never_answers_is_replaced(tmp_path: Path) -> None:
    repository = repository_in(tmp_path)
    head = UnrulyHead(repository, "unruly", "sexual.nudity.belly_covered")
    settings = {
        "FLOODGATE_MODEL_REPOSITORY": str(repository),
        "FLOODGATE_HEADS": "nsfw,toxicity,unruly",
        "FLOODGATE_TRITON__LIVENESS_S": "2",
    }
    with serving(settings) as server:
        async with AsyncClient(server.target) as client:
            assert await serves(client)
            pid = triton_of(server)
            head.order = "stuck"
            with pytest.raises(DeadlineExceeded):
                await client.moderate(image=PHOTOS[0], budget_ms=200, timeout=10.0)
            head.order = "ok"
            await recovers(client, patience_s=30.0)
            assert triton_of(server) != pid
            await eventually(lambda: is_at_rest(server), "buffers and arena as at the start")


async def test_failing_head_costs_its_own_scores_only(tmp_path: Path) -> None:
    repository = repository_in(tmp_path)
    head = UnrulyHead(repository, "unruly", "sexual.nudity.belly_covered")
    settings = {"FLOODGATE_MODEL_REPOSITORY": str(repository), "FLOODGATE_HEADS": "nsfw,toxicity,unruly"}
    with serving(settings) as server:
        async with AsyncClient(server.target) as client:
            alone = await client.moderate(image=PHOTOS[0], trace=True, timeout=60.0)
            assert set(scores_of(alone)) == {("0", "nsfw"), ("0", "unruly")}
            for order in ("raise", "nan", "shape"):
                head.order = order
                for _ in range(3):
                    decision = await client.moderate(image=PHOTOS[0], trace=True, timeout=60.0)
                    (degradation,) = decision.degraded
                    assert degradation.kind == pb.Degradation.KIND_HEAD_MISSING, order
                    assert list(degradation.missing) == ["0/unruly"]
                    assert scores_of(decision) == {("0", "nsfw"): scores_of(alone)["0", "nsfw"]}
                opened = total(metrics(server), "floodgate_head_breaker_open", 'head="unruly"')
                # A score that is no number is the row's affair; anything else is the head's.
                assert opened == (order != "nan")
                head.order = "ok"
                await recovers(client)
                again = await client.moderate(image=PHOTOS[0], trace=True, timeout=60.0)
                assert scores_of(again) == scores_of(alone)
                assert total(metrics(server), "floodgate_head_breaker_open", 'head="unruly"') == 0


async def test_no_head_that_answers_is_unavailable_and_never_a_clean_bill(tmp_path: Path) -> None:
    repository = repository_in(tmp_path)
    heads = [UnrulyHead(repository, "nsfw", "sexual.explicit")]
    heads += [UnrulyHead(repository, "unruly", "sexual.nudity.belly_covered")]
    settings = {"FLOODGATE_MODEL_REPOSITORY": str(repository), "FLOODGATE_HEADS": "nsfw,toxicity,unruly"}
    with serving(settings) as server:
        async with AsyncClient(server.target) as client:
            for head in heads:
                head.order = "raise"
            for _ in range(3):
                with pytest.raises(Unavailable, match="no classifier answered"):
                    await client.moderate(image=PHOTOS[0], timeout=60.0)
            # The text's head is well: a decision, and the picture's part says that nobody scored it.
            decision = await client.moderate(image=PHOTOS[0], text=TEXTS[0], timeout=60.0)
            assert [part.state for part in decision.parts] == [
                pb.PartStatus.STATE_SKIPPED,
                pb.PartStatus.STATE_JUDGED,
            ]
            assert decision.degraded[0].kind == pb.Degradation.KIND_HEAD_MISSING
            for head in heads:
                head.order = "ok"
            await recovers(client)


async def test_killed_model_process_is_replaced_while_the_others_answer() -> None:
    with serving() as server:
        async with AsyncClient(server.target) as client:
            load = Load(client)
            await load.learn()
            pid = triton_of(server)
            (stub,) = stubs_of(server.pid, "nsfw")
            async with load.running(clients=8, deadlines_s=(5.0,)) as tally:
                await eventually(lambda: tally.decisions > 20, "load")
                os.kill(stub, signal.SIGKILL)
                await eventually(lambda: tally.degraded > 0, "a degraded decision")
                await recovers(client)
            assert not tally.wrong
            assert not tally.errors
            assert triton_of(server) == pid
            # One, and another: on a machine that is slow it may have been replaced twice.
            await eventually(lambda: len(stubs_of(server.pid, "nsfw")) == 1, "one model process")
            assert stub not in stubs_of(server.pid, "nsfw")
            await eventually(lambda: is_at_rest(server), "buffers and arena as at the start")


async def test_full_disk_under_the_decision_log_costs_no_request(tmp_path: Path) -> None:
    log = tmp_path / "decisions.jsonl"
    log.symlink_to("/dev/full")
    with serving({"FLOODGATE_DECISION_LOG": str(log)}) as server:
        async with AsyncClient(server.target) as client:
            decisions = await asyncio.gather(*(client.moderate(text=text, timeout=60.0) for text in TEXTS * 10))
            assert len(decisions) == 30
            failed = "floodgate_decision_log_failed_total"
            await eventually(lambda: total(metrics(server), failed) == 30, "every lost record is counted")


@pytest.mark.parametrize("order", ["refuse", "hang"])
async def test_head_that_does_not_start_keeps_nobody_waiting(tmp_path: Path, order: str) -> None:
    """One that fails is named and ends the start; one that hangs does not keep the start from being stopped."""
    repository = repository_in(tmp_path)
    UnrulyHead(repository, "unruly", "sexual.nudity.belly_covered").order = order
    environment = {
        **os.environ,
        "FLOODGATE_ADDRESS": "127.0.0.1:0",
        "FLOODGATE_METRICS_ADDRESS": "",
        "FLOODGATE_DECISION_LOG": os.devnull,
        "FLOODGATE_MODEL_REPOSITORY": str(repository),
        "FLOODGATE_HEADS": "nsfw,toxicity,unruly",
    }
    command = (str(Path(sys.executable).with_name("floodgate")), "serve")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe)
    if order == "hang":
        await eventually(lambda: any("/unruly/" in command_of(pid) for pid in descendants(process.pid)), "its process")
        process.send_signal(signal.SIGTERM)
    said, complained = await asyncio.wait_for(process.communicate(), 60.0)
    assert process.returncode == (0 if order == "hang" else 1)
    assert b"serving" not in said
    assert b"Traceback" not in complained
    if order == "refuse":
        assert b"unruly" in complained
        assert b"told not to start" in complained
