"""What every Backend keeps, whoever implements it."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from small_heads import expected
from stages import Stage

from floodgate.errors import BackendLost


async def test_scores_come_back_to_the_right_rows(stage: Stage) -> None:
    outcome = await stage.backend.infer(stage.batch(1, 2, 3, 250))
    assert outcome.failures == {}
    for name in ("first__scores", "second__scores"):
        np.testing.assert_array_equal(outcome.outputs[name], expected(1, 2, 3, 250))
        assert outcome.outputs[name].dtype == np.float32


async def test_batches_under_way_together_do_not_mix(stage: Stage) -> None:
    batches = [stage.batch(*range(n, n + 1 + n % 8)) for n in range(16)]
    outcomes = await asyncio.gather(*(stage.backend.infer(batch) for batch in batches))
    for n, outcome in enumerate(outcomes):
        np.testing.assert_array_equal(outcome.outputs["first__scores"], expected(*range(n, n + 1 + n % 8)))


@pytest.mark.parametrize("fault", ["raise", "empty", "short", "dtype"])
async def test_bad_head_fails_alone_and_is_switched_off(stage: Stage, fault: str) -> None:
    stage.break_head("first", fault)
    outcome = await stage.backend.infer(stage.batch(5, 6))
    assert outcome.failures["first"].reason == ("failed" if fault == "raise" else "bad_output")
    assert set(outcome.outputs) == {"second__scores"}
    np.testing.assert_array_equal(outcome.outputs["second__scores"], expected(5, 6))
    again = await stage.backend.infer(stage.batch(7, 8))
    assert again.failures["first"].reason == "breaker_open"
    np.testing.assert_array_equal(again.outputs["second__scores"], expected(7, 8))
    assert stage.backend.describe()["breakers"]


async def test_both_heads_failing_leaves_no_scores(stage: Stage) -> None:
    stage.break_head("first", "raise")
    stage.break_head("second", "raise")
    outcome = await stage.backend.infer(stage.batch(5))
    assert outcome.outputs == {}
    assert {name: failure.reason for name, failure in outcome.failures.items()} == {
        "first": "failed",
        "second": "failed",
    }


async def test_a_non_finite_row_reaches_the_core_as_such(stage: Stage) -> None:
    stage.break_head("first", "nan")
    scores = (await stage.backend.infer(stage.batch(5, 6))).outputs["first__scores"]
    assert np.isnan(scores[0, 0])
    np.testing.assert_array_equal(scores[1:], expected(6))


async def test_a_held_back_batch_is_not_given_up(stage: Stage) -> None:
    await stage.hold()
    under_way = asyncio.ensure_future(stage.backend.infer(stage.batch(9)))
    await stage.held()
    assert not under_way.done()
    stage.release()
    np.testing.assert_array_equal((await under_way).outputs["first__scores"], expected(9))


async def test_death_loses_what_is_under_way_and_the_server_comes_back(stage: Stage) -> None:
    await stage.backend.infer(stage.batch(1))
    await stage.hold()
    under_way = [asyncio.ensure_future(stage.backend.infer(stage.batch(n))) for n in (9, 10)]
    await stage.held()
    stage.kill()
    ended = await asyncio.gather(*under_way, return_exceptions=True)
    assert [type(error) for error in ended] == [BackendLost, BackendLost]
    await stage.back()
    np.testing.assert_array_equal((await stage.backend.infer(stage.batch(11))).outputs["first__scores"], expected(11))


async def test_a_frozen_server_answers_right_but_late(stage: Stage) -> None:
    await stage.backend.infer(stage.batch(1))
    await stage.freeze()
    under_way = asyncio.ensure_future(stage.backend.infer(stage.batch(12, 13)))
    done, _ = await asyncio.wait({under_way}, timeout=0.2)
    assert not done
    stage.thaw()
    np.testing.assert_array_equal((await under_way).outputs["second__scores"], expected(12, 13))


async def test_unknown_ensemble_is_refused_unsent(stage: Stage) -> None:
    batch = stage.batch(1)
    object.__setattr__(batch, "ensemble", "image@00000000")
    with pytest.raises(BackendLost, match="not loaded"):
        await stage.backend.infer(batch)


async def test_after_close_nothing_is_under_way(stage: Stage) -> None:
    await stage.hold()
    under_way = asyncio.ensure_future(stage.backend.infer(stage.batch(9)))
    await stage.held()
    closing = asyncio.ensure_future(stage.backend.close())
    stage.release()
    await closing
    assert not stage.backend.ready()
    done, _ = await asyncio.wait({under_way}, timeout=10)
    assert done
    with pytest.raises(BackendLost):
        await stage.backend.infer(stage.batch(1))
    under_way.exception()
