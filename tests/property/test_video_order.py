"""Videos whose times go back: no frame hides there, and times are true where the file tells them."""

from __future__ import annotations

import io
import struct

import av
import pytest
from test_video_parity import NO_INDEX, encoded, sample
from video_files import Clip, number_of

NO_EDITS = {"use_editlist": "0"}
REORDERED = "presentation times go back: frames were taken in the order of decoding"


def without_composition(data: bytes, container: str) -> bytes:
    """The packets of a file with the times of decoding as those of showing, as plain muxers write."""
    source = av.open(io.BytesIO(data))
    stream_bytes = io.BytesIO()
    first: int | None = None
    with av.open(stream_bytes, "w", format=container) as out:
        video = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is None:
                continue
            first = packet.dts if first is None else first
            packet.pts = packet.dts = packet.dts - first
            packet.stream = video
            out.mux(packet)
    return stream_bytes.getvalue()


def reached(data: bytes, seeds: int = 3) -> tuple[set[int], list[list[tuple[int, int]]], list[str]]:
    numbers: set[int] = set()
    runs, notes = [], []
    for seed in range(seeds):
        frames, facts = sample(data, 300, seed=seed)
        runs.append([(time, number_of(pixels)) for time, pixels in frames])
        numbers |= {number for _, number in runs[-1]}
        notes.append(facts["notes"])
        assert facts["partial"] is False
        times = [time for time, _ in runs[-1]]
        assert times == sorted(set(times))
    return numbers, runs, notes


PLAIN = [
    ("mp4", Clip()),
    ("mp4", Clip(codec="mpeg4")),
    ("mp4", Clip(bframes=6, gop=40, options={"b-pyramid": "normal"})),
    ("matroska", Clip()),
    ("matroska", Clip(codec="mpeg4")),
    ("mpegts", Clip(container="mpegts")),
    ("flv", Clip(container="flv")),
]


@pytest.mark.parametrize(("container", "clip"), PLAIN, ids=lambda value: getattr(value, "codec", value))
def test_reordered_frames_without_times_of_their_own_are_all_reached_at_true_times(container: str, clip: Clip) -> None:
    numbers, runs, notes = reached(without_composition(encoded(clip), container))
    assert numbers == set(range(clip.frames))
    for run in runs:
        for time, number in run:
            assert abs(time - number * 1000 / clip.fps) <= 1.01
    assert all(REORDERED in note for note in notes)


@pytest.mark.parametrize(("codec", "container"), [("libx265", "mp4"), ("mpeg2video", "mpegts")])
def test_where_frames_may_be_missed_for_want_of_times_the_video_is_partial(codec: str, container: str) -> None:
    """Groups refer to the one before, so that frames may be missed where decoding begins."""
    data = without_composition(encoded(Clip(codec=codec, container=container)), container)
    _, facts = sample(data, 300)
    assert facts["partial"] is True
    assert REORDERED in facts["notes"]


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts", "flv"])
def test_times_that_ascend_because_nothing_is_reordered_are_left_alone(container: str) -> None:
    clip = Clip(container=container, bframes=0)
    frames, facts = sample(encoded(clip), 20)
    for time, pixels in frames:
        assert abs(time - number_of(pixels) * 1000 / clip.fps) <= 1.01
    assert facts["notes"] == ("" if container in ("mp4", "matroska") else NO_INDEX)


def matroska_gone_back(data: bytes, after_ms: int, by_ms: int) -> bytes:
    """Clusters from `after_ms` on say that they are `by_ms` earlier."""
    changed = bytearray(data)
    at = 0
    while (at := changed.find(b"\x1f\x43\xb6\x75", at + 1)) > 0:
        stamp = changed.index(b"\xe7", at)
        size = changed[stamp + 1] & 0x7F
        time = int.from_bytes(changed[stamp + 2 : stamp + 2 + size], "big")
        if time >= after_ms:
            changed[stamp + 2 : stamp + 2 + size] = (time - by_ms).to_bytes(size, "big")
    return bytes(changed)


def flv_gone_back(data: bytes, after_ms: int, by_ms: int) -> bytes:
    changed = bytearray(data)
    at = int.from_bytes(data[5:9], "big") + 4
    while at + 11 <= len(data):
        time = int.from_bytes(data[at + 4 : at + 7], "big")
        if data[at] == 9 and time >= after_ms:
            changed[at + 4 : at + 7] = (time - by_ms).to_bytes(3, "big")
        at += 11 + int.from_bytes(data[at + 1 : at + 4], "big") + 4
    return bytes(changed)


