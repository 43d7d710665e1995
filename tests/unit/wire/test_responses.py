"""What the answer says of a video."""

from __future__ import annotations

from floodgate.types import Modality, PartResult, PartState, Role, SamplingPlan
from floodgate.wire.responses import _part_status


def test_a_video_tells_its_plan_its_seed_and_what_was_missing() -> None:
    seed = (1 << 64) - 3
    part = PartResult(
        "p",
        Role.MAIN,
        Modality.VIDEO,
        PartState.JUDGED,
        frames_sampled=9,
        frames_dropped=2,
        frames_missed=5,
        duration_ms=61_500,
        media_format="mp4",
        codec="hevc",
        note="the data ends early",
        partial=True,
        plan=SamplingPlan(16, 0, seed),
    )
    status = _part_status(part)
    assert (status.frames_sampled, status.frames_dropped, status.frames_missed) == (9, 2, 5)
    assert (status.duration_ms, status.media_format, status.codec) == (61_500, "mp4", "hevc")
    assert (status.note, status.partial, status.sampling_seed) == ("the data ends early", True, seed)
    assert (status.sampling.max_frames, status.sampling.min_interval_ms) == (16, 0)
    assert status.sampling.HasField("min_interval_ms"), "no least distance is a plan too"


def test_a_still_has_no_plan() -> None:
    status = _part_status(PartResult("p", Role.MAIN, Modality.IMAGE, PartState.JUDGED, media_format="jpeg"))
    assert status.media_format == "jpeg"
    assert not status.HasField("sampling")
    assert status.sampling_seed == 0
