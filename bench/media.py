"""Decoding and resizing on one core, beside the bare codec library, Pillow and OpenCV; threads and sandbox; video.

One photo (scikit-learn's china.jpg) at four sizes, JPEG quality 88, into a bilinear view of 256 x 256. *Bare* is
libjpeg-turbo alone, the library that the core links, writing every row into memory that it keeps (``bare_jpeg.c``); at
the scale of ``fast`` views it is given the same scale. Everything is called in turn, again and again, on one core, and
the least CPU time of each counts: what a neighbour on the machine takes is not the code's. Every output is compared
with Pillow's, byte for byte where it must be equal. The sandbox and the threads are measured by wall time through a
scheduler with one decode worker, a stream of pictures each, in turn.
"""

from __future__ import annotations

import io
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import sklearn.datasets
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from bench.bare_jpeg import BareJpeg
from bench.decode_stream import DecodeStream, decoder_program
from bench.report import Report
from bench.video_clip import key_frame_clip, sampled_cpu_s, whole_cpu_s
from floodgate import _core
from floodgate.errors import FloodgateError

SIZES = ((640, 427), (1280, 854), (1920, 1280), (4000, 3000))
QUALITY = 88
VIEW_SIDE = 256
CROP_SIDE = 224
TWO_SIDES = (224, 320)
SECONDS_A_SIZE = 8.0
LEAST_ROUNDS = 15
STREAM_STARTS, STREAM_ROUNDS = 9, 10
CLIP_SECONDS = 60
CLIP_RUNS = 5
CLIP_FRAMES = 16  # sampled

Pixels = NDArray[np.uint8]
Way = Callable[[], object]