def mp4_gone_back(data: bytes, by_ticks: int) -> bytes:
    """The middle third of the composition offsets' entries is shown so much earlier."""
    changed = bytearray(data)
    at = data.index(b"ctts") + 4
    changed[at] = 1
    count = int.from_bytes(data[at + 4 : at + 8], "big")
    for entry in range(count // 3, count * 2 // 3):
        place = at + 8 + 8 * entry + 4
        offset = struct.unpack(">i", changed[place : place + 4])[0]
        changed[place : place + 4] = struct.pack(">i", offset - by_ticks)
    return bytes(changed)


CLUSTERS = {"cluster_time_limit": "400"}


@pytest.mark.parametrize("codec", ["libx264", "libvpx-vp9"])
@pytest.mark.parametrize("cues", [True, False])
def test_a_matroska_clock_that_is_set_back_hides_nothing(codec: str, cues: bool) -> None:
    clip = Clip(container="matroska", codec=codec, container_options=CLUSTERS)
    data = matroska_gone_back(encoded(clip), 1000, 900)
    if not cues:
        data = data.replace(b"\x1c\x53\xbb\x6b", b"\x1c\x53\xbb\x6c")
    numbers, runs, notes = reached(data)
    assert numbers == set(range(clip.frames))
    for run in runs:
        assert [number for _, number in run] == sorted(number for _, number in run)
        assert run[-1][0] >= 1900
    assert all(REORDERED in note for note in notes)


def test_where_a_clock_that_is_set_back_may_hide_frames_the_video_is_partial() -> None:
    clip = Clip(container="matroska", codec="mpeg4", container_options=CLUSTERS)
    _, facts = sample(matroska_gone_back(encoded(clip), 1000, 900), 300)
    assert facts["partial"] is True
    assert REORDERED in facts["notes"]


def test_an_flv_clock_that_is_set_back_hides_nothing() -> None:
    clip = Clip(container="flv")
    numbers, _, notes = reached(flv_gone_back(encoded(clip), 1000, 900))
    assert numbers == set(range(clip.frames))
    assert all(REORDERED in note for note in notes)


@pytest.mark.parametrize("by_s", [0.45, 0.22])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_composition_offsets_into_the_past_hide_nothing(codec: str, by_s: float) -> None:
    clip = Clip(gop=20, codec=codec)
    numbers, _, notes = reached(mp4_gone_back(encoded(clip), round(by_s * (90_000 if codec == "libx264" else 15_360))))
    assert numbers == set(range(clip.frames))
    assert all(REORDERED in note for note in notes)


@pytest.mark.parametrize(
    ("codec", "container"),
    [("libx264", "mp4"), ("libx264", "mpegts"), ("mpeg4", "mp4"), ("libvpx-vp9", "mp4")],
)
def test_frames_that_share_one_time_hide_nothing(codec: str, container: str) -> None:
    """All but the first would be shown in no time, and the last of them would stay for as long as they take."""
    clip = Clip(codec=codec, bframes=0)
    data = sharing_a_time(encoded(clip), container, 20, 40)
    numbers, _, notes = reached(data)
    assert numbers == set(range(clip.frames))
    assert all(REORDERED in note for note in notes)


def sharing_a_time(data: bytes, container: str, first: int, last: int) -> bytes:
    """The packets of a file, two seconds later; those of [first, last) shown at the time of the first of them."""
    source = av.open(io.BytesIO(data))
    stream_bytes = io.BytesIO()
    with av.open(stream_bytes, "w", format=container, options={} if container == "mpegts" else NO_EDITS) as out:
        video = out.add_stream_from_template(source.streams.video[0])
        time = 0
        for number, packet in enumerate(source.demux(video=0)):
            if packet.dts is None or packet.pts is None:
                continue
            packet.pts += round(2 / packet.time_base)
            time = packet.pts if number <= first or number >= last else time
            packet.pts = time
            packet.stream = video
            out.mux(packet)
    return stream_bytes.getvalue()


def test_packed_frames_of_an_avi_are_all_reached_at_true_times() -> None:
    """Two frames in one chunk and an empty one after it, as encoders for Video for Windows wrote reordered frames."""
    clip = Clip(codec="mpeg4", container="avi", bframes=1)
    data = packed(encoded(clip), clip)
    numbers, runs, _ = reached(data)
    assert numbers == set(range(clip.frames))
    for run in runs:
        for time, number in run:
            assert abs(time - number * 1000 / clip.fps) <= 1.01


def packed(data: bytes, clip: Clip) -> bytes:
    source = av.open(io.BytesIO(data))
    packets = [bytes(packet) for packet in source.demux(video=0) if packet.size]
    kinds = [packet[packet.index(b"\0\0\1\xb6") + 4] >> 6 for packet in packets]  # 0: I, 1: P, 2: B
    frozen = b"\0\0\1\xb6\x50\x7f"  # a P frame that is not coded
    chunks: list[bytes] = []
    index = 0
    while index < len(packets):
        if index + 1 < len(packets) and kinds[index] != 2 and kinds[index + 1] == 2:
            head = packets[index]
            chunks.append(head + packets[index + 1])
            index += 2
            while index < len(packets) and kinds[index] == 2:
                chunks.append(packets[index])
                index += 1
            chunks.append(frozen)
        else:
            chunks.append(packets[index])
            index += 1
    assert len(chunks) == len(packets)
    chunks[0] = b"\0\0\1\xb2DivX503b1393p" + chunks[0]
    stream_bytes = io.BytesIO()
    with av.open(stream_bytes, "w", format="avi") as out:
        video = out.add_stream_from_template(source.streams.video[0])
        for number, chunk in enumerate(chunks):
            packet = av.Packet(chunk)
            packet.stream = video
            packet.time_base = source.streams.video[0].time_base
            packet.pts = packet.dts = number
            packet.is_keyframe = chunk[chunk.index(b"\0\0\1\xb6") + 4] >> 6 == 0
            out.mux(packet)
    return stream_bytes.getvalue()
