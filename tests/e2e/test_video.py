"""Videos and animated pictures through the whole server."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from clips import animation, sound, video
from observed import assert_at_rest
from specimens import JPEG

from bench.report import ROOT
from bench.server import Server
from floodgate import Client
from floodgate.client import build_request, image_part, text_part, video_part
from floodgate.decision import DecisionRecord, read_log
from floodgate.errors import DeadlineExceeded
from floodgate.media import sample_frames
from floodgate.types import SamplingPlan
from floodgate.v1 import moderation_pb2 as pb

FLOODGATE = str(Path(sys.executable).with_name("floodgate"))
SECONDS = 6
State = pb.PartStatus.State


@pytest.fixture(scope="module")
def clip() -> bytes:
    return video(SECONDS)


@pytest.fixture(autouse=True)
def nothing_stays_behind(server: Server) -> object:
    yield
    assert_at_rest(server)


def times_of(decision: pb.Decision) -> list[int]:
    return sorted({score.time_ms for score in decision.scores})


def record_of(server: Server, decision: pb.Decision) -> DecisionRecord:
    for _ in range(500):
        for _, record in read_log(server.decision_log):
            if isinstance(record, DecisionRecord) and record.decision_id == decision.decision_id:
                return record
        time.sleep(0.01)  # the log's writer is another thread of another process
    raise AssertionError("the decision is not in the log")


def test_a_video_is_judged_from_its_first_frame_to_its_last(client: Client, clip: bytes) -> None:
    decision = client.moderate(video=clip, trace=True, timeout=60)
    (part,) = decision.parts
    assert part.state == State.STATE_JUDGED, part.reason
    assert (part.media_format, part.codec) == ("mp4", "h264")
    assert abs(part.duration_ms - SECONDS * 1000) <= 200
    assert (part.sampling.max_frames, part.sampling.min_interval_ms) == (16, 500)
    assert part.sampling_seed != 0
    times = times_of(decision)
    assert len(times) == part.frames_sampled >= 6
    assert times[0] == 0
    assert times[-1] >= SECONDS * 1000 - 300
    assert part.frames_missed == 0
    assert not decision.degraded
    assert not part.note


def test_the_recorded_seed_gives_the_same_frames_again(server: Server, client: Client, clip: bytes) -> None:
    decision = client.moderate(video=clip, trace=True, timeout=60)
    record = record_of(server, decision)
    result, media = record.parts[0].result, record.parts[0].media
    assert result.plan is not None
    assert media is not None
    assert result.plan.seed == decision.parts[0].sampling_seed
    assert (media.format, media.codec) == ("mp4", "h264")
    assert list(media.frame_times_ms) == times_of(decision)
    assert record.parts[0].sha256 == hashlib.sha256(clip).hexdigest()
    again = sample_frames(clip, result.plan)
    assert tuple(frame.time_ms for frame in again.frames) == media.frame_times_ms
    assert {result.plan.seed} != {client.moderate(video=clip, timeout=60).parts[0].sampling_seed}


def test_the_request_says_how_many_frames(client: Client, clip: bytes) -> None:
    for asked, most in ((1, 1), (3, 3), (1000, 256)):
        part = video_part(clip, max_frames=asked, min_interval_ms=0)
        (status,) = client.moderate(parts=[part], timeout=60).parts
        assert status.sampling.max_frames == most
        assert 1 <= status.frames_sampled + status.frames_dropped <= asked


def test_what_a_part_is_declared_to_be_changes_nothing(client: Client, clip: bytes) -> None:
    as_video, as_image, still = (
        client.moderate(parts=[part], trace=True, timeout=60)
        for part in (video_part(clip), image_part(clip), video_part(JPEG))
    )
    assert as_video.parts[0].media_format == as_image.parts[0].media_format == "mp4"
    assert as_image.parts[0].frames_sampled > 1
    assert (still.parts[0].media_format, still.parts[0].frames_sampled) == ("jpeg", 1)
    assert still.parts[0].sampling_seed == 0
    (alone,) = client.moderate(image=JPEG, trace=True, timeout=60).scores
    assert [score.score for score in still.scores] == [alone.score]


@pytest.mark.parametrize(
    ("container", "codec", "media_format", "name"),
    [
        ("webm", "libvpx-vp9", "matroska", "vp9"),
        ("mpegts", "libx264", "mpegts", "h264"),
        ("avi", "mpeg4", "avi", "mpeg4"),
        ("flv", "libx264", "flv", "h264"),
        ("mov", "libx265", "mp4", "hevc"),
    ],
)
def test_every_container_is_judged(client: Client, container: str, codec: str, media_format: str, name: str) -> None:
    decision = client.moderate(video=video(3, container=container, codec=codec), trace=True, timeout=60)
    (part,) = decision.parts
    assert (part.state, part.media_format, part.codec) == (State.STATE_JUDGED, media_format, name), part.reason
    assert part.frames_sampled >= 3


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animated_picture_is_sampled_as_a_short_video(client: Client, kind: str) -> None:
    data = animation(8, kind)
    (part,) = client.moderate(parts=[image_part(data, max_frames=4, min_interval_ms=0)], timeout=60).parts
    assert part.state == State.STATE_JUDGED, part.reason
    assert 2 <= part.frames_sampled <= 4
    assert part.sampling_seed != 0
    assert part.media_format == kind.lower()


def test_near_copies_are_dropped_and_counted(client: Client) -> None:
    (part,) = client.moderate(video=video(SECONDS, still=True), timeout=60).parts
    assert part.frames_sampled == 1
    assert part.frames_dropped >= 3


def test_a_truncated_video_gives_its_good_frames_and_says_so(client: Client) -> None:
    whole = video(SECONDS, container="mpegts")
    decision = client.moderate(video=whole[: len(whole) // 2], trace=True, timeout=60)
    (part,) = decision.parts
    assert part.state == State.STATE_JUDGED, part.reason
    assert part.frames_sampled >= 2
    assert max(times_of(decision)) < SECONDS * 1000


def test_sound_alone_is_unreadable_with_its_reason(client: Client) -> None:
    decision = client.moderate(video=sound(), timeout=60)
    (part,) = decision.parts
    assert part.state == State.STATE_UNREADABLE
    assert part.reason_code == "UNSUPPORTED", part.reason
    assert decision.review.hold


def test_a_bad_video_never_changes_its_neighbours(client: Client, clip: bytes) -> None:
    parts = [video_part(clip[:300], part_id="bad"), video_part(clip, part_id="good"), text_part("hello there")]
    bad, good, words = client.moderate(parts=parts, timeout=60).parts
    assert bad.state == State.STATE_UNREADABLE
    assert good.state == words.state == State.STATE_JUDGED


def test_a_deadline_in_the_middle_leaves_what_was_judged(server: Server, client: Client) -> None:
    part = video_part(video(60), max_frames=256, min_interval_ms=0)
    budget_ms = 100.0
    while True:
        try:
            decision = client.moderate(parts=[part], budget_ms=budget_ms, trace=True, timeout=120)
        except DeadlineExceeded:
            # Nothing was scored yet. What was begun is finished first, lest it keep the inference server from the next.
            assert_at_rest(server)
            budget_ms *= 1.4
            continue
        break
    (status,) = decision.parts
    assert status.state == State.STATE_JUDGED
    assert decision.degraded, "every frame was scored within the least time in which any was"
    assert decision.scores
    assert ("not judged in time" in status.note) == (status.frames_missed > 0)


def test_videos_share_a_stream_with_everything_else(client: Client, clip: bytes) -> None:
    requests = [
        build_request(parts=[part], request_id=str(number))
        for number, part in enumerate([video_part(clip), text_part("hello"), image_part(JPEG), video_part(clip)] * 3)
    ]
    answers = list(client.stream(requests, timeout=120))
    assert len(answers) == 12
    assert all(answer.decision.parts[0].state == State.STATE_JUDGED for answer in answers)


def test_frames_are_counted(client: Client, clip: bytes, counter: Callable[..., float]) -> None:
    before = counter("floodgate_frames_total", outcome="judged")
    (part,) = client.moderate(video=clip, timeout=60).parts
    assert counter("floodgate_frames_total", outcome="judged") - before == part.frames_sampled


def test_moderate_shows_a_timeline(server: Server, tmp_path: Path, clip: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip)
    command = [FLOODGATE, "moderate", "--target", server.target, "--max-frames", "5", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    name, summary, first, *rest = done.stdout.splitlines()
    assert name == "clip.mp4"
    assert "mp4/h264, 0:0" in summary
    assert "(at most 5, 500 ms apart, seed 0x" in summary
    assert first.split()[0] == "0:00.000"
    assert any(line.startswith("clip.mp4") and "ALLOW" in line for line in rest)


def test_frames_writes_exactly_the_frames_that_were_judged(client: Client, tmp_path: Path, clip: bytes) -> None:
    decision = client.moderate(video=clip, trace=True, timeout=60)
    seed = decision.parts[0].sampling_seed
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip)
    command = [FLOODGATE, "frames", str(path), "--seed", hex(seed), "--out", str(tmp_path / "out"), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    assert [frame["time_ms"] for frame in listed["frames"]] == times_of(decision)
    assert all(Path(frame["file"]).stat().st_size for frame in listed["frames"])
    expected = sample_frames(clip, SamplingPlan(16, 500, seed))
    assert len(list((tmp_path / "out").iterdir())) == len(expected.frames)