def run() -> Report:
    """Runs the benchmark, prints the tables."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    cv2.setNumThreads(1)
    try:
        report = Report()
        bare = BareJpeg(3 * SIZES[-1][0] * SIZES[-1][1])
        photos = {width: _photo(width, height) for width, height in SIZES}
        _pictures(report, photos, bare)
        _sandbox(report, photos[640])
        _video(report)
        return report
    finally:
        os.sched_setaffinity(0, cores)


def _photo(width: int, height: int) -> bytes:
    source = Path(sklearn.datasets.__file__).parent / "images" / "china.jpg"
    stream = io.BytesIO()
    Image.open(source).resize((width, height), Image.Resampling.LANCZOS).save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()


# ---------------------------------------------------------------- pictures


def _pictures(report: Report, photos: Mapping[int, bytes], bare: BareJpeg) -> None:
    table = Table("px wide", "KB", box=None, pad_edge=False)
    names = (
        *("bare", "exact", "cropped", "Pillow", "OpenCV"),
        *("bare scaled", "fast", "Pillow draft", "one view", "two views"),
    )
    for name in names:
        table.add_column(f"{name} ms", justify="right")
    for width, data in photos.items():
        least = _least_ms(_ways(data, bare))
        table.add_row(str(width), f"{len(data) / 1000:.0f}", *(f"{least[name]:.2f}" for name in names))
        report.add(f"bare_{width}_ms", least["bare"], "ms of CPU")
        report.add(f"exact_over_bare_{width}", least["exact"] / least["bare"], "ratio of CPU time")
        report.add(f"fast_over_bare_{width}", least["fast"] / least["bare scaled"], "ratio of CPU time")
        report.add(f"two_views_over_one_{width}", least["two views"] / least["one view"], "ratio of CPU time")
        report.add(f"cropped_over_exact_{width}", least["cropped"] / least["exact"], "ratio of CPU time")
        report.add(f"pillow_over_exact_{width}", least["Pillow"] / least["exact"], "ratio of CPU time")
        report.add(f"pillow_draft_over_fast_{width}", least["Pillow draft"] / least["fast"], "ratio of CPU time")
        report.add(f"opencv_over_exact_{width}", least["OpenCV"] / least["exact"], "ratio of CPU time")
    worst = max(report.figures[f"two_views_over_one_{width}"] for width in photos)
    report.add("two_views_over_one", worst, "ratio of CPU time, the worst of the sizes")
    Console(width=160).print(table)


def _ways(data: bytes, bare: BareJpeg) -> dict[str, tuple[Way, Callable[[object], None]]]:
    """What is measured, and what checks its output. Raises RuntimeError when an output is wrong."""
    whole = np.asarray(Image.open(io.BytesIO(data)))
    draft = Image.open(io.BytesIO(data))
    scale = _draft_scale(draft.size)
    draft.draft("RGB", (VIEW_SIDE, VIEW_SIDE))
    scaled = np.asarray(draft)
    view = _core.ImageView(VIEW_SIDE, VIEW_SIDE)
    cropped = _core.ImageView(VIEW_SIDE, VIEW_SIDE, crop_width=CROP_SIDE, crop_height=CROP_SIDE)
    one, two = ([_core.ImageView(side, side) for side in sides] for sides in (TWO_SIDES[:1], TWO_SIDES))
    exact, fast = _resized(whole, VIEW_SIDE), _resized(scaled, VIEW_SIDE)
    wanted = [_resized(whole, side) for side in TWO_SIDES]

    def pillow() -> bytes:
        return Image.open(io.BytesIO(data)).resize((VIEW_SIDE, VIEW_SIDE), Image.Resampling.BILINEAR).tobytes()

    def pillow_draft() -> bytes:
        image = Image.open(io.BytesIO(data))
        image.draft("RGB", (VIEW_SIDE, VIEW_SIDE))
        return image.resize((VIEW_SIDE, VIEW_SIDE), Image.Resampling.BILINEAR).tobytes()

    def opencv() -> Pixels:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        return np.asarray(cv2.resize(image, (VIEW_SIDE, VIEW_SIDE), interpolation=cv2.INTER_AREA), np.uint8)

    return {
        "bare": (lambda: bare.decode(data, 1), _equal_pixels(whole)),
        "exact": (lambda: _core.render_views(data, [view]), _equal([exact])),
        "cropped": (lambda: _core.render_views(data, [cropped]), _equal([_centre(exact)])),
        "Pillow": (pillow, _equal(exact)),
        "OpenCV": (opencv, _similar(np.frombuffer(exact, np.uint8).reshape(VIEW_SIDE, VIEW_SIDE, 3)[:, :, ::-1])),
        "bare scaled": (lambda: bare.decode(data, scale), _equal_pixels(scaled)),
        "fast": (lambda: _core.render_views(data, [view], decode_min=VIEW_SIDE), _equal([fast])),
        "Pillow draft": (pillow_draft, _equal(fast)),
        "one view": (lambda: _core.render_views(data, one), _equal(wanted[:1])),
        "two views": (lambda: _core.render_views(data, two), _equal(wanted)),
    }


def _draft_scale(size: tuple[int, int]) -> int:
    scale = min(side // VIEW_SIDE for side in size)
    return next((denominator for denominator in (8, 4, 2) if scale >= denominator), 1)


def _resized(pixels: Pixels, side: int) -> bytes:
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR).tobytes()


def _centre(view: bytes) -> bytes:
    edge = (VIEW_SIDE - CROP_SIDE) // 2
    pixels = np.frombuffer(view, np.uint8).reshape(VIEW_SIDE, VIEW_SIDE, 3)
    return pixels[edge : edge + CROP_SIDE, edge : edge + CROP_SIDE].tobytes()


def _equal(wanted: object) -> Callable[[object], None]:
    def check(output: object) -> None:
        if output != wanted:
            raise RuntimeError("an output differs from Pillow's")

    return check


def _equal_pixels(wanted: Pixels) -> Callable[[object], None]:
    def check(output: object) -> None:
        if not np.array_equal(np.asarray(output), wanted):
            raise RuntimeError("libjpeg-turbo's pixels differ from Pillow's")

    return check


def _similar(wanted: Pixels) -> Callable[[object], None]:
    """Another filter: the same picture, not the same bytes."""

    def check(output: object) -> None:
        difference = np.abs(np.asarray(output, np.float64) - wanted).mean()
        if difference > 8:
            raise RuntimeError(f"OpenCV's view is {difference:.1f} of 255 from Pillow's")

    return check


def _least_ms(ways: Mapping[str, tuple[Way, Callable[[object], None]]]) -> dict[str, float]:
    least = dict.fromkeys(ways, float("inf"))
    until, rounds = time.monotonic() + SECONDS_A_SIZE, 0
    while rounds < LEAST_ROUNDS or time.monotonic() < until:
        for name, (way, check) in ways.items():
            before = time.process_time_ns()
            output = way()
            least[name] = min(least[name], (time.process_time_ns() - before) / 1e6)
            check(output)
        rounds += 1
    return least


# ---------------------------------------------------------------- sandbox and video


def _sandbox(report: Report, photo: bytes) -> None:
    program = decoder_program()
    if program is None:
        Console().print("sandbox: skipped, floodgate-decoder is not built")
        return
    (expected,) = _core.render_views(photo, [_core.ImageView(VIEW_SIDE, VIEW_SIDE)])
    try:
        starts = [_both_streams(photo, expected, program) for _ in range(STREAM_STARTS)]
    except FloodgateError as error:
        Console().print(f"sandbox: skipped, {error}")
        return
    ratios = sorted(sandbox / threads for threads, sandbox in starts)
    for name, seconds in zip(("threads", "sandbox"), map(statistics.median, zip(*starts, strict=True)), strict=True):
        report.add(f"{name}_640_ms", 1000 * seconds, "ms of wall time a picture")
    report.add("sandbox_over_threads", statistics.median(ratios), "ratio of wall time, median over starts")
    Console().print(
        f"640 px through a scheduler: sandbox over threads {statistics.median(ratios):.3f} "
        f"({ratios[0]:.3f} to {ratios[-1]:.3f} over {STREAM_STARTS} starts)"
    )


def _both_streams(photo: bytes, expected: bytes, program: str) -> tuple[float, float]:
    """Seconds a picture on a thread and in a sandboxed process, both freshly started: where the kernel puts a process's
    pages decides how they meet in the caches for as long as it lives."""
    threads, sandbox = DecodeStream(VIEW_SIDE, ""), DecodeStream(VIEW_SIDE, program)
    rounds = [
        (threads.seconds_a_picture(photo, expected), sandbox.seconds_a_picture(photo, expected))
        for _ in range(STREAM_ROUNDS)
    ]
    return min(each for each, _ in rounds), min(each for _, each in rounds)


def _video(report: Report) -> None:
    clip = key_frame_clip(CLIP_SECONDS)
    # In turn, so that a neighbour's load meets both.
    runs = [(sampled_cpu_s(clip, CLIP_FRAMES), whole_cpu_s(clip)) for _ in range(CLIP_RUNS)]
    sampled, frames = min(each for each, _ in runs)
    whole, decoded = min(each for _, each in runs)
    report.add("video_cpu_full_over_keyframes", whole / sampled, "ratio of CPU time")
    Console().print(
        f"1080p H.264, {CLIP_SECONDS} s: {decoded} frames {whole:.2f} s of CPU, {frames} sampled {sampled:.2f} s"
    )
