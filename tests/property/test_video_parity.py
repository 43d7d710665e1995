"""Frames sampled from videos are the right ones, at true times, with the pixels that PyAV decodes."""

from __future__ import annotations

import functools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from floodgate import _core
from floodgate.errors import ContentTooLarge, FloodgateError, InvalidContent, UnsupportedContent
from tests.property import video_files
from tests.property.video_files import Clip, Pixels, encode, number_of, reference

FAST_START = {"movflags": "faststart"}
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov"}
OPEN_GOP = {"x264-params": "open-gop=1"}
NO_INDEX = "the container has no usable index and was read through"

_files: dict[str, bytes] = {}


def encoded(clip: Clip) -> bytes:
    """encode(), once for each clip."""
    if repr(clip) not in _files:
        _files[repr(clip)] = encode(clip)
    return _files[repr(clip)]


decoded = functools.lru_cache(maxsize=16)(reference)

Frames = list[tuple[int, Pixels]]


def sample(data: bytes, max_frames: int = 12, **options: Any) -> tuple[Frames, dict[str, Any]]:
    """([(time in ms, upright pixels)], facts)."""
    frames, facts = _core.sample_frames(data, max_frames, **options)
    return [(time, np.frombuffer(rgb, np.uint8).reshape(h, w, 3)) for time, w, h, rgb in frames], facts


def distance(one: Pixels, other: Pixels) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def assert_true(frames: Frames, clip: Clip, data: bytes, first: int = 0) -> None:
    """Every frame is the one that its time says, and looks as PyAV's does."""
    expected = decoded(data)
    for time, pixels in frames:
        number = number_of(pixels)
        assert abs(time - (clip.time_of(number) - clip.time_of(first)) * 1000) <= 1.01, (time, number)
        assert distance(pixels, expected[number - first][1]) <= 2


CLIPS = {
    "h264 mp4": Clip(),
    "h264 mp4, index first": Clip(container_options=FAST_START),
    "h264 mp4, fragmented": Clip(container_options=FRAGMENTED),
    "h264 mp4, open groups": Clip(options=OPEN_GOP),
    "h264 mp4, one key frame": Clip(gop=600),
    "h264 mp4, pyramid": Clip(bframes=6, gop=40, options={"b-pyramid": "normal"}),
    "h264 mp4, many reordered": Clip(bframes=8, gop=40, options={"b-pyramid": "normal", "b-adapt": "0"}),
    "h264 mp4 from 5 s on": Clip(start=5),
    "h264 mp4, 10 bit": Clip(pix_fmt="yuv420p10le"),
    "h264 mp4, 4:4:4": Clip(pix_fmt="yuv444p"),
    "h264 mp4 with sound": Clip(sound=True),
    "h264 mov, odd size": Clip(container="mov", width=162, height=98),
    "h264 mkv": Clip(container="matroska"),
    "h264 mkv, open groups": Clip(container="matroska", options=OPEN_GOP),
    "h264 ts": Clip(container="mpegts"),
    "h264 ts from 5 s on": Clip(container="mpegts", start=5),
    "h264 ts with sound": Clip(container="mpegts", sound=True),
    "h264 flv": Clip(container="flv"),
    "h264 flv with sound": Clip(container="flv", sound=True),
    "h264 avi": Clip(container="avi", bframes=0),
    "h264 avi, reordered": Clip(container="avi"),
    "hevc mp4": Clip(codec="libx265"),
    "hevc mp4, 10 bit": Clip(codec="libx265", pix_fmt="yuv420p10le"),
    "hevc ts": Clip(codec="libx265", container="mpegts"),
    "vp8 webm": Clip(codec="libvpx", container="webm"),
    "vp9 webm": Clip(codec="libvpx-vp9", container="webm"),
    "vp9 webm with sound": Clip(codec="libvpx-vp9", container="webm", sound=True),
    "vp9 mp4": Clip(codec="libvpx-vp9"),
    "av1 mp4": Clip(codec="libsvtav1"),
    "av1 webm": Clip(codec="libsvtav1", container="webm"),
    "mpeg4 avi": Clip(codec="mpeg4", container="avi", bframes=0),
    "mpeg4 avi, reordered": Clip(codec="mpeg4", container="avi"),
    "mpeg4 mp4": Clip(codec="mpeg4"),
    "mpeg2 ts": Clip(codec="mpeg2video", container="mpegts"),
    "mjpeg mov": Clip(codec="mjpeg", container="mov", pix_fmt="yuvj420p", full_range=True),
    "flv1 flv": Clip(codec="flv", container="flv"),
}


