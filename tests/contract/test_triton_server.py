"""What only the real Triton can show: model processes, shared memory, restarts, a remote server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from region import Region
from small_heads import expected
from stages import TritonStage, eventually
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from bench.inspection import stubs_of
from bench.processes import freeze, thaw
from floodgate.errors import BackendLost, ModelError, Unavailable
from floodgate.triton.backends import connect_remote, embedded
from floodgate.triton.ensemble import build_ensembles
from floodgate.triton.install import TritonInstall
from floodgate.triton.process import ServerOptions, sweep_shared_memory
from floodgate.triton.repository import load_heads
from floodgate.triton.supervisor import ServerState
from floodgate.types import BatchOutcome

pytestmark = pytest.mark.triton


async def test_zero_bytes_from_numpy_2_never_become_scores(triton_stage: TritonStage) -> None:
    triton_stage.break_head("first", "numpy")
    outcome = await triton_stage.backend.infer(triton_stage.batch(5))
    if "first" in outcome.failures:  # numpy >= 2 in the model process
        assert outcome.failures["first"].reason == "bad_output"
        assert "0 bytes" in outcome.failures["first"].message
    else:
        np.testing.assert_array_equal(outcome.outputs["first__scores"], expected(5))


async def test_dead_model_process_is_replaced_while_the_other_head_answers(triton_stage: TritonStage) -> None:
    backend = triton_stage.backend
    triton_stage.break_head("first", "exit")
    outcome = await backend.infer(triton_stage.batch(5))
    assert outcome.failures["first"].reason == "failed"
    np.testing.assert_array_equal(outcome.outputs["second__scores"], expected(5))
    triton_stage.break_head("first", "ok")
    batch = triton_stage.batch(6)
    async with asyncio.timeout(60):
        while (outcome := await backend.infer(batch)).failures:
            np.testing.assert_array_equal(outcome.outputs["second__scores"], expected(6))
    np.testing.assert_array_equal(outcome.outputs["first__scores"], expected(6))
    assert backend.describe()["restarts"] == 0
    # The ensemble itself serves again, too.
    assert not (await backend.infer(batch)).failures


async def test_late_answer_of_a_model_process_that_was_given_up_is_not_the_next_batchs(
    triton_stage: TritonStage,
) -> None:
    backend = triton_stage.backend
    await backend.infer(triton_stage.batch(1))
    stubs = stubs_of(triton_stage.pid, "first")
    for pid in stubs:
        freeze(pid)
    try:
        earlier, later = (asyncio.ensure_future(backend.infer(triton_stage.batch(value))) for value in (5, 77))
        assert "first" in (await earlier).failures
    finally:
        for pid in stubs:
            thaw(pid)
    # Triton may have no answer to it, or a right one; the earlier batch's is neither. Or it may abort, as it sometimes
    # does over a model process that comes back; then it is started again.
    with suppress(BackendLost):
        await _of_its_own(later, 77)
    async with asyncio.timeout(60):
        while True:
            with suppress(BackendLost):
                if not (await _of_its_own(backend.infer(triton_stage.batch(6)), 6)).failures:
                    break
            await asyncio.sleep(0.05)


async def _of_its_own(answer: Awaitable[BatchOutcome], value: int) -> BatchOutcome:
    """The answer to a batch of ``value``: nobody else's, as far as there is one."""
    outcome = await answer
    for head in {"first", "second"} - set(outcome.failures):
        np.testing.assert_array_equal(outcome.outputs[f"{head}__scores"], expected(value))
    assert set(outcome.failures) <= {"first"}
    return outcome


async def forget_all(client: InferenceServerClient) -> None:
    """Has the server forget all regions; it still holds those of a request that it has just answered."""
    while True:
        try:
            return await client.unregister_system_shared_memory()
        except InferenceServerException:
            await asyncio.sleep(0.01)


async def test_region_that_the_server_was_told_to_forget_is_registered_again(triton_stage: TritonStage) -> None:
    backend = triton_stage.backend
    batch = triton_stage.batch(3)
    await backend.infer(batch)
    async with InferenceServerClient(backend.status.address) as stranger, asyncio.timeout(20):
        await forget_all(stranger)
    several = await asyncio.gather(*(backend.infer(batch) for _ in range(4)))
    for outcome in several:
        assert not outcome.failures
        np.testing.assert_array_equal(outcome.outputs["first__scores"], expected(3))


async def test_ensemble_that_was_unloaded_is_loaded_again_while_its_heads_answer(triton_stage: TritonStage) -> None:
    backend, name = triton_stage.backend, triton_stage.ensemble.name
    async with InferenceServerClient(backend.status.address) as stranger:
        await stranger.unload_model(name)
        async with asyncio.timeout(60):
            while not await stranger.is_model_ready(name, "1"):
                outcome = await backend.infer(triton_stage.batch(4))
                assert not outcome.failures
                np.testing.assert_array_equal(outcome.outputs["first__scores"], expected(4))


async def test_held_back_batch_reads_its_memory_late_so_the_memory_is_not_reusable(
    triton_stage: TritonStage,
) -> None:
    """Why a timed-out buffer is quarantined: with the model process busy, a second request waits inside
    Triton and reads its region only when its turn comes."""
    backend = triton_stage.backend
    await triton_stage.hold()
    first = asyncio.ensure_future(backend.infer(triton_stage.batch(1)))
    await triton_stage.held()
    region = Region(64 * 1024)
    triton_stage.regions.append(region)
    second = asyncio.ensure_future(backend.infer(triton_stage.batch(2, region=region)))
    done, _ = await asyncio.wait({first, second}, timeout=0.3)
    assert not done
    triton_stage.batch(77, region=region)  # overwrites what the second request still has to read
    triton_stage.release()
    await first
    scores = (await second).outputs["first__scores"]
    np.testing.assert_array_equal(scores, expected(77))


