"""A 1080p H.264 clip with a key frame every two seconds, and what it costs to decode all of it or a sample."""

from __future__ import annotations

import io
import select
import time
from pathlib import Path

import av
import numpy as np
import sklearn.datasets
from PIL import Image

from floodgate import _core

WIDTH, HEIGHT = 1920, 1080
FRAMES_A_SECOND = 30
KEY_FRAME_S = 2


def key_frame_clip(seconds: int) -> bytes:
    """MP4, ``seconds`` long: a photo that the camera pans over, with grain that differs from frame to frame."""
    source = Path(sklearn.datasets.__file__).parent / "images" / "china.jpg"
    wide = np.asarray(Image.open(source).resize((2 * WIDTH, 2 * HEIGHT), Image.Resampling.BICUBIC))
    random = np.random.default_rng(1)
    grain = random.integers(0, 9, wide.shape, dtype=np.uint8)
    scene = np.minimum(wide, 246)
    stream_bytes = io.BytesIO()
    with av.open(stream_bytes, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FRAMES_A_SECOND)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        interval = str(KEY_FRAME_S * FRAMES_A_SECOND)
        stream.options = {
            "preset": "superfast",
            "crf": "26",
            "g": interval,
            "keyint_min": interval,
            "sc_threshold": "0",
        }
        total = seconds * FRAMES_A_SECOND
        for number in range(total):
            x, y = (WIDTH * number // total), (HEIGHT * number // total)
            grain_x, grain_y = random.integers(0, WIDTH), random.integers(0, HEIGHT)
            picture = scene[y : y + HEIGHT, x : x + WIDTH] + grain[grain_y:, grain_x:][:HEIGHT, :WIDTH]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return stream_bytes.getvalue()


def whole_cpu_s(clip: bytes) -> tuple[float, int]:
    """(CPU seconds, frames) of decoding every frame by PyAV on one thread, without converting any to RGB."""
    before = time.process_time()
    with av.open(io.BytesIO(clip)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        stream.thread_count = 1
        frames = sum(1 for _ in container.decode(stream))
    return time.process_time() - before, frames


def sampled_cpu_s(clip: bytes, max_frames: int) -> tuple[float, int]:
    """(CPU seconds, frames) of the sampling plan as the server carries it out: frames decoded, converted and rendered
    to a 256 px view on one worker, by its own count. Raises RuntimeError when a frame is not what PyAV shows."""
    frames, _ = _core.sample_frames(clip, max_frames)
    times = [time_ms for time_ms, *_ in frames]
    if len(frames) != max_frames or times != sorted(times) or times[0] != 0:
        raise RuntimeError(f"the sampled frames' times are wrong: {times}")
    with av.open(io.BytesIO(clip)) as container:
        first = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(np.float64)
    _, width, height, pixels = frames[0]
    sampled = np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
    if np.abs(sampled - first).mean() > 2:
        raise RuntimeError("the first frame is not PyAV's")

    scheduler = _core.Scheduler(decode_workers=1)
    view = ("image", _core.ImageView(256, 256))
    head = ("mean__rgb", "mean", 1)
    scheduler.configure(1, [_core.EnsembleConfig("image@bench", "image", [view], [head], ["mean"], max_batch=16)])
    scheduler.submit(1, ["image@bench"], clip, modality="image", max_frames=max_frames)
    while True:
        select.select([scheduler.fd], [], [], 60)
        for batch in scheduler.take_batches():
            scheduler.complete(batch.batch_id, {"mean__rgb": np.zeros((batch.rows, 1), np.float32)})
        for done in scheduler.poll_done():
            if [row.time_ms for row in done.rows] != times:
                raise RuntimeError("the server's frames are not those that sample_frames gives")
            return scheduler.stats()["counters"]["decode_ns"] / 1e9, len(done.rows)