@pytest.mark.parametrize("name", CLIPS)
def test_frames_are_those_of_their_times_and_equal_pyav(name: str) -> None:
    clip = CLIPS[name]
    data = encoded(clip)
    for seed in (1, 2):
        frames, facts = sample(data, 16, seed=seed)
        assert_true(frames, clip, data)
        numbers = [number_of(pixels) for _, pixels in frames]
        assert numbers[0] == 0
        assert numbers[-1] == clip.frames - 1
        assert len(numbers) >= 8, "all frames differ, so that few planned ones fall together"
        assert (facts["width"], facts["height"]) == (clip.width, clip.height)
        assert abs(facts["duration_ms"] - clip.frames * 1000 / clip.fps) <= 40
        expects_index = clip.container in ("mp4", "mov", "matroska", "webm", "avi") and "fragmented" not in name
        assert facts["notes"] == ("" if expects_index else NO_INDEX)


@pytest.mark.parametrize(
    "name", ["h264 mp4", "h264 mp4, fragmented", "h264 ts", "vp9 webm", "h264 avi, reordered", "hevc mp4"]
)
def test_every_frame_can_be_asked_for(name: str) -> None:
    clip = CLIPS[name]
    data = encoded(clip)
    numbers: set[int] = set()
    for seed in range(4):
        frames, _ = sample(data, 200, seed=seed)
        assert_true(frames, clip, data)
        numbers |= {number_of(pixels) for _, pixels in frames}
    assert numbers == set(range(clip.frames))


def test_drawn_frames_follow_the_seed_and_the_ends_stay() -> None:
    data = encoded(Clip(frames=120))
    times = [[time for time, _ in sample(data, 8, seed=seed)[0]] for seed in range(6)]
    assert len({tuple(of_seed) for of_seed in times}) > 1
    assert {of_seed[0] for of_seed in times} == {0}
    assert len({of_seed[-1] for of_seed in times}) == 1
    assert times[0] == [time for time, _ in sample(data, 8, seed=0)[0]]


def test_one_frame_is_the_first() -> None:
    clip = Clip()
    frames, facts = sample(encoded(clip), 1)
    assert [number_of(pixels) for _, pixels in frames] == [0]
    assert facts["planned"] == 1


def test_variable_frame_rate_keeps_each_frames_own_time() -> None:
    random = np.random.default_rng(3)
    times = np.cumsum(random.choice([1, 1, 2, 5, 30], 80)) / 30
    for container in ("mp4", "matroska", "mpegts", "flv"):
        clip = Clip(container=container, frames=80, times=tuple(float(time) for time in times))
        data = encoded(clip)
        for seed in range(3):
            assert_true(sample(data, 40, seed=seed)[0], clip, data)


def test_times_ascend_and_are_no_more_than_the_interval_allows() -> None:
    frames, facts = sample(encoded(Clip(frames=120)), 32, min_interval_ms=300, seed=4)
    times = [time for time, _ in frames]
    assert times == sorted(set(times))
    assert facts["planned"] <= 2 + 4000 // 300