async def test_region_name_reused_after_a_restart_is_registered_anew(triton_stage: TritonStage) -> None:
    region = Region(64 * 1024)
    triton_stage.regions.append(region)
    backend = triton_stage.backend
    await backend.infer(triton_stage.batch(3, region=region))
    pid = triton_stage.pid
    triton_stage.kill()
    await eventually(lambda: backend.ready() and triton_stage.pid not in (0, pid))
    outcome = await backend.infer(triton_stage.batch(4, region=region))
    np.testing.assert_array_equal(outcome.outputs["first__scores"], expected(4))
    status = backend.status
    assert (status.state, status.epoch, status.restarts) == (ServerState.READY, 2, 1)
    assert "SIGKILL" in status.reason


async def test_missing_region_is_refused_and_blames_no_head(triton_stage: TritonStage) -> None:
    batch = triton_stage.batch(1)
    triton_stage.regions.pop().close()
    with pytest.raises(BackendLost, match="region"):
        await triton_stage.backend.infer(batch)
    assert not (await triton_stage.backend.infer(triton_stage.batch(1))).failures


async def test_silent_server_is_replaced_after_the_liveness_time(triton_install: TritonInstall, tmp_path: Path) -> None:
    stage = TritonStage(tmp_path, triton_install, "shm")
    options = ServerOptions(tmp_path / "run", liveness_timeout_s=1.0, liveness_interval_s=0.1)
    stage.backend = embedded(triton_install, options, stage.repository)
    await stage.open()
    try:
        under_way = stage.backend.infer(stage.batch(1))
        await stage.freeze()
        with pytest.raises(BackendLost, match="silent"):
            await under_way
        await eventually(stage.backend.ready)
        assert not (await stage.backend.infer(stage.batch(1))).failures
    finally:
        await stage.close()


async def test_nothing_is_left_after_close(triton_install: TritonInstall, tmp_path: Path) -> None:
    stage = TritonStage(tmp_path, triton_install, "shm")
    await stage.open()
    pid, prefix = stage.pid, ServerOptions(tmp_path / "run").shm_prefix
    assert any(name.startswith(prefix) for name in os.listdir("/dev/shm"))
    await stage.close()
    assert str(pid) not in os.listdir("/proc")
    assert not any(name.startswith(prefix) for name in os.listdir("/dev/shm"))
    # The guard has killed its group, itself included; the kernel may be a moment about it.
    for _ in range(500):
        left = [entry for entry in os.listdir("/proc") if entry.isdigit() and _group_of(entry) == pid]
        if not left:
            break
        await asyncio.sleep(0.01)
    assert not left


def _group_of(pid: str) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] == "Z" else int(fields[2])


async def test_run_directory_belongs_to_one_server(triton_stage: TritonStage, triton_install: TritonInstall) -> None:
    options = ServerOptions(triton_stage.repository.parent / "run")
    rival = embedded(triton_install, options, triton_stage.repository)
    with pytest.raises(Unavailable, match="in use"):
        await rival.load(1, [triton_stage.ensemble])
    await rival.close()


async def test_head_that_does_not_load_is_named_with_its_reason(triton_install: TritonInstall, tmp_path: Path) -> None:
    stage = TritonStage(tmp_path, triton_install, "shm")
    (stage.repository / "first" / "1" / "model.py").write_text("raise ValueError('weights are upside down')\n")
    (ensemble,) = build_ensembles(load_heads(stage.repository, ["first", "second"]))
    with pytest.raises(ModelError, match=r"first.*weights are upside down"):
        await stage.backend.load(1, [ensemble])
    await stage.close()


async def test_second_generation_is_served_beside_the_first(triton_stage: TritonStage) -> None:
    (smaller,) = build_ensembles(load_heads(triton_stage.repository, ["second"]))
    old = triton_stage.batch(1)
    await triton_stage.backend.load(2, [smaller])
    new = triton_stage.batch(2)
    object.__setattr__(new, "ensemble", smaller.name)
    assert set((await triton_stage.backend.infer(old)).outputs) == {"first__scores", "second__scores"}
    assert set((await triton_stage.backend.infer(new)).outputs) == {"second__scores"}
    await triton_stage.backend.load(3, [smaller])
    with pytest.raises(BackendLost, match="not loaded"):
        await triton_stage.backend.infer(old)


async def test_remote_server_gets_its_ensembles_with_the_request(triton_stage: TritonStage) -> None:
    remote = connect_remote(triton_stage.backend.status.address)
    (smaller,) = build_ensembles(load_heads(triton_stage.repository, ["first"]))
    await remote.load(1, [smaller])
    batch = triton_stage.batch(8, 9)
    object.__setattr__(batch, "ensemble", smaller.name)
    np.testing.assert_array_equal((await remote.infer(batch)).outputs["first__scores"], expected(8, 9))
    assert remote.describe()["memory"] == "shm"
    await remote.close()


async def test_remote_that_does_not_answer_is_unavailable() -> None:
    remote = connect_remote("127.0.0.1:9")
    with pytest.raises(Unavailable, match="no Triton answers"):
        await remote.load(1, [])
    await remote.close()


def test_sweep_removes_only_its_prefix(tmp_path: Path) -> None:
    mine, other = (Path("/dev/shm") / f"floodgate_sweep_{tmp_path.name}_{n}" for n in ("mine", "other"))
    mine.touch()
    other.touch()
    try:
        sweep_shared_memory(mine.name)
        assert not mine.exists()
        assert other.exists()
    finally:
        other.unlink()
