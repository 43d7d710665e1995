"""Colours of sampled frames: matrices, ranges, depths, where colour samples lie, and high dynamic range."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
import pytest

from floodgate import _core
from tests.property.video_files import Clip, Pixels, encode, reference

COLOURS = [(200, 30, 40), (30, 180, 60), (40, 50, 210), (128, 128, 128), (240, 240, 240), (12, 12, 12)]
# Kr and Kb of ITU-R BT.601, BT.709 and BT.2020, by AVColorSpace.
MATRICES = {6: (0.299, 0.114), 5: (0.299, 0.114), 1: (0.2126, 0.0722), 9: (0.2627, 0.0593), 2: (0.299, 0.114)}


def first_frame(data: bytes) -> tuple[Pixels, dict[str, Any]]:
    frames, facts = _core.sample_frames(data, 1)
    _, width, height, rgb = frames[0]
    return np.frombuffer(rgb, np.uint8).reshape(height, width, 3), facts


def patches(space: int, full: bool, bits: int) -> Any:
    """A frame of flat patches whose samples are computed here, from the recommendations' own formulas."""
    kr, kb = MATRICES[space]

    def frame(number: int, width: int, height: int) -> Any:
        rgb = np.zeros((height, width, 3))
        for index, colour in enumerate(COLOURS):
            rgb[:, index * width // 6 : (index + 1) * width // 6] = np.asarray(colour) / 255
        luma = kr * rgb[..., 0] + (1 - kr - kb) * rgb[..., 1] + kb * rgb[..., 2]
        blue, red = (rgb[..., 2] - luma) / (2 * (1 - kb)), (rgb[..., 0] - luma) / (2 * (1 - kr))
        scale = 2 ** (bits - 8)
        top = 2**bits - 1
        y = luma * top if full else (16 + 219 * luma) * scale
        c = [(128 * scale + (top if full else 224 * scale) * plane)[::2, ::2] for plane in (blue, red)]
        planes = np.concatenate([y.ravel(), c[0].ravel(), c[1].ravel()]).reshape(height * 3 // 2, width)
        kind, name = (np.uint8, "yuv420p") if bits == 8 else (np.uint16, "yuv420p10le")
        return av.VideoFrame.from_ndarray(np.rint(planes).clip(0, top).astype(kind), format=name)

    return frame


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("space", MATRICES)
def test_known_colours_come_out_as_they_went_in(space: int, full: bool, bits: int) -> None:
    clip = Clip(
        frames=2,
        width=192,
        colorspace=space,
        full_range=full,
        pix_fmt="yuv420p" if bits == 8 else "yuv420p10le",
        options={"crf": "1"},
        yuv=patches(space, full, bits),
    )
    data = encode(clip)
    pixels = first_frame(data)[0]
    for index, colour in enumerate(COLOURS):
        middle = pixels[20:76, index * 32 + 8 : index * 32 + 24].reshape(-1, 3).astype(float).mean(axis=0)
        assert np.abs(middle - colour).max() <= 3, (colour, middle)


def pq(nits: float) -> float:
    """SMPTE ST 2084."""
    y = (nits / 10_000) ** (2610 / 16384)
    return float(((3424 / 4096 + 2413 / 128 * y) / (1 + 2392 / 128 * y)) ** (2523 / 32))


def hlg(scene: float) -> float:
    """ITU-R BT.2100, table 5."""
    a = 0.17883277
    return float(
        (3 * scene) ** 0.5 if scene <= 1 / 12 else a * np.log(12 * scene - (1 - 4 * a)) + 0.5 - a * np.log(4 * a)
    )


def greys(codes: list[float]) -> Any:
    def frame(number: int, width: int, height: int) -> Any:
        planes = np.full((height * 3 // 2, width), 512, np.uint16)
        for index, code in enumerate(codes):
            left, right = index * width // len(codes), (index + 1) * width // len(codes)
            planes[:height, left:right] = round(4 * (16 + 219 * code))
        return av.VideoFrame.from_ndarray(planes, format="yuv420p10le")

    return frame


def srgb(light: float) -> float:
    return float(255 * (1.055 * light ** (1 / 2.4) - 0.055))


@pytest.mark.parametrize("transfer", [16, 18])
def test_high_dynamic_range_is_mapped_and_said_so(transfer: int) -> None:
    nits = [1, 20, 60, 203, 500, 1000]
    codes = [pq(light) if transfer == 16 else hlg((light / 1000) ** (1 / 1.2)) for light in nits]
    clip = Clip(
        codec="libx265",
        frames=3,
        bframes=0,
        width=192,
        pix_fmt="yuv420p10le",
        colorspace=9,
        transfer=transfer,
        primaries=9,
        options={"crf": "1"},
        yuv=greys(codes),
    )
    pixels, facts = first_frame(encode(clip))
    middles = [pixels[20:76, index * 32 + 8 : index * 32 + 24].reshape(-1, 3).mean(axis=0) for index in range(6)]
    for middle in middles:
        assert np.ptp(middle) <= 2, "grey stays grey"
    levels = [float(middle.mean()) for middle in middles]
    assert levels == sorted(levels)
    # Light below the knee is as it was; the reference white is bright and not white; the peak is white.
    for level, light in zip(levels[:3], nits[:3], strict=True):
        assert abs(level - srgb(light / 203)) <= 4
    assert 200 <= levels[3] <= 240
    assert levels[5] >= 252
    assert facts["notes"] == "high dynamic range was mapped to standard range"


def stripes(number: int, width: int, height: int) -> Pixels:
    """Saturated lines a pixel wide: what half the rows of colour cannot hold, and every way up shows differently."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, number % 7 :: 7] = (255, 0, 0)
    pixels[::9] = (0, 255, 0)
    pixels[:, width // 4 : width // 2] = (0, 0, 255)
    return pixels


@pytest.mark.parametrize("container", ["mp4", "matroska"])
@pytest.mark.parametrize(
    ("codec", "pix_fmt"),
    [
        ("libx264", "yuv420p"),
        ("libx264", "yuv420p10le"),
        ("libx264", "yuv422p10le"),
        ("libx264", "yuv444p"),
        ("libx265", "yuv420p10le"),
        ("libx265", "yuv420p12le"),
        ("libsvtav1", "yuv420p10le"),
    ],
)
def test_edges_of_colour_are_where_pyav_shows_them(codec: str, pix_fmt: str, container: str) -> None:
    data = encode(Clip(container=container, codec=codec, pix_fmt=pix_fmt, frames=3, width=192, picture=stripes))
    pixels = first_frame(data)[0].astype(int)
    assert np.abs(pixels - reference(data)[0][1]).mean() <= 0.5
