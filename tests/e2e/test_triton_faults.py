"""What somebody does to the running Triton behind the server's back, and what its own machine refuses it: each costs
what it must and nothing else, and is over by itself."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from functools import partial
from pathlib import Path

import pytest
from pressure import PHOTOS, Load, Tally, eventually, recovers, scores_of
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException
from unruly_heads import UnrulyHead, repository_in

from bench.inspection import is_at_rest, metrics, total, triton_address, triton_of
from bench.server import serving
from floodgate import AsyncClient
from floodgate.v1 import moderation_pb2 as pb

pytestmark = pytest.mark.triton

PATIENT_S = 10.0


async def ensembles_of(triton: InferenceServerClient) -> list[str]:
    """The names of the ensembles that a Triton serves now."""
    index = await triton.get_model_repository_index()
    return sorted(model.name for model in index.models if "@" in model.name and model.state == "READY")


def _has_decided(tally: Tally, times: int) -> bool:
    return tally.decisions >= times


async def test_memory_that_triton_forgets_under_load_is_told_to_it_again() -> None:
    with serving({"FLOODGATE_TRITON__MEMORY": "shm"}) as server:
        async with AsyncClient(server.target) as client, InferenceServerClient(triton_address(server)) as triton:
            load = Load(client)
            await load.learn()
            pid = triton_of(server)
            async with load.running(clients=8, deadlines_s=(PATIENT_S,)) as tally:
                for _ in range(3):
                    enough = tally.decisions + 40
                    # Regions that are being read are kept and say so; all others are gone.
                    with contextlib.suppress(InferenceServerException):
                        await triton.unregister_system_shared_memory()
                    await eventually(partial(_has_decided, tally, enough), "decisions after the memory was refused")
            assert not tally.wrong
            assert not tally.errors
            assert not tally.degraded
            assert tally.answered == tally.sent
            assert triton_of(server) == pid
            assert total(metrics(server), "floodgate_head_breaker_open") == 0
            await eventually(lambda: is_at_rest(server), "buffers and arena as at the start")


async def test_head_unloaded_under_load_is_loaded_again_while_the_others_answer() -> None:
    with serving() as server:
        async with AsyncClient(server.target) as client, InferenceServerClient(triton_address(server)) as triton:
            load = Load(client)
            await load.learn()
            async with load.running(clients=8, deadlines_s=(PATIENT_S,)) as tally:
                await eventually(lambda: tally.decisions > 20, "load")
                await triton.unload_model("nsfw")
                await eventually(lambda: tally.degraded > 0, "a decision without the head")
                await recovers(client)
            assert not tally.wrong
            assert not tally.errors
            assert tally.answered == tally.sent
            await eventually(lambda: is_at_rest(server), "buffers and arena as at the start")


async def test_ensemble_unloaded_under_load_costs_nothing_and_is_loaded_again() -> None:
    with serving() as server:
        async with AsyncClient(server.target) as client, InferenceServerClient(triton_address(server)) as triton:
            load = Load(client)
            await load.learn()
            ensembles = await ensembles_of(triton)
            async with load.running(clients=8, deadlines_s=(PATIENT_S,)) as tally:
                await eventually(lambda: tally.decisions > 20, "load")
                for name in ensembles:
                    await triton.unload_model(name)
                async with asyncio.timeout(PATIENT_S):
                    while await ensembles_of(triton) != ensembles:  # noqa: ASYNC110 (it lies in another process)
                        await asyncio.sleep(0.05)
            assert not tally.wrong
            assert not tally.errors
            assert not tally.degraded
            assert tally.answered == tally.sent
            assert total(metrics(server), "floodgate_head_breaker_open") == 0
            await eventually(lambda: is_at_rest(server), "buffers and arena as at the start")


async def test_model_process_without_memory_costs_its_own_scores_only(tmp_path: Path) -> None:
    repository = repository_in(tmp_path)
    head = UnrulyHead(repository, "unruly", "sexual.nudity.belly_covered")
    settings = {"FLOODGATE_MODEL_REPOSITORY": str(repository), "FLOODGATE_HEADS": "nsfw,toxicity,unruly"}
    with serving(settings) as server:
        async with AsyncClient(server.target) as client:
            alone = await client.moderate(image=PHOTOS[0], trace=True, timeout=60.0)
            head.order = "memory"
            decision = await client.moderate(image=PHOTOS[0], trace=True, timeout=60.0)
            (degradation,) = decision.degraded
            assert degradation.kind == pb.Degradation.KIND_HEAD_MISSING
            assert list(degradation.missing) == ["0/unruly"]
            assert scores_of(decision) == {("0", "nsfw"): scores_of(alone)["0", "nsfw"]}
            head.order = "ok"
            await recovers(client)
            again = await client.moderate(image=PHOTOS[0], trace=True, timeout=60.0)
            assert scores_of(again) == scores_of(alone)
            assert total(metrics(server), "floodgate_triton_restarts_total") == 0
            await eventually(lambda: is_at_rest(server), "buffers and arena as at the start")


async def test_triton_without_memory_scores_less_for_a_while_and_nothing_wrongly() -> None:
    """Inline, each batch wants megabytes of Triton, which it can get no more. It may die of that, or say so."""
    with serving({"FLOODGATE_TRITON__MEMORY": "inline"}) as server:
        async with AsyncClient(server.target) as client:
            load = Load(client)
            await load.learn()
            pid = triton_of(server)
            # What it has, it keeps; it was asked for single rows so far.
            resource.prlimit(pid, resource.RLIMIT_AS, (1 << 20, resource.RLIM_INFINITY))
            async with load.running(clients=48, deadlines_s=(2.0, 5.0)) as tally:
                try:
                    await eventually(lambda: tally.degraded > 0 or bool(tally.errors), "calls that notice")
                finally:
                    with contextlib.suppress(ProcessLookupError):
                        resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
                await recovers(client)
            assert not tally.wrong
            assert tally.answered == tally.sent
            assert set(tally.errors) <= {"Unavailable", "DeadlineExceeded", "Overloaded"}
            await eventually(lambda: is_at_rest(server), "buffers and arena as at the start")
