"""Boxes find their way back from a view to the picture."""

from __future__ import annotations

import pytest

from floodgate.pipeline.geometry import to_picture
from floodgate.types import Box, ImageViewSpec

WHOLE = Box(0.0, 0.0, 1.0, 1.0)


def test_a_stretched_view_keeps_fractions() -> None:
    box = Box(0.1, 0.2, 0.3, 0.4)
    found = to_picture(ImageViewSpec(320, 320), 640, 480, box)
    assert (found.x0, found.y0, found.x1, found.y1) == pytest.approx((0.1, 0.2, 0.3, 0.4))


def test_a_letterboxed_view_gives_back_the_padding() -> None:
    view = ImageViewSpec(320, 320, mode="contain", pad_anchor="top_left")
    found = to_picture(view, 640, 320, Box(0.5, 0.25, 1.0, 0.5))
    assert (found.x0, found.y0, found.x1, found.y1) == pytest.approx((0.5, 0.5, 1.0, 1.0))


def test_a_centred_letterbox_is_shifted_too() -> None:
    found = to_picture(ImageViewSpec(320, 320, mode="contain"), 640, 320, Box(0.0, 0.25, 1.0, 0.75))
    assert (found.x0, found.y0, found.x1, found.y1) == pytest.approx((0.0, 0.0, 1.0, 1.0))


def test_a_centre_crop_is_a_window_in_the_picture() -> None:
    found = to_picture(ImageViewSpec(256, 256, crop_width=128, crop_height=128), 512, 512, WHOLE)
    assert (found.x0, found.y0, found.x1, found.y1) == pytest.approx((0.25, 0.25, 0.75, 0.75))


def test_a_box_in_the_padding_is_clipped_to_the_picture() -> None:
    view = ImageViewSpec(320, 320, mode="contain", pad_anchor="top_left")
    found = to_picture(view, 640, 320, Box(0.0, 0.0, 1.0, 1.0))
    assert found.y1 == 1.0
