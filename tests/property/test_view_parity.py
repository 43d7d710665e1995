"""Rendered views are bit-identical to Pillow's, for any picture, size, filter and mode.

Examples are derived from the tests themselves (``derandomize``), so a failure is the same everywhere.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from floodgate import _core

FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}

filters = st.sampled_from(sorted(FILTERS))
# Sides up to 700 px; small ones, where rounding and borders matter most, are drawn as often as large ones.
sides = st.one_of(st.integers(1, 40), st.integers(1, 700))
sizes = st.tuples(sides, sides)
view_sizes = st.tuples(st.integers(1, 300), st.integers(1, 300))
seeds = st.integers(0, 2**32 - 1)

parity = settings(derandomize=True, deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])

ImageFile.MAXBLOCK = 1 << 22  # with its small default, Pillow's encoder gives up on noisy progressive pictures


def picture(size: tuple[int, int], seed: int) -> Image.Image:
    """Noise, extremes or a gradient, by seed: rounding, clipping and smoothness each get their turn."""
    width, height = size
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    match seed % 3:
        case 0:
            pixels = random.integers(0, 256, (height, width, 3))
        case 1:
            pixels = random.integers(0, 2, (height, width, 3)) * 255
        case _:
            slopes = random.integers(1, 9, 6)
            pixels = np.stack([slopes[c] * x + slopes[c + 3] * y for c in range(3)], axis=-1) % 256
    return Image.fromarray(pixels.astype(np.uint8))


def encoded(image: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, **options)
    return stream.getvalue()


def plain(image: Image.Image) -> bytes:
    return encoded(image, format="PNG", compress_level=1)


def assert_renders(data: bytes, view: _core.ImageView, expected: Image.Image) -> None:
    assert expected.size == (view.out_width, view.out_height)
    assert _core.render_views(data, [view])[0] == expected.tobytes(), repr(view)


@parity
@example(size=(96, 86), to=(235, 2), name="bicubic", seed=0)  # the vertical pass first
@example(size=(86, 96), to=(2, 235), name="bicubic", seed=0)
@example(size=(300, 300), to=(300, 10), name="lanczos", seed=1)  # one side unchanged
@example(size=(300, 300), to=(10, 300), name="lanczos", seed=1)
@example(size=(1, 1), to=(300, 300), name="hamming", seed=0)
@example(size=(700, 1), to=(1, 300), name="box", seed=0)
@given(size=sizes, to=view_sizes, name=filters, seed=seeds)
def test_stretch_equals_resize(size: tuple[int, int], to: tuple[int, int], name: str, seed: int) -> None:
    image = picture(size, seed)
    expected = image.resize(to, FILTERS[name])
    assert_renders(plain(image), _core.ImageView(*to, filter=name), expected)


@parity
@given(size=sizes, to=view_sizes, shares=st.tuples(st.floats(0, 1), st.floats(0, 1)), name=filters, seed=seeds)
def test_crop_equals_resize_then_centre_crop(
    size: tuple[int, int], to: tuple[int, int], shares: tuple[float, float], name: str, seed: int
) -> None:
    image = picture(size, seed)
    crop_width, crop_height = (max(1, round(side * share)) for side, share in zip(to, shares, strict=True))
    left, top = (to[0] - crop_width) // 2, (to[1] - crop_height) // 2
    whole = image.resize(to, FILTERS[name])
    expected = whole.crop((left, top, left + crop_width, top + crop_height))
    view = _core.ImageView(*to, filter=name, crop_width=crop_width, crop_height=crop_height)
    assert_renders(plain(image), view, expected)


@parity
@example(size=(20, 10), to=(10, 10), name="bilinear", seed=0, top_left=False)  # half a row to round
@example(size=(600, 1), to=(300, 200), name="lanczos", seed=0, top_left=False)  # half a row in all: only padding
@example(size=(1, 599), to=(200, 300), name="box", seed=1, top_left=True)  # just over half a column
@given(size=sizes, to=view_sizes, name=filters, seed=seeds, top_left=st.booleans())
def test_contain_equals_pad(size: tuple[int, int], to: tuple[int, int], name: str, seed: int, top_left: bool) -> None:
    image = picture(size, seed)
    centering = (0.0, 0.0) if top_left else (0.5, 0.5)
    expected = ImageOps.pad(image, to, FILTERS[name], color=(1, 2, 3), centering=centering)
    anchor = "top_left" if top_left else "center"
    view = _core.ImageView(*to, mode="contain", filter=name, pad_anchor=anchor, pad_color=(1, 2, 3))
    assert_renders(plain(image), view, expected)


@parity
@given(size=sizes, to=view_sizes, name=filters, seed=seeds)
def test_cover_equals_cover_then_centre_crop(size: tuple[int, int], to: tuple[int, int], name: str, seed: int) -> None:
    image = picture(size, seed)
    whole = ImageOps.cover(image, to, FILTERS[name])
    left, top = (whole.width - to[0]) // 2, (whole.height - to[1]) // 2
    expected = whole.crop((left, top, left + to[0], top + to[1]))
    assert_renders(plain(image), _core.ImageView(*to, mode="cover", filter=name), expected)


@parity
@given(
    size=sizes,
    seed=seeds,
    mode=st.sampled_from(["RGB", "L", "CMYK"]),
    quality=st.integers(1, 100),
    subsampling=st.sampled_from(["4:4:4", "4:2:2", "4:2:0"]),
    progressive=st.booleans(),
    restart=st.integers(0, 3),
)
def test_jpeg_pixels_equal_pillows(
    size: tuple[int, int],
    seed: int,
    mode: str,
    quality: int,
    subsampling: str,
    progressive: bool,
    restart: int,
) -> None:
    image = picture(size, seed).convert(mode)
    options = {"subsampling": subsampling} if mode == "RGB" else {}
    data = encoded(
        image,
        format="JPEG",
        quality=quality,
        progressive=progressive,
        restart_marker_rows=restart,
        **options,
    )
    expected = Image.open(io.BytesIO(data)).convert("RGB")
    assert_renders(data, _core.ImageView(*size), expected)


@parity
@given(
    size=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    seed=seeds,
    lossless=st.booleans(),
    quality=st.integers(1, 100),
    alpha=st.booleans(),
)
def test_webp_pixels_equal_pillows(size: tuple[int, int], seed: int, lossless: bool, quality: int, alpha: bool) -> None:
    image = picture(size, seed)
    if alpha:
        image.putalpha(picture(size, seed + 1).getchannel("G"))
    data = encoded(image, format="WEBP", lossless=lossless, quality=quality, method=0)
    decoded = Image.open(io.BytesIO(data))
    expected = Image.new("RGB", size, (255, 255, 255))
    expected.paste(decoded.convert("RGB"), mask=decoded.getchannel("A") if decoded.mode == "RGBA" else None)
    assert_renders(data, _core.ImageView(*size), expected)


@parity
@given(
    size=st.tuples(st.integers(1, 120), st.integers(1, 120)),
    seed=seeds,
    mode=st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA"]),
    orientation=st.integers(1, 8),
)
def test_png_pixels_equal_pillows(size: tuple[int, int], seed: int, mode: str, orientation: int) -> None:
    image = picture(size, seed)
    if mode in ("LA", "RGBA"):
        image.putalpha(picture(size, seed + 1).getchannel("G"))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(image.convert(mode), format="PNG", exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    expected = Image.new("RGB", upright.size, (255, 255, 255))
    mask = upright.getchannel("A") if mode in ("LA", "RGBA") else None
    expected.paste(upright.convert("RGB"), mask=mask)
    assert_renders(data, _core.ImageView(*expected.size), expected)


def oriented(image: Image.Image, orientation: int, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, exif=exif, **options)


def fitted(image: Image.Image, to: tuple[int, int], mode: str, name: str) -> Image.Image:
    """What a view of ``mode`` shows of an upright picture, padded with (1, 2, 3)."""
    match mode:
        case "stretch":
            return image.resize(to, FILTERS[name])
        case "contain":
            return ImageOps.pad(image, to, FILTERS[name], color=(1, 2, 3))
    whole = ImageOps.cover(image, to, FILTERS[name])
    left, top = (whole.width - to[0]) // 2, (whole.height - to[1]) // 2
    return whole.crop((left, top, left + to[0], top + to[1]))


modes = st.sampled_from(["stretch", "contain", "cover"])
orientations = st.integers(1, 8)


@parity
@example(size=(96, 86), to=(235, 2), name="bicubic", mode="stretch", orientation=6, seed=0, crop=1.0)
@example(size=(86, 96), to=(2, 235), name="bicubic", mode="stretch", orientation=7, seed=0, crop=1.0)
@example(size=(300, 300), to=(300, 10), name="lanczos", mode="stretch", orientation=8, seed=1, crop=0.5)
@example(size=(300, 300), to=(300, 300), name="lanczos", mode="stretch", orientation=2, seed=1, crop=0.3)
@given(
    size=sizes, to=view_sizes, name=filters, mode=modes, orientation=orientations, seed=seeds, crop=st.floats(0.1, 1)
)
def test_a_turned_picture_equals_exif_transpose_then_the_view(
    size: tuple[int, int],
    to: tuple[int, int],
    name: str,
    mode: str,
    orientation: int,
    seed: int,
    crop: float,
) -> None:
    data = oriented(picture(size, seed), orientation, format="PNG", compress_level=1)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    crop_width, crop_height = (max(1, round(side * crop)) for side in to)
    left, top = (to[0] - crop_width) // 2, (to[1] - crop_height) // 2
    expected = fitted(upright, to, mode, name).crop((left, top, left + crop_width, top + crop_height))
    view = _core.ImageView(
        *to, mode=mode, filter=name, crop_width=crop_width, crop_height=crop_height, pad_color=(1, 2, 3)
    )
    assert_renders(data, view, expected)


@parity
@given(size=sizes, to=view_sizes, name=filters, orientation=orientations, seed=seeds)
def test_a_view_that_ignores_orientation_sees_the_picture_as_stored(
    size: tuple[int, int], to: tuple[int, int], name: str, orientation: int, seed: int
) -> None:
    image = picture(size, seed)
    data = oriented(image, orientation, format="PNG", compress_level=1)
    view = _core.ImageView(*to, filter=name, ignore_orientation=True)
    assert_renders(data, view, image.resize(to, FILTERS[name]))


@parity
@example(
    size=(640, 427),
    seed=2,
    mode="RGB",
    subsampling="4:2:0",
    progressive=True,
    orientation=6,
    decode_min=50,
    to=(40, 40),
    fit="cover",
    name="lanczos",
)
@given(
    size=sizes,
    seed=seeds,
    mode=st.sampled_from(["RGB", "L", "CMYK"]),
    subsampling=st.sampled_from(["4:4:4", "4:2:2", "4:2:0"]),
    progressive=st.booleans(),
    orientation=orientations,
    decode_min=st.integers(1, 300),
    to=view_sizes,
    fit=modes,
    name=filters,
)
def test_fast_views_equal_draft_then_resize(
    size: tuple[int, int],
    seed: int,
    mode: str,
    subsampling: str,
    progressive: bool,
    orientation: int,
    decode_min: int,
    to: tuple[int, int],
    fit: str,
    name: str,
) -> None:
    options = {"subsampling": subsampling} if mode == "RGB" else {}
    data = oriented(picture(size, seed).convert(mode), orientation, format="JPEG", progressive=progressive, **options)
    draft = Image.open(io.BytesIO(data))
    draft.draft(None, (decode_min, decode_min))
    expected = fitted(ImageOps.exif_transpose(draft).convert("RGB"), to, fit, name)
    view = _core.ImageView(*to, mode=fit, filter=name, pad_color=(1, 2, 3))
    assert expected.size == to
    assert _core.render_views(data, [view], decode_min=decode_min)[0] == expected.tobytes()


@parity
@given(size=sizes, seed=seeds, orientation=orientations, tos=st.lists(view_sizes, min_size=2, max_size=4), fit=modes)
def test_several_views_of_one_decode_equal_each_alone(
    size: tuple[int, int], seed: int, orientation: int, tos: list[tuple[int, int]], fit: str
) -> None:
    data = oriented(picture(size, seed), orientation, format="JPEG", quality=80)
    views = [_core.ImageView(*to, mode=fit) for to in [*tos, tos[0]]]
    together = _core.render_views(data, views)
    assert together == [_core.render_views(data, [view])[0] for view in views]


@parity
@given(
    size=st.tuples(st.integers(1, 120), st.integers(1, 120)),
    to=view_sizes,
    seed=seeds,
    kind=st.sampled_from(["PNG", "WEBP"]),
    background=st.tuples(*[st.integers(0, 255)] * 3),
    name=filters,
)
def test_alpha_is_composited_on_the_views_background(
    size: tuple[int, int],
    to: tuple[int, int],
    seed: int,
    kind: str,
    background: tuple[int, int, int],
    name: str,
) -> None:
    image = picture(size, seed)
    image.putalpha(picture(size, seed + 1).getchannel("G"))
    data = encoded(image, format=kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    decoded = Image.open(io.BytesIO(data)).convert("RGBA")
    opaque = Image.new("RGB", size, background)
    opaque.paste(decoded.convert("RGB"), mask=decoded.getchannel("A"))
    assert_renders(data, _core.ImageView(*to, filter=name, background=background), opaque.resize(to, FILTERS[name]))
    ignoring = _core.ImageView(*to, filter=name, background=background, ignore_alpha=True)
    assert_renders(data, ignoring, decoded.convert("RGB").resize(to, FILTERS[name]))
