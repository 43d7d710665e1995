"""A head that wants pictures as stored gets HEICs so too, though their library turns them."""

from __future__ import annotations

import io
import itertools
import struct

import numpy as np
import pytest
from picture_corpus import box, encoded, exif, heif, image
from PIL import Image, ImageOps

from floodgate import _core

CLAP = box(b"clap", struct.pack(">IIIIiIiI", 38, 1, 24, 1, 0, 1, 0, 1))
VIEW = {"mode": "contain", "filter": "lanczos"}


def seen(data: bytes, ignored: bool) -> Image.Image:
    view = _core.ImageView(40, 48, ignore_orientation=ignored, **VIEW)
    return Image.frombytes("RGB", (40, 48), _core.render_views(data, [view])[0])


def distance(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one).astype(int) - np.asarray(other).astype(int)).mean())


def assert_stored(turned: bytes, stored: bytes) -> None:
    assert distance(seen(turned, True), seen(stored, True)) <= 1
    upright = io.BytesIO()
    width, height, pixels = _core.decode_picture(turned)
    Image.frombytes("RGB", (width, height), pixels).save(upright, "PNG")
    assert distance(seen(turned, False), seen(upright.getvalue(), False)) <= 1


@pytest.mark.parametrize("mirror_first", [False, True])
@pytest.mark.parametrize("clap", [b"", CLAP], ids=["whole", "cropped"])
@pytest.mark.parametrize(("angle", "mirror"), list(itertools.product((None, 0, 1, 2, 3), (None, 0, 1))))
def test_turns_and_mirrors_are_taken_back(
    angle: int | None, mirror: int | None, clap: bytes, mirror_first: bool
) -> None:
    tile = encoded(image(64, 64), "HEIF", chroma="444")
    turns = [] if angle is None else [box(b"irot", bytes([angle]))]
    turns += [] if mirror is None else [box(b"imir", bytes([mirror]))]
    if mirror_first:
        turns.reverse()
    boxes = ([clap] if clap else []) + turns
    turned = heif(b"heic", [tile], (64, 64), 1, b"".join(boxes), len(boxes))
    assert_stored(turned, heif(b"heic", [tile], (64, 64), 1, clap, 1 if clap else 0))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("size", [(34, 20), (64, 48)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_are_taken_back_with_alpha_and_padding(orientation: int, size: tuple[int, int], mode: str) -> None:
    turned = encoded(image(*size, mode), "HEIF", exif=b"Exif\0\0" + exif(orientation), chroma="444")
    assert_stored(turned, encoded(image(*size, mode), "HEIF", chroma="444"))
    assert ImageOps.exif_transpose(Image.open(io.BytesIO(turned))).size == _core.decode_picture(turned)[:2]