@pytest.mark.parametrize("orientation", range(1, 9))
def test_display_matrix_turns_the_frames(orientation: int) -> None:
    clip = Clip(frames=20)
    data = video_files.turned(encoded(clip), orientation)
    frames, facts = sample(data, 4)
    expected = decoded(encoded(clip))
    for time, pixels in frames:
        stored = expected[round(time * clip.fps / 1000)][1]
        assert distance(pixels, upright(stored, orientation)) <= 2
    assert (facts["width"], facts["height"]) == ((160, 96) if orientation < 5 else (96, 160))


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """What a viewer sees, by the words of the EXIF standard (CIPA DC-008, tag 274)."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


@pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(16, 11), Fraction(1, 2), Fraction(200, 1)])
@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
def test_sample_aspect_ratio_is_in_the_shown_size(container: str, aspect: Fraction) -> None:
    _, facts = sample(encoded(Clip(container=container, frames=20, aspect=aspect)), 2)
    sane = aspect if aspect <= 16 else Fraction(1)
    width = round(160 * sane) if sane > 1 else 160
    height = round(96 / sane) if sane < 1 else 96
    assert (facts["width"], facts["height"]) == (width, height)


@pytest.mark.parametrize("container", ["mpegts", "matroska", "flv"])
def test_what_comes_before_the_first_key_frame_is_left_out_and_said_so(container: str) -> None:
    clip = Clip(container=container)
    frames, facts = sample(video_files.without_first_key(clip), 10)
    assert number_of(frames[0][1]) == 15
    assert frames[0][0] == 0
    for time, pixels in frames:
        assert abs(time - (number_of(pixels) - 15) * 1000 / 30) <= 1.01
    assert "what comes before the first key frame cannot be decoded" in facts["notes"]


def test_each_frame_has_its_own_size_and_the_clock_goes_on() -> None:
    clip = Clip(container="mpegts", frames=60, sizes=((160, 96), (96, 128), (320, 192)))
    frames, facts = sample(encode(clip), 24)
    assert {pixels.shape[:2] for _, pixels in frames} == {(96, 160), (128, 96), (192, 320)}
    assert "the frame size changes on the way" in facts["notes"]
    assert (facts["width"], facts["height"]) == (160, 96)
    for time, pixels in frames:
        assert abs(time - number_of(pixels) * 1000 / 30) <= 110, "the cuts' own lengths are unknown"


def test_frames_that_show_the_same_are_counted_and_not_shown() -> None:
    still = Clip(frames=60, picture=lambda number, width, height: video_files.numbered(0, width, height))
    frames, facts = sample(encode(still), 12)
    assert len(frames) == 1
    assert facts["similar"] == facts["planned"] - 1 > 5


@pytest.mark.parametrize(
    "name", ["h264 mp4, index first", "h264 mp4, fragmented", "h264 mkv", "h264 ts", "h264 flv", "h264 avi", "vp9 webm"]
)
def test_a_cut_file_gives_its_good_frames(name: str) -> None:
    clip = CLIPS[name]
    data = encoded(clip)
    counts, refused = [], []
    for percent in range(17, 100, 3):  # before that even the first frame is cut
        cut = data[: len(data) * percent // 100]
        try:
            frames, facts = sample(cut, 16)
        except (InvalidContent, UnsupportedContent):
            refused.append(percent)
            continue
        assert_true(frames, clip, data)
        if name != "h264 ts" or len(cut) % 188:
            assert "the data ends early" in facts["notes"]
        counts.append(number_of(frames[-1][1]))
    assert max(refused, default=0) < 40
    assert counts == sorted(counts)
    assert counts[-1] >= clip.frames * 3 // 4


def test_a_file_cut_within_its_first_frame_says_so() -> None:
    data = encoded(Clip(container_options=FAST_START))
    with pytest.raises(InvalidContent, match="its data ends early"):
        sample(data[: data.index(b"mdat") + 400])


def test_a_movie_without_its_index_is_refused_with_the_reason() -> None:
    data = encoded(Clip())
    assert data.index(b"moov") > data.index(b"mdat")
    with pytest.raises(InvalidContent, match="movie box"):
        sample(data[: len(data) * 3 // 4])


@pytest.mark.parametrize(
    "name", ["h264 mp4", "h264 mkv", "h264 ts", "h264 flv", "mpeg4 avi", "vp9 webm", "av1 mp4", "hevc mp4"]
)
def test_flipped_bits_give_frames_or_a_reason(name: str) -> None:
    data = encoded(CLIPS[name])
    random = np.random.default_rng(11)
    given = 0
    for _ in range(25):
        broken = bytearray(data)
        for at in random.integers(0, len(data), 1 + random.integers(0, 30)):
            broken[at] ^= 1 << int(random.integers(0, 8))
        try:
            frames, _ = sample(bytes(broken), 8)
        except FloodgateError:
            continue
        given += bool(frames)
    assert given >= 8


def test_sound_without_video_is_named() -> None:
    for container in ("mp4", "webm", "mpegts", "flv"):
        with pytest.raises(UnsupportedContent, match="the file has sound but no video"):
            sample(video_files.sound_only(container))


def test_a_video_without_frames_is_named() -> None:
    with pytest.raises(InvalidContent, match="no video"):
        sample(video_files.without_packets(encoded(Clip()), "mp4"))


def test_an_unknown_codec_is_named() -> None:
    with pytest.raises(UnsupportedContent, match=r"codec \(huffyuv\) is not supported"):
        sample(encode(Clip(container="avi", codec="huffyuv", pix_fmt="yuv422p", frames=3)))
    with pytest.raises(UnsupportedContent, match="codec is unknown"):
        sample(encoded(Clip()).replace(b"avc1", b"zzzz"))


def test_limits_are_checked_on_what_the_header_says_and_on_what_the_frames_are() -> None:
    data = encoded(Clip())
    for limits, what in (
        (_core.MediaLimits(max_pixels=10_000), "max_pixels"),
        (_core.MediaLimits(max_side_px=100), "max_side_px"),
        (_core.MediaLimits(max_duration_ms=1500), "max_duration_ms"),
        (_core.MediaLimits(max_video_bytes=1000), "max_video_bytes"),
    ):
        with pytest.raises(ContentTooLarge, match=what):
            _core.probe(data, limits)
        with pytest.raises(ContentTooLarge, match=what):
            sample(data, limits=limits)
    with pytest.raises(ContentTooLarge, match="max_duration_ms"):
        sample(encoded(Clip(container="mpegts")), limits=_core.MediaLimits(max_duration_ms=1500))


@pytest.mark.parametrize("name", CLIPS)
def test_the_probe_reads_the_container(name: str) -> None:
    clip = CLIPS[name]
    info = _core.probe(encoded(clip))
    containers = {"mov": "mp4", "webm": "matroska"}
    assert info.format == containers.get(clip.container, clip.container)
    assert info.is_video
    if clip.container != "mpegts":
        assert (info.width, info.height) == (clip.width, clip.height)
        if "fragmented" not in name:
            assert abs(info.duration_ms - clip.frames * 1000 / clip.fps) <= 80 + clip.start * 1000
    assert info.decode_cost_ns > 0
