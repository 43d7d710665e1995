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


# Where the top left corner of the stored picture is seen, by EXIF orientation (EXIF 2.32, tag 0x0112).
SEEN_AT = {1: "00", 2: "10", 3: "11", 4: "01", 5: "00", 6: "10", 7: "11", 8: "01"}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_in_a_view_as_stored_is_turned_upright(orientation: int) -> None:
    view = ImageViewSpec(100, 100, ignore_orientation=True)
    # Along the stored picture's first rows from its left: long across, short down.
    found = to_picture(view, 640, 480, Box(0.0, 0.0, 0.4, 0.1), orientation)
    right, bottom = (side == "1" for side in SEEN_AT[orientation])
    across, down = (0.1, 0.4) if orientation >= 5 else (0.4, 0.1)
    x0, y0 = (1 - across if right else 0.0), (1 - down if bottom else 0.0)
    assert (found.x0, found.y0, found.x1, found.y1) == pytest.approx((x0, y0, x0 + across, y0 + down))


def test_a_view_that_is_upright_is_turned_no_further() -> None:
    box = Box(0.1, 0.2, 0.3, 0.4)
    found = to_picture(ImageViewSpec(100, 100), 640, 480, box, 6)
    assert (found.x0, found.y0, found.x1, found.y1) == pytest.approx((0.1, 0.2, 0.3, 0.4))
