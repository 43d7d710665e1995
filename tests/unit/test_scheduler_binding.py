"""The scheduler through its Python door: real pictures, real shared memory, no server."""

from __future__ import annotations

import io
import select
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from floodgate import _core, errors

VIEW = _core.ImageView(8, 8)


def picture(color: tuple[int, int, int]) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (32, 24), color).save(out, "PNG")
    return out.getvalue()


def image_ensemble(name: str = "image@test") -> _core.EnsembleConfig:
    return _core.EnsembleConfig(name, "image", [("image", VIEW)], [("mean__rgb", "mean", 3)], ["mean"], max_batch=4)


def text_ensemble() -> _core.EnsembleConfig:
    return _core.EnsembleConfig(
        "text@test",
        "text",
        [("text", _core.TextView((8, 32)))],
        [("size__bytes", "size", 1)],
        ["size"],
        max_batch=4,
    )


@pytest.fixture
def scheduler() -> _core.Scheduler:
    made = _core.Scheduler(arena_bytes=1 << 20)
    made.configure(1, [image_ensemble(), text_ensemble()])
    return made


def await_ready(scheduler: _core.Scheduler) -> None:
    readable, _, _ = select.select([scheduler.fd], [], [], 20)
    assert readable, "nothing happened in 20 s"


def read(tensor: _core.TensorRef) -> np.ndarray:
    dtype = {"UINT8": np.uint8, "INT32": np.int32}[tensor.dtype]
    return np.frombuffer(
        open_region(tensor.region), dtype, tensor.bytes // np.dtype(dtype).itemsize, tensor.offset
    ).reshape(tensor.shape)


def open_region(key: str) -> bytes:
    return Path("/dev/shm" + key).read_bytes()


def take(scheduler: _core.Scheduler) -> _core.Batch:
    await_ready(scheduler)
    (batch,) = scheduler.take_batches()
    return batch


def test_a_picture_goes_in_as_bytes_and_its_scores_come_back(scheduler: _core.Scheduler) -> None:
    scheduler.submit(7, ["image@test"], picture((10, 20, 30)), modality="image", lane=2)
    batch = take(scheduler)
    (tensor,) = batch.tensors
    assert (batch.rows, batch.generation, batch.ensemble) == (1, 1, "image@test")
    assert (tensor.name, tensor.dtype, tensor.shape, tensor.kind) == (
        "image",
        "UINT8",
        (1, 8, 8, 3),
        "system",
    )
    pixels = read(tensor)
    scheduler.complete(batch.batch_id, {"mean__rgb": pixels.mean(axis=(1, 2)).astype(np.float32)})
    (done,) = scheduler.poll_done()
    assert (done.ticket, done.code) == (7, "OK")
    assert done.info is not None
    assert (done.info.width, done.info.height) == (32, 24)
    (scores,) = done.rows[0].scores
    assert np.frombuffer(scores.outputs["mean__rgb"], np.float32).tolist() == [10, 20, 30]
    assert scores.missing == {}
    assert not select.select([scheduler.fd], [], [], 0)[0]


def test_text_rows_name_their_bytes(scheduler: _core.Scheduler) -> None:
    scheduler.submit(1, ["text@test"], memoryview("grüß dich".encode()), modality="text")
    batch = take(scheduler)
    text, lengths = batch.tensors
    assert text.shape == (1, 32)
    assert read(lengths).tolist() == [[11]]
    assert bytes(read(text)[0, :11]).decode() == "grüß dich"
    scheduler.complete(batch.batch_id, {}, {"size": ("breaker_open", "resting")})
    (done,) = scheduler.poll_done()
    assert done.rows[0].span == (0, 11)
    assert done.info is None
    assert done.rows[0].scores[0].missing == {"size": "breaker_open"}
    assert done.rows[0].scores[0].outputs == {}


