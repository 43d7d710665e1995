"""Small real videos, encoded with PyAV: every frame carries its number, so that its time can be proved.

A frame's number stands in two rows of eight blocks, black or white, on a ground whose grey differs from frame to
frame. All files are made in memory; surgery on the bytes makes what encoders do not.
"""

from __future__ import annotations

import dataclasses
import io
import os
import tempfile
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("SVT_LOG", "1")  # errors only

Pixels = NDArray[np.uint8]

BITS = 12
COLUMNS, ROWS = 8, 2


@dataclasses.dataclass(frozen=True)
class Clip:
    """What to encode. Times are in seconds."""

    container: str = "mp4"
    codec: str = "libx264"
    frames: int = 60
    fps: int = 30
    gop: int = 15
    bframes: int = 2
    width: int = 160
    height: int = 96
    pix_fmt: str = "yuv420p"
    start: float = 0.0
    times: Sequence[float] | None = None  # of each frame, instead of start + n / fps
    options: dict[str, str] = dataclasses.field(default_factory=dict)
    container_options: dict[str, str] = dataclasses.field(default_factory=dict)
    colorspace: int = 2  # AVColorSpace, AVColorTransferCharacteristic, AVColorPrimaries; 2: unspecified
    transfer: int = 2
    primaries: int = 2
    full_range: bool = False
    aspect: Fraction | None = None
    sound: bool = False
    sizes: Sequence[tuple[int, int]] = ()  # changes of size: the frames are cut into as many equal parts
    picture: Callable[[int, int, int], Pixels] | None = None  # (number, width, height) -> rgb24
    yuv: Callable[[int, int, int], Any] | None = None  # (number, width, height) -> VideoFrame, instead

    def time_of(self, number: int) -> float:
        return self.times[number] if self.times is not None else self.start + number / self.fps


