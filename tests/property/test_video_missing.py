"""What demuxers step over in silence is said; files that lack nothing are left alone."""

from __future__ import annotations

import struct

import pytest
from test_video_parity import CLIPS, encoded, sample
from video_files import Clip, encode

MISSING = "the file is damaged or holds less than it declares"
CLUSTERS = {"cluster_time_limit": "400"}


def overwritten(data: bytes, fill: bytes) -> bytes:
    """The file with its third fifth overwritten."""
    first, last = len(data) * 2 // 5, len(data) * 3 // 5
    return data[:first] + (fill * (last - first))[: last - first] + data[last:]


@pytest.mark.parametrize("fill", [b"\0", b"\xff", bytes(range(7, 250, 9))], ids=["zeros", "ones", "noise"])
@pytest.mark.parametrize(
    "clip",
    [
        Clip(container="matroska", container_options=CLUSTERS),
        Clip(container="webm", codec="libvpx-vp9", container_options=CLUSTERS),
        Clip(container="avi", codec="mpeg4", bframes=0),
        Clip(container="avi", bframes=0),
    ],
    ids=["mkv", "webm", "mpeg4 avi", "h264 avi"],
)
def test_a_hole_in_the_middle_makes_the_video_partial(clip: Clip, fill: bytes) -> None:
    _, facts = sample(overwritten(encoded(clip), fill), 8)
    assert facts["partial"] is True
    assert MISSING in facts["notes"]


def test_a_matroska_file_that_declares_more_than_it_holds_is_partial() -> None:
    data = encoded(Clip(container="matroska"))
    at = data.index(b"\x44\x89\x88") + 3
    assert struct.unpack(">d", data[at : at + 8])[0] == 2000
    for seconds, partial in ((6.5, False), (8, True), (3600, True)):
        changed = data[:at] + struct.pack(">d", seconds * 1000) + data[at + 8 :]
        assert sample(changed, 4)[1]["partial"] is partial, seconds


def test_an_avi_that_declares_more_than_it_holds_is_partial() -> None:
    data = encoded(Clip(container="avi", codec="mpeg4", bframes=0))
    at = data.index(b"strh") + 8 + 32
    assert int.from_bytes(data[at : at + 4], "little") == 60
    for frames, partial in ((0, False), (65, False), (70, True)):
        changed = data[:at] + frames.to_bytes(4, "little") + data[at + 4 :]
        assert sample(changed, 4)[1]["partial"] is partial, frames


@pytest.mark.parametrize(
    "clip",
    [
        *CLIPS.values(),
        Clip(container="matroska", sound=True, frames=90),
        Clip(container="matroska", start=5),
        Clip(container="matroska", container_options={"live": "1"}),
        Clip(container="webm", codec="libvpx", container_options={"live": "1"}),
        Clip(container="matroska", frames=20, times=tuple(n * n / 10 for n in range(20))),
        Clip(container="avi", frames=20, bframes=0, times=tuple(n * n / 10 for n in range(20))),
        Clip(container="avi", codec="mpeg4", sound=True),
    ],
    ids=repr,
)
def test_whole_files_are_not_partial(clip: Clip) -> None:
    assert sample(encoded(clip), 4)[1]["partial"] is False


def test_transport_streams_joined_end_to_end_are_not_partial() -> None:
    one, other = encoded(Clip(container="mpegts")), encoded(Clip(container="mpegts", start=2))
    for joined in (one + one, one + other, other + one, one + one + one):
        frames, facts = sample(joined, 12)
        assert facts["partial"] is False, facts["notes"]
        assert frames[-1][0] >= 3800
    assert sample(encode(Clip(container="mpegts", sizes=((160, 96), (96, 128)))), 8)[1]["partial"] is False


@pytest.mark.parametrize("first", [60, 20, 100])
@pytest.mark.parametrize("joined", [False, True])
def test_packets_lost_from_a_transport_stream_are_said(joined: bool, first: int) -> None:
    data = encoded(Clip(container="mpegts"))
    lossy = data[: 188 * first] + data[188 * (first + 5) :]
    _, facts = sample(lossy + data if joined else lossy, 12)
    assert facts["partial"] is True
