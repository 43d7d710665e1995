"""Short videos and animated pictures, made here: colours that change at known times."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
from PIL import Image

FPS = 10
SIDE_PX = (320, 240)
COLORS = ((200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30))


def picture(number: int) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """A frame unlike its neighbours: a colour of its own second, and a bar that moves."""
    width, height = SIDE_PX
    frame = np.empty((height, width, 3), np.uint8)
    frame[:] = COLORS[number // FPS % len(COLORS)]
    left = number * 7 % (width - 40)
    frame[40:200, left : left + 40] = 255
    return frame


def video(seconds: int, *, container: str = "mp4", codec: str = "libx264", still: bool = False) -> bytes:
    """A key frame a second. ``still``: every frame is the same."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as muxer:
        stream = muxer.add_stream(codec, rate=FPS)
        stream.width, stream.height = SIDE_PX
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = FPS
        stream.codec_context.time_base = Fraction(1, FPS)
        for number in range(seconds * FPS):
            frame = av.VideoFrame.from_ndarray(picture(0 if still else number), format="rgb24")
            frame.pts = number
            muxer.mux(stream.encode(frame))
        muxer.mux(stream.encode(None))
    return out.getvalue()


def animation(frames: int, kind: str = "GIF", *, frame_ms: int = 100) -> bytes:
    """An animated picture whose frames are far from alike."""
    pictures = [Image.fromarray(picture(number * FPS)) for number in range(frames)]
    out = io.BytesIO()
    pictures[0].save(out, kind, save_all=True, append_images=pictures[1:], duration=frame_ms, loop=0)
    return out.getvalue()


def sound() -> bytes:
    """An MP4 with sound and nothing to see."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as muxer:
        stream = muxer.add_stream("aac", rate=44_100)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 44_100), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 44_100
        muxer.mux(stream.encode(silence))
        muxer.mux(stream.encode(None))
    return out.getvalue()
