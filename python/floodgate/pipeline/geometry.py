"""Where a box in a view lies in the picture that the view was made from."""

from __future__ import annotations

from floodgate.types import Box, ImageViewSpec


def to_picture(view: ImageViewSpec, width: int, height: int, box: Box, orientation: int = 1) -> Box:
    """Maps fractions of the view to fractions of the upright picture (``width`` x ``height`` px), clipped to it.

    The inverse of resize, then centre crop or padding, as ``floodgate::ImageView`` defines them. A view that ignores
    the orientation (EXIF's, 1 to 8) shows the picture as stored; its boxes are turned upright here.
    """
    if view.ignore_orientation and orientation != 1:
        stored = (height, width) if orientation >= 5 else (width, height)
        return _upright(_unplaced(view, *stored, box), orientation)
    return _unplaced(view, width, height, box)


def _unplaced(view: ImageViewSpec, width: int, height: int, box: Box) -> Box:
    out_width = view.crop_width or view.width
    out_height = view.crop_height or view.height
    scaled_width, scaled_height, left, top = _placement(view, width, height, out_width, out_height)

    def across(fraction: float) -> float:
        return min(1.0, max(0.0, (fraction * out_width - left) / scaled_width))

    def down(fraction: float) -> float:
        return min(1.0, max(0.0, (fraction * out_height - top) / scaled_height))

    return Box(across(box.x0), down(box.y0), across(box.x1), down(box.y1))


def _upright(box: Box, orientation: int) -> Box:
    """A box of the stored picture in the upright one. EXIF 2.32, tag 0x0112: which sides row 0 and column 0 are."""
    x0, y0, x1, y1 = box.x0, box.y0, box.x1, box.y1
    if orientation in (2, 3, 6, 7):  # what is the first column or row as stored is on the right
        x0, x1, y0, y1 = (1 - x1, 1 - x0, y0, y1) if orientation < 5 else (x0, x1, 1 - y1, 1 - y0)
    if orientation in (3, 4, 7, 8):  # … and at the bottom
        x0, x1, y0, y1 = (x0, x1, 1 - y1, 1 - y0) if orientation < 5 else (1 - x1, 1 - x0, y0, y1)
    return Box(y0, x0, y1, x1) if orientation >= 5 else Box(x0, y0, x1, y1)


def _placement(
    view: ImageViewSpec, width: int, height: int, out_width: int, out_height: int
) -> tuple[float, float, float, float]:
    """(scaled width, scaled height, left, top) of the whole picture in the view's pixels; left and top are negative
    where a crop cut something off."""
    if view.mode == "stretch":
        scaled_width, scaled_height = float(view.width), float(view.height)
    else:
        pick = min if view.mode == "contain" else max
        scale = pick(view.width / width, view.height / height)
        scaled_width, scaled_height = width * scale, height * scale
    if view.mode == "contain" and view.pad_anchor == "top_left":
        return scaled_width, scaled_height, 0.0, 0.0
    return scaled_width, scaled_height, (out_width - scaled_width) / 2, (out_height - scaled_height) / 2