def numbered(number: int, width: int, height: int) -> Pixels:
    """The picture of frame `number`."""
    pixels = np.full((height, width, 3), 60 + number * 37 % 130, np.uint8)
    x = np.arange(width)
    pixels[: height // 2, :, 0] = (x * 200 // width + number * 3) % 256
    pixels[: height // 2, :, 2] = (255 - x * 200 // width) % 256
    for bit in range(BITS):
        top, left, block_height, block_width = _block(bit, width, height)
        pixels[top : top + block_height, left : left + block_width] = 235 if number >> bit & 1 else 16
    return pixels


def number_of(pixels: Pixels) -> int:
    """The number that a decoded frame carries."""
    height, width = pixels.shape[:2]
    number = 0
    for bit in range(BITS):
        top, left, block_height, block_width = _block(bit, width, height)
        inner = pixels[
            top + block_height // 4 : top + block_height * 3 // 4, left + block_width // 4 : left + block_width * 3 // 4
        ]
        number |= (1 if inner.mean() > 128 else 0) << bit
    return number


def _block(bit: int, width: int, height: int) -> tuple[int, int, int, int]:
    block_height, block_width = height // 2 // ROWS // 2 * 2, width // COLUMNS // 2 * 2
    row, column = divmod(bit, COLUMNS)
    return height // 2 + row * block_height, column * block_width, block_height, block_width


def encode(clip: Clip) -> bytes:
    """The file of a clip."""
    if clip.sizes:
        return _changing_size(clip)
    with tempfile.TemporaryDirectory() as folder:
        # A file and not memory: to put an MP4's index first, the muxer opens what it has written.
        path = Path(folder) / "clip"
        _write(path, clip)
        return path.read_bytes()


def _write(path: Path, clip: Clip) -> None:
    with av.open(str(path), "w", format=clip.container, options=clip.container_options) as out:
        video = _video_stream(out, clip, clip.width, clip.height)
        sound = out.add_stream(_sound_codec(clip.container), rate=48000) if clip.sound else None
        for number in range(clip.frames):
            for packet in video.encode(_frame(clip, number, clip.width, clip.height)):
                out.mux(packet)
        for packet in video.encode(None):
            out.mux(packet)
        if sound is not None:
            _encode_sound(out, sound, max(1, clip.frames // clip.fps))


def sound_only(container: str = "mp4") -> bytes:
    """A file with sound and no video."""
    stream_bytes = io.BytesIO()
    with av.open(stream_bytes, "w", format=container) as out:
        _encode_sound(out, out.add_stream(_sound_codec(container), rate=48000), 1)
    return stream_bytes.getvalue()


def _sound_codec(container: str) -> str:
    return "libopus" if container in ("webm", "matroska") else "aac"


def _encode_sound(out: Any, stream: Any, seconds: int) -> None:
    rate = stream.rate
    tone = np.sin(np.arange(rate * seconds) * 0.05).astype(np.float32)[None, :] * 0.3
    layout = stream.layout.name
    tone = np.repeat(tone, stream.layout.nb_channels, axis=0)
    fifo = av.AudioFifo()
    frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout=layout)
    frame.sample_rate = rate
    frame.pts = 0
    resampler = av.AudioResampler(format=stream.format, layout=layout, rate=rate)
    for resampled in resampler.resample(frame):
        fifo.write(resampled)
    at = 0
    size = stream.codec_context.frame_size or 1024
    while (piece := fifo.read(size, partial=True)) is not None:
        piece.pts = at
        at += piece.samples
        for packet in stream.encode(piece):
            out.mux(packet)
    for packet in stream.encode(None):
        out.mux(packet)


def _time_base(clip: Clip) -> Fraction:
    """AVI counts frames, and so do the codecs of its time."""
    counts = clip.container == "avi" or clip.codec in ("mpeg4", "mpeg2video", "mjpeg", "flv")
    return Fraction(1, clip.fps) if counts else Fraction(1, 90_000)


def _video_stream(out: Any, clip: Clip, width: int, height: int) -> Any:
    video = out.add_stream(clip.codec, rate=clip.fps)
    context = video.codec_context
    context.width, context.height = width, height
    context.pix_fmt = clip.pix_fmt
    context.time_base = _time_base(clip)
    context.gop_size = clip.gop
    context.colorspace, context.color_trc, context.color_primaries = clip.colorspace, clip.transfer, clip.primaries
    context.color_range = 2 if clip.full_range else 1
    if clip.aspect is not None:
        context.sample_aspect_ratio = clip.aspect
    options = {"threads": "1"}
    if clip.codec in ("libx264", "mpeg4", "mpeg2video"):
        options["bf"] = str(clip.bframes)
    if clip.codec == "libx264":
        options |= {"preset": "veryfast", "crf": "18", "sc_threshold": "0"}
    if clip.codec == "libx265":
        parameters = f"log-level=none:pools=none:frame-threads=1:bframes={clip.bframes}:keyint={clip.gop}:scenecut=0"
        options |= {"preset": "ultrafast", "x265-params": parameters, "crf": "18"}
    if clip.codec in ("libvpx", "libvpx-vp9"):
        options |= {"deadline": "realtime", "cpu-used": "8", "crf": "20", "b": "1M"}
    if clip.codec == "libsvtav1":
        options |= {"preset": "12", "crf": "25", "svtav1-params": "lp=1"}
    context.options = options | clip.options
    if clip.codec in ("mpeg4", "mpeg2video", "mjpeg", "flv"):
        context.bit_rate = 4_000_000
    return video


def _frame(clip: Clip, number: int, width: int, height: int) -> Any:
    if clip.yuv is not None:
        frame = clip.yuv(number, width, height)
    else:
        pixels = (clip.picture or numbered)(number, width, height)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        space = {1: "ITU709", 9: "BT2020"}.get(clip.colorspace, "ITU601")
        frame = frame.reformat(
            format=clip.pix_fmt, dst_colorspace=space, dst_color_range="JPEG" if clip.full_range else "MPEG"
        )
    frame.color_range = 2 if clip.full_range else 1
    frame.colorspace, frame.color_trc, frame.color_primaries = clip.colorspace, clip.transfer, clip.primaries
    frame.time_base = _time_base(clip)
    frame.pts = round(clip.time_of(number) / frame.time_base)
    return frame


def _changing_size(clip: Clip) -> bytes:
    """Segments of different sizes, each its own sequence, one after the other in one transport stream."""
    part = clip.frames // len(clip.sizes)
    whole = b""
    for index, (width, height) in enumerate(clip.sizes):
        stream_bytes = io.BytesIO()
        with av.open(stream_bytes, "w", format="mpegts", options=clip.container_options) as out:
            video = _video_stream(out, clip, width, height)
            for number in range(index * part, (index + 1) * part):
                for packet in video.encode(_frame(clip, number, width, height)):
                    out.mux(packet)
            for packet in video.encode(None):
                out.mux(packet)
        whole += stream_bytes.getvalue()
    return whole


# EXIF orientation -> the part (a, b, c, d) of a track's matrix that shows it so.
MATRICES = {
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}


def turned(mp4: bytes, orientation: int) -> bytes:
    """An MP4 with its track's matrix set."""
    data = bytearray(mp4)
    matrix_at = data.index(b"tkhd") + 4 + 40
    a, b, c, d = MATRICES[orientation]
    for place, value in ((0, a), (1, b), (3, c), (4, d)):
        data[matrix_at + 4 * place : matrix_at + 4 * place + 4] = (value << 16).to_bytes(4, "big", signed=True)
    return bytes(data)


def without_first_key(clip: Clip) -> bytes:
    """The clip's packets without the first key packet, in the same container."""
    source = av.open(io.BytesIO(encode(clip)))
    stream_bytes = io.BytesIO()
    with av.open(stream_bytes, "w", format=clip.container) as out:
        video = out.add_stream_from_template(source.streams.video[0])
        for index, packet in enumerate(source.demux(video=0)):
            if packet.dts is None or index == 0:
                continue
            packet.stream = video
            out.mux(packet)
    return stream_bytes.getvalue()


def without_packets(data: bytes, container: str) -> bytes:
    """A file with the streams of `data` and none of their packets."""
    source = av.open(io.BytesIO(data))
    stream_bytes = io.BytesIO()
    with av.open(stream_bytes, "w", format=container) as out:
        out.add_stream_from_template(source.streams.video[0])
        out.start_encoding()
    return stream_bytes.getvalue()


def reference(data: bytes) -> list[tuple[int, Pixels]]:
    """Every frame as PyAV decodes it: its time in ms counted from the first one, and its pixels as stored."""
    frames: list[tuple[Fraction, Pixels]] = []
    with av.open(io.BytesIO(data)) as container:
        video = container.streams.video[0]
        video.thread_type = "NONE"
        for frame in container.decode(video):
            assert frame.pts is not None
            frames.append((frame.pts * frame.time_base, frame.to_ndarray(format="rgb24")))
    first = frames[0][0]
    return [(int((time - first) * 1000 + Fraction(1, 2)), pixels) for time, pixels in frames]
