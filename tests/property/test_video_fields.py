"""What files say beside their pixels: which way up frames are, that they are interlaced, where the file should end."""

from __future__ import annotations

import io
from typing import Any

import av
import pytest
from av.bitstream import BitStreamFilterContext
from test_video_parity import decoded, distance, encoded, sample, upright
from video_files import Clip, number_of, numbered


def filtered(data: bytes, bitstream_filter: str, container: str) -> bytes:
    """The packets of a file, changed by one of FFmpeg's bit stream filters."""
    source = av.open(io.BytesIO(data))
    stream_bytes = io.BytesIO()
    with av.open(stream_bytes, "w", format=container) as out:
        video = out.add_stream_from_template(source.streams.video[0])
        changer = BitStreamFilterContext(bitstream_filter, source.streams.video[0], video)
        for packet in source.demux(video=0):
            for changed in changer.filter(packet if packet.dts is not None else None):
                changed.stream = video
                out.mux(changed)
    return stream_bytes.getvalue()


@pytest.mark.parametrize("container", ["mp4", "mpegts"])
@pytest.mark.parametrize(
    ("change", "orientation"), [("rotate=90", 8), ("rotate=180", 3), ("rotate=270", 6), ("flip=horizontal", 2)]
)
def test_a_codecs_word_on_orientation_holds_until_the_next_one(container: str, change: str, orientation: int) -> None:
    """H.264 says it with key frames, by supplemental information that persists."""
    clip = Clip(container=container)
    data = filtered(encoded(clip), f"h264_metadata=display_orientation=insert:{change}", container)
    stored = decoded(encoded(clip))
    frames, facts = sample(data, 16)
    assert len(frames) >= 8
    for time, pixels in frames:
        assert distance(pixels, upright(stored[round(time * clip.fps / 1000)][1], orientation)) <= 2
    assert "the frame size changes" not in facts["notes"]
    assert (facts["width"], facts["height"]) == ((160, 96) if orientation < 5 else (96, 160))


def woven(number: int, width: int, height: int) -> Any:
    """A frame of two fields in strong colours of their own: rows of 4:2:0 colour belong to the fields by turns."""
    grey = av.VideoFrame.from_ndarray(numbered(number, width, height), format="rgb24").reformat(format="yuv420p")
    planes = grey.to_ndarray()
    upper = height // 4  # rows of colour; below them stands the number
    chroma = planes[height:].reshape(2, height // 2, width // 2)
    for plane, values in zip(chroma, ((84, 212), (240, 60)), strict=True):
        plane[:upper:2], plane[1:upper:2] = values
        plane[upper:] = 128
    planes[height:] = chroma.reshape(height // 2, width)
    return av.VideoFrame.from_ndarray(planes, format="yuv420p")


@pytest.mark.parametrize(("codec", "height"), [("libx264", 96), ("mpeg2video", 96), ("mpeg2video", 98)])
def test_fields_keep_their_own_colours(codec: str, height: int) -> None:
    options = {"flags": "+ildct+ilme"} | ({"x264-params": "tff=1"} if codec == "libx264" else {})
    clip = Clip(container="mpegts", codec=codec, frames=20, height=height, yuv=woven, options=options)
    data = encoded(clip)
    with av.open(io.BytesIO(data)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    frames, _ = sample(data, 6)
    assert len(frames) >= 4
    for _, pixels in frames:
        # Fields of 49 rows would share their last row of colours: such a frame is converted as a whole.
        if height % 4 == 0:
            assert distance(pixels, decoded(data)[number_of(pixels)][1]) <= 2
        assert pixels.shape == (height, 160, 3)


def test_a_live_stream_that_is_cut_says_so() -> None:
    """Browsers record so: neither segment nor clusters tell their sizes, and there is no index."""
    clip = Clip(container="matroska", container_options={"live": "1"})
    data = encoded(clip)
    frames, facts = sample(data, 16)
    assert number_of(frames[-1][1]) == clip.frames - 1
    assert not facts["partial"]
    for percent in (30, 55, 80, 97):
        frames, facts = sample(data[: len(data) * percent // 100], 16)
        assert facts["partial"]
        assert "the data ends early" in facts["notes"]
        assert len(frames) >= 5
