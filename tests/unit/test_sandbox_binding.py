"""The sandbox through the scheduler's Python door: the installed decoder program, real processes, no server."""

from __future__ import annotations

import io
import select
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from floodgate import _core, errors

DECODER = Path(_core.__file__).parent / "bin" / "floodgate-decoder"
VIEW = _core.ImageView(8, 8)


def picture(color: tuple[int, int, int], fault: str = "") -> bytes:
    out = io.BytesIO()
    comment = f"floodgate-fault:{fault}" if fault else "harmless"
    Image.new("RGB", (64, 48), color).save(out, "JPEG", comment=comment)
    return out.getvalue()


def sandboxed(**options: object) -> _core.Scheduler:
    made = _core.Scheduler(arena_bytes=1 << 20, decoder_program=str(DECODER), **options)  # type: ignore[arg-type]
    config = _core.EnsembleConfig(
        "image@test", "image", [("image", VIEW)], [("mean__rgb", "mean", 3)], ["mean"], max_batch=4
    )
    made.configure(1, [config])
    return made


def moderate(scheduler: _core.Scheduler, ticket: int, data: bytes) -> _core.Done:
    """Submits a picture and answers its batch with the mean colour."""
    scheduler.submit(ticket, ["image@test"], data, modality="image")
    while True:
        readable, _, _ = select.select([scheduler.fd], [], [], 20)
        assert readable, "nothing happened in 20 s"
        for batch in scheduler.take_batches():
            (tensor,) = batch.tensors
            region = Path("/dev/shm" + tensor.region).read_bytes()
            pixels = np.frombuffer(region, np.uint8, tensor.bytes, tensor.offset).reshape(tensor.shape)
            scheduler.complete(batch.batch_id, {"mean__rgb": pixels.mean(axis=(1, 2)).astype(np.float32)})
        for done in scheduler.poll_done():
            return done


def test_pictures_are_decoded_in_processes_and_say_so() -> None:
    scheduler = sandboxed()
    done = moderate(scheduler, 1, picture((10, 200, 30)))
    assert done.code == "OK"
    (scores,) = done.rows[0].scores
    assert np.frombuffer(scores.outputs["mean__rgb"], np.float32) == pytest.approx([10, 200, 30], abs=2)
    assert scheduler.stats()["sandboxed"]


@pytest.mark.parametrize(
    ("fault", "code", "message", "counter"),
    [
        ("crash", "INVALID_CONTENT", "the decoder crashed (SIGSEGV)", "crashed"),
        ("hang", "INVALID_CONTENT", "the decoder hung", "hung"),
        ("spin", "TOO_LARGE", "decoding took more than 200 ms of CPU time, the limit (max_cpu_ms)", "over_cpu"),
        (
            "memory",
            "TOO_LARGE",
            "decoding needs more memory than the 64 MiB that a decoder may use (decoder_memory_bytes)",
            "over_memory",
        ),
        ("socket", "INVALID_CONTENT", "the decoder tried something that the sandbox forbids", "forbidden"),
        ("open", "INVALID_CONTENT", "the decoder tried something that the sandbox forbids", "forbidden"),
    ],
)
def test_a_fault_costs_its_own_part_and_is_counted(fault: str, code: str, message: str, counter: str) -> None:
    limits = _core.MediaLimits(max_cpu_ms=200)
    scheduler = sandboxed(decoder_faults=True, decoder_hang_ms=100, decoder_memory_bytes=64 << 20, media_limits=limits)
    assert moderate(scheduler, 1, picture((1, 2, 3))).code == "OK"
    lost = moderate(scheduler, 2, picture((1, 2, 3), fault))
    assert (lost.code, lost.message, lost.rows) == (code, message, ())
    assert moderate(scheduler, 3, picture((1, 2, 3))).code == "OK"
    losses = scheduler.stats()["worker_losses"]
    assert losses == {**dict.fromkeys(losses, 0), counter: 1}


def test_faults_are_for_tests_alone() -> None:
    assert moderate(sandboxed(), 1, picture((1, 2, 3), "crash")).code == "OK"


def test_a_missing_decoder_program_is_named() -> None:
    with pytest.raises(errors.FloodgateError, match="/nowhere/decoder"):
        _core.Scheduler(decoder_program="/nowhere/decoder")
