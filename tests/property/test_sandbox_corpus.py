"""Every file of both corpora gives in a sandboxed process what it gives on a thread, and costs no process."""

from __future__ import annotations

import functools
import itertools
import select
from pathlib import Path
from typing import Any

import numpy as np
import picture_corpus
import pytest
import test_video_parity
import video_files

from floodgate import _core
from floodgate.errors import FloodgateError

DECODER = str(Path(_core.__file__).parent / "bin" / "floodgate-decoder")
SIDE = 24
VIEW = _core.ImageView(SIDE, SIDE, mode="contain")
OUTPUT = "pixels__rgb"
OPEN_AT_ONCE = 16


@functools.cache
def pictures() -> dict[str, bytes]:
    specimens = itertools.chain(picture_corpus.stills(), picture_corpus.animations())
    return {specimen.name: specimen.data for specimen in specimens}


@functools.cache
def videos() -> dict[str, bytes]:
    files = {name: test_video_parity.encoded(clip) for name, clip in test_video_parity.CLIPS.items()}
    whole = files["h264 mp4"]
    for orientation in (2, 5, 8):
        files[f"turned {orientation}"] = video_files.turned(whole, orientation)
    for container in ("mpegts", "matroska", "flv"):
        files[f"{container} without first key"] = video_files.without_first_key(video_files.Clip(container=container))
        files[f"{container} sound only"] = video_files.sound_only(container)
    files["no packets"] = video_files.without_packets(whole, "mp4")
    files["changing size"] = video_files.encode(
        video_files.Clip(container="mpegts", frames=60, sizes=((160, 96), (96, 128), (320, 192)))
    )
    for transfer in (16, 18):
        hdr = video_files.Clip(codec="libx265", pix_fmt="yuv420p10le", frames=4, colorspace=9, transfer=transfer)
        files[f"transfer {transfer}"] = video_files.encode(hdr)
    return files


def cut(files: dict[str, bytes]) -> dict[str, bytes]:
    """The first three fifths of each file."""
    return {f"{name}, cut": data[: len(data) * 3 // 5] for name, data in files.items()}


def answers(files: dict[str, bytes], **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """({name: what the core answers, pixels included}, statistics)."""
    scheduler = _core.Scheduler(arena_bytes=64 << 20, decode_workers=2, **options)
    scheduler.configure(
        1,
        [
            _core.EnsembleConfig(
                "image@test", "image", [("image", VIEW)], [(OUTPUT, "pixels", VIEW.row_bytes)], ["pixels"], max_batch=8
            )
        ],
    )
    names, found = list(files), {}
    waiting = iter(enumerate(files.items()))
    unanswered = 0

    def submit_next() -> int:
        for ticket, (name, data) in waiting:
            try:
                scheduler.submit(ticket, ["image@test"], data, modality="image", max_frames=6, seed=ticket)
            except FloodgateError as error:
                found[name] = (type(error).__name__, str(error))
                continue
            return 1
        return 0

    for _ in range(OPEN_AT_ONCE):
        unanswered += submit_next()
    while unanswered:
        assert select.select([scheduler.fd], [], [], 30)[0], "nothing happened in 30 s"
        for batch in scheduler.take_batches():
            (tensor,) = batch.tensors
            region = Path("/dev/shm" + tensor.region).read_bytes()
            pixels = np.frombuffer(region, np.uint8, tensor.bytes, tensor.offset).reshape(batch.rows, -1)
            scheduler.complete(batch.batch_id, {OUTPUT: np.ascontiguousarray(pixels, np.float32)})
        for done in scheduler.poll_done():
            rows = [(row.time_ms, [scores.outputs[OUTPUT] for scores in row.scores]) for row in done.rows]
            facts = (done.frames_sampled, done.frames_dropped, done.frames_missed, done.duration_ms)
            shown = (done.shown_width, done.shown_height, done.codec, done.notes, done.partial)
            found[names[done.ticket]] = (done.code, done.message, rows, facts, shown)
            unanswered += submit_next() - 1
    return found, scheduler.stats()


@pytest.mark.parametrize("corpus", [pictures, videos], ids=["pictures", "videos"])
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "cut"])
def test_a_process_answers_as_a_thread_does(corpus: Any, whole: bool) -> None:
    files = corpus() if whole else cut(corpus())
    on_threads, _ = answers(files)
    in_processes, statistics = answers(files, decoder_program=DECODER)
    assert statistics["sandboxed"]
    assert set(statistics["worker_losses"].values()) == {0}
    differing = [name for name in files if on_threads[name] != in_processes[name]]
    assert differing == []
    assert len(on_threads) == len(files)
    good = sum(answer[0] == "OK" for answer in on_threads.values())
    assert good >= (len(files) // 2 if whole else 10), "most pictures that are cut are refused"