def test_refusals_are_floodgate_errors(scheduler: _core.Scheduler) -> None:
    with pytest.raises(errors.InvalidContent):
        scheduler.submit(1, ["image@test"], b"", modality="image")
    with pytest.raises(errors.UnsupportedContent):
        scheduler.submit(1, ["image@test"], b"%PDF-1.7" + bytes(40), modality="image")
    with pytest.raises(errors.InvalidRequest, match="no ensemble nobody"):
        scheduler.submit(1, ["nobody"], picture((0, 0, 0)), modality="image")
    with pytest.raises(errors.InvalidRequest, match="modality"):
        scheduler.submit(1, ["image@test"], picture((0, 0, 0)), modality="smell")
    with pytest.raises(errors.InvalidRequest, match="lane"):
        scheduler.submit(1, ["image@test"], picture((0, 0, 0)), modality="image", lane=4)
    with pytest.raises(errors.DeadlineExceeded):
        scheduler.submit(1, ["image@test"], picture((0, 0, 0)), modality="image", deadline_ns=1)
    with pytest.raises(errors.InvalidRequest, match="contiguous"):
        scheduler.submit(1, ["image@test"], memoryview(picture((0, 0, 0)))[::2], modality="image")
    scheduler.drain()
    with pytest.raises(errors.Unavailable):
        scheduler.submit(1, ["image@test"], picture((0, 0, 0)), modality="image")
    assert scheduler.poll_done() == []
    assert scheduler.stats()["drained"]


def test_an_output_of_another_dtype_is_refused_and_the_batch_stays(scheduler: _core.Scheduler) -> None:
    scheduler.submit(1, ["image@test"], picture((1, 2, 3)), modality="image")
    batch = take(scheduler)
    with pytest.raises(errors.InvalidRequest, match="float32"):
        scheduler.complete(batch.batch_id, {"mean__rgb": np.zeros((1, 3))})  # type: ignore[dict-item]
    scheduler.fail_batch(batch.batch_id, "UNAVAILABLE", "gone")
    (done,) = scheduler.poll_done()
    assert (done.code, done.message) == ("UNAVAILABLE", "gone")
    with pytest.raises(errors.InvalidRequest, match="not in flight"):
        scheduler.complete(batch.batch_id, {})


def test_quarantine_and_loss_of_the_server(scheduler: _core.Scheduler) -> None:
    scheduler.submit(1, ["image@test"], picture((1, 2, 3)), modality="image")
    batch = take(scheduler)
    scheduler.quarantine(batch.batch_id)
    (done,) = scheduler.poll_done()
    assert done.code == "DEADLINE_EXCEEDED"
    assert scheduler.stats()["ensembles"][0]["buffers"]["quarantined"] == 1
    scheduler.region_lost()
    assert scheduler.stats()["ensembles"][0]["buffers"]["free"] == 4
    scheduler.submit(2, ["image@test"], picture((1, 2, 3)), modality="image")
    assert take(scheduler).tensors[0].region != batch.tensors[0].region


def test_a_deadline_is_answered_without_a_server(scheduler: _core.Scheduler) -> None:
    deadline = time.monotonic_ns() + 50_000_000
    scheduler.submit(3, ["image@test"], picture((1, 2, 3)), modality="image", deadline_ns=deadline)
    done: list[_core.Done] = []
    while not done:
        await_ready(scheduler)
        scheduler.take_batches()
        done = scheduler.poll_done()
    assert time.monotonic_ns() >= deadline
    assert done[0].code == "DEADLINE_EXCEEDED"
    assert done[0].rows[0].scores[0].missing == {"mean": "deadline"}


def test_cancelling_answers_once(scheduler: _core.Scheduler) -> None:
    scheduler.submit(4, ["text@test"], b"some words", modality="text")
    assert scheduler.cancel(4)
    assert not scheduler.cancel(4)
    assert [done.code for done in scheduler.poll_done()] == ["CANCELLED"]


def test_options_are_checked() -> None:
    with pytest.raises(errors.InvalidRequest, match="decode_workers"):
        _core.Scheduler(decode_workers=0)
    with pytest.raises(errors.InvalidRequest, match="head mean has no output"):
        _core.EnsembleConfig("e", "image", [("image", VIEW)], [], ["mean"], max_batch=4)
