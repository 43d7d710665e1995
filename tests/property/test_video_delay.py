"""No frame hides behind a display delay that reaches the next key frame, nor behind what a decoder drops in silence."""

from __future__ import annotations

import io

import av
import pytest
from test_video_parity import FAST_START, FRAGMENTED, OPEN_GOP, distance, encoded, reference, sample
from video_files import Clip, encode, number_of

NO_EDITS = {"use_editlist": "0"}
LOST = "some frames could not be decoded and were left out"
ENDS_EARLY = "the data ends early"


def delayed(data: bytes, container: str, by_s: float, options: dict[str, str], only_first: int = 0) -> bytes:
    """The packets of a file, shown later than before: all of them, or from the start as many as said."""
    source = av.open(io.BytesIO(data))
    stream_bytes = io.BytesIO()
    with av.open(stream_bytes, "w", format=container, options=options) as out:
        video = out.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.dts is None or packet.pts is None:
                continue
            if not only_first or number < only_first:
                packet.pts += round(by_s / packet.time_base)
            packet.stream = video
            out.mux(packet)
    return stream_bytes.getvalue()


def assert_all_shown(data: bytes) -> None:
    """Every frame that PyAV decodes is reached, at its time, and nothing is said to lack."""
    expected = {number_of(pixels): time for time, pixels in reference(data)}
    numbers: set[int] = set()
    for seed in range(3):
        frames, facts = sample(data, 300, seed=seed)
        for time, pixels in frames:
            number = number_of(pixels)
            assert abs(time - expected[number]) <= 1.01, (time, number)
            numbers.add(number)
        assert facts["partial"] is False, facts["notes"]
        assert number_of(frames[-1][1]) == max(expected)
    assert numbers == set(expected)


@pytest.mark.parametrize("by_s", [0.034, 0.1, 0.5, 1, 3])
@pytest.mark.parametrize(
    ("container", "options"),
    [
        ("mp4", {}),
        ("mp4", NO_EDITS),
        ("mov", NO_EDITS),
        ("mp4", FRAGMENTED),
        ("mp4", FRAGMENTED | NO_EDITS),
        ("flv", {}),
    ],
    ids=["edit list", "no edit list", "mov", "fragments", "fragments without edit list", "flv"],
)
def test_a_delay_hides_no_frame(container: str, options: dict[str, str], by_s: float) -> None:
    assert_all_shown(delayed(encoded(Clip(frames=120)), container, by_s, options))


@pytest.mark.parametrize(
    "clip",
    [
        Clip(frames=40, container_options=NO_EDITS),
        Clip(frames=40, codec="mpeg4", container_options=NO_EDITS),
        Clip(gop=2, container_options=FRAGMENTED),
        Clip(gop=3, container_options=FRAGMENTED),
        Clip(gop=3, container_options=NO_EDITS),
        Clip(gop=4, codec="libx265", bframes=3, container_options=FRAGMENTED),
        Clip(gop=4, codec="libx265", bframes=3, container_options=NO_EDITS),
    ],
    ids=repr,
)
def test_short_groups_hide_no_frame(clip: Clip) -> None:
    assert_all_shown(encoded(clip))


@pytest.mark.parametrize("frames", range(31, 41))
def test_the_last_frames_of_open_groups_are_shown(frames: int) -> None:
    """The decoder drops what it holds when the file ends before the last key frame has left it."""
    options = OPEN_GOP | {"x264-params": "open-gop=1:b-pyramid=normal"}
    assert_all_shown(encoded(Clip(frames=frames, bframes=3, options=options)))


def test_frames_that_a_decoder_refuses_in_the_middle_are_said() -> None:
    clip = Clip(codec="libsvtav1", gop=20, container_options=FAST_START)
    data = encoded(clip)
    start, length = len(data) // 2, len(data) // 30
    broken = data[:start] + bytes(length) + data[start + length :]
    numbers: set[int] = set()
    for seed in range(3):
        frames, facts = sample(broken, 300, seed=seed)
        numbers |= {number_of(pixels) for _, pixels in frames}
        assert facts["partial"] is True
        assert LOST in facts["notes"]
    assert len(numbers) < clip.frames


@pytest.mark.parametrize("movflags", ["frag_keyframe+empty_moov", "frag_every_frame+empty_moov"])
def test_fragments_that_end_between_header_and_media_are_said_to_end_early(movflags: str) -> None:
    data = encoded(Clip(container_options={"movflags": movflags}))
    header = data.rindex(b"moof") - 4
    media = data.rindex(b"mdat") - 4
    for end in (header + 3, header + 9, media - 1, media, media + 1, media + 7, media + 8, media + 9):
        assert ENDS_EARLY in sample(data[:end], 12)[1]["notes"], end - media
    assert sample(data, 12)[1]["partial"] is False


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska"])
def test_a_video_that_begins_after_hours_lasts_as_long_as_it_does(container: str) -> None:
    clip = Clip(container=container, start=90_000)
    frames, facts = sample(encoded(clip), 12)
    assert (number_of(frames[0][1]), number_of(frames[-1][1])) == (0, clip.frames - 1)
    assert abs(facts["duration_ms"] - 2000) <= 40
    assert facts["partial"] is False


@pytest.mark.parametrize(
    "clip",
    [
        Clip(codec="mjpeg", container="avi", pix_fmt="yuvj420p", full_range=True, frames=30),
        Clip(codec="mpeg4", container="avi", bframes=0),
        Clip(codec="mpeg2video", container="mpegts"),
    ],
    ids=["mjpeg avi", "mpeg4 avi", "mpeg2 ts"],
)
def test_half_a_frame_at_a_cut_is_not_shown_as_a_whole_one(clip: Clip) -> None:
    data = encoded(clip)
    whole = {number_of(pixels): pixels for _, pixels in reference(data)}
    for parts in range(8, 24):
        frames, _ = sample(data[: len(data) * parts // 24], 300)
        for _, pixels in frames:
            assert distance(pixels, whole[number_of(pixels)]) <= 2, parts


def test_key_frames_that_are_all_decoded_at_one_time_are_told_apart_without_end() -> None:
    clip = Clip(frames=3000, gop=1, bframes=0, width=32, height=32)
    data = bytearray(delayed(encode(clip), "mp4", 0.1, NO_EDITS))
    at = data.index(b"stts") + 4
    for entry in range(int.from_bytes(data[at + 4 : at + 8], "big")):
        data[at + 8 + 8 * entry + 4 : at + 8 + 8 * entry + 8] = bytes(4)
    frames, facts = sample(bytes(data), 12)
    assert frames[0][0] == 0
    assert facts["duration_ms"] == 0
