"""Probe, views and the reference door of the compiled core, seen from Python."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, ImageOps

from floodgate import _core
from floodgate.errors import ContentTooLarge, InvalidContent, InvalidRequest, UnsupportedContent

WHITE = (255, 255, 255)

ImageFile.MAXBLOCK = 1 << 22  # with its small default, Pillow's encoder gives up on noisy progressive pictures


def photo(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """A noisy gradient: smooth enough for codecs, with detail in every channel."""
    random = np.random.default_rng(width * 1000 + height)
    y, x = np.mgrid[0:height, 0:width]
    channels = [x * 255 // max(width - 1, 1), y * 255 // max(height - 1, 1), (x * 3) ^ (y * 5)]
    pixels = np.stack(channels, axis=-1) % 256 + random.integers(-12, 13, (height, width, 3))
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    if mode in ("LA", "RGBA"):
        image = image.convert(mode)
        image.putalpha(Image.fromarray(random.integers(0, 256, (height, width), dtype=np.uint8)))
        return image
    return image.convert(mode)


def encoded(image: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, **options)
    return stream.getvalue()


def as_pillow_shows_it(data: bytes) -> Image.Image:
    """Upright, opaque RGB: orientation applied, alpha over white."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    canvas = Image.new("RGB", image.size, WHITE)
    canvas.paste(image, mask=image.getchannel("A"))
    return canvas


def rendered(data: bytes, view: _core.ImageView) -> np.ndarray[Any, np.dtype[np.uint8]]:
    pixels = np.frombuffer(_core.render_views(data, [view])[0], dtype=np.uint8)
    return pixels.reshape(view.out_height, view.out_width, 3)


def assert_decodes_like_pillow(data: bytes) -> None:
    expected = as_pillow_shows_it(data)
    actual = rendered(data, _core.ImageView(*expected.size))
    np.testing.assert_array_equal(actual, np.asarray(expected))


# --------------------------------------------------------------------------- decoding


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (7, 9), (16, 16), (123, 77)])
def test_jpeg_pixels_equal_pillows(subsampling: str, progressive: bool, size: tuple[int, int]) -> None:
    options = {"subsampling": subsampling, "progressive": progressive}
    assert_decodes_like_pillow(encoded(photo(*size), format="JPEG", quality=80, **options))


@pytest.mark.parametrize("quality", [1, 25, 50, 95, 100])
def test_jpeg_quality_does_not_matter(quality: int) -> None:
    assert_decodes_like_pillow(encoded(photo(61, 45), format="JPEG", quality=quality))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_grey_and_cmyk_jpeg_pixels_equal_pillows(mode: str, progressive: bool) -> None:
    assert_decodes_like_pillow(encoded(photo(61, 45, mode), format="JPEG", progressive=progressive))


def test_adobe_ycck_jpeg_pixels_equal_pillows() -> None:
    data = encoded(photo(61, 45, "CMYK"), format="JPEG")
    marker = data.index(b"Adobe")
    assert data[marker + 11] == 0
    ycck = bytearray(data)
    ycck[marker + 11] = 2  # the same coefficients, read as YCCK
    assert_decodes_like_pillow(bytes(ycck))


def test_rgb_jpeg_without_colour_transform_equals_pillows() -> None:
    assert_decodes_like_pillow(encoded(photo(61, 45), format="JPEG", keep_rgb=True))


@pytest.mark.parametrize("interval", [{"restart_marker_rows": 1}, {"restart_marker_blocks": 3}])
def test_restart_markers_do_not_matter(interval: dict[str, int]) -> None:
    assert_decodes_like_pillow(encoded(photo(61, 45), format="JPEG", **interval))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (9, 7), (123, 77)])
def test_png_pixels_equal_pillows(mode: str, size: tuple[int, int]) -> None:
    assert_decodes_like_pillow(encoded(photo(*size, mode), format="PNG"))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_png_pixels_equal_pillows(bits: int) -> None:
    image = photo(61, 45).quantize(2**bits)
    assert_decodes_like_pillow(encoded(image, format="PNG", bits=bits))
    assert_decodes_like_pillow(encoded(image, format="PNG", bits=bits, transparency=1))
    alphas = bytes(5 * index % 256 for index in range(2**bits))
    assert_decodes_like_pillow(encoded(image, format="PNG", bits=bits, transparency=alphas))


def test_transparent_colours_equal_pillows() -> None:
    grey = photo(61, 45, "L")
    assert_decodes_like_pillow(encoded(grey, format="PNG", transparency=grey.getpixel((30, 20))))
    colour = photo(61, 45)
    assert_decodes_like_pillow(encoded(colour, format="PNG", transparency=colour.getpixel((30, 20))))


def test_16_bit_colour_png_keeps_the_high_byte() -> None:
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    samples = struct.pack(">6H", 0x12FF, 0x8000, 0xFE7F, 0x0001, 0x00FF, 0xFFFF)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    pixels = zlib.compress(b"\0" + samples)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    assert rendered(data, _core.ImageView(2, 1)).tolist() == [[[0x12, 0x80, 0xFE], [0x00, 0x00, 0xFF]]]
    assert_decodes_like_pillow(data)


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (9, 7), (123, 77)])
def test_webp_pixels_equal_pillows(lossless: bool, mode: str, size: tuple[int, int]) -> None:
    assert_decodes_like_pillow(encoded(photo(*size, mode), format="WEBP", lossless=lossless))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_first_frame_of_an_animation_equals_pillows(mode: str) -> None:
    frames = [photo(61, 45, mode), photo(61, 45, mode).rotate(180)]
    for kind in ("WEBP", "PNG"):
        data = encoded(frames[0], format=kind, save_all=True, append_images=frames[1:])
        assert _core.probe(data).frames == 2
        assert_decodes_like_pillow(data)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_orientation_is_applied_like_pillows(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo(61, 45), format=kind, exif=exif)
    assert _core.probe(data).orientation == orientation
    assert_decodes_like_pillow(data)


def test_colour_profiles_are_ignored_like_pillows() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for kind in ("JPEG", "PNG", "WEBP"):
        assert_decodes_like_pillow(encoded(photo(61, 45), format=kind, icc_profile=profile))


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_truncated_jpeg_is_refused_wherever_pillow_refuses_it(options: dict[str, Any]) -> None:
    data = encoded(photo(40, 40), format="JPEG", **options)
    whole = as_pillow_shows_it(data).tobytes()
    view = _core.ImageView(40, 40)
    for size in range(4, len(data)):
        try:
            expected: bytes | None = as_pillow_shows_it(data[:size]).tobytes()
        except (OSError, SyntaxError):
            expected = None
        if expected is None:
            with pytest.raises(InvalidContent):
                _core.render_views(data[:size], [view])[0]
        else:
            assert expected == whole
            assert _core.render_views(data[:size], [view])[0] == whole


# --------------------------------------------------------------------------- probe


def test_probe_reads_the_header() -> None:
    info = _core.probe(encoded(photo(61, 45), format="JPEG", progressive=True))
    assert (info.format, info.width, info.height) == ("jpeg", 61, 45)
    assert (info.channels, info.bits, info.frames, info.orientation) == (3, 8, 1, 1)
    assert info.progressive
    assert not info.has_alpha
    assert info.decode_cost_ns > 0


def test_more_pixels_cost_more() -> None:
    small = _core.probe(encoded(photo(61, 45), format="JPEG"))
    large = _core.probe(encoded(photo(610, 450), format="JPEG"))
    assert large.decode_cost_ns > small.decode_cost_ns


def test_refusals_are_typed_and_readable() -> None:
    with pytest.raises(InvalidContent, match="the data is empty"):
        _core.probe(b"")
    with pytest.raises(UnsupportedContent, match="JPEG XL pictures are not supported"):
        _core.probe(b"\xff\x0a" + bytes(60))
    with pytest.raises(UnsupportedContent, match="TIFF pictures"):
        _core.render_views(encoded(photo(4, 4), format="TIFF"), [_core.ImageView(4, 4)])
    with pytest.raises(InvalidContent, match="GIF data is truncated"):
        _core.probe(encoded(photo(4, 4), format="GIF")[:20])
    with pytest.raises(ContentTooLarge, match=r"61 px; the limit \(max_side_px\) is 60"):
        _core.probe(encoded(photo(61, 45), format="PNG"), _core.MediaLimits(max_side_px=60))
    with pytest.raises(ContentTooLarge, match="max_pixels"):
        _core.render_views(
            encoded(photo(61, 45), format="PNG"), [_core.ImageView(4, 4)], _core.MediaLimits(max_pixels=60)
        )


def test_only_bytes_are_taken() -> None:
    with pytest.raises(TypeError):
        _core.probe("text")  # type: ignore[arg-type]


# --------------------------------------------------------------------------- views


def test_an_invalid_view_names_its_member() -> None:
    for options, message in [
        ({"width": 0}, "view.width is 0"),
        ({"height": 5000}, "view.height is 5000"),
        ({"mode": "squash"}, 'view.mode is "squash"; it must be one of stretch, contain, cover'),
        ({"filter": "nearest"}, 'view.filter is "nearest"'),
        ({"crop_width": 9}, "view.crop_width is 9"),
        ({"pad_anchor": "left"}, "view.pad_anchor"),
        ({"pad_color": (0, 0, 256)}, "view.pad_color has 256"),
        ({"color": "grey"}, "view.color"),
        ({"layout": "hwc"}, "view.layout"),
    ]:
        with pytest.raises(InvalidRequest) as raised:
            _core.ImageView(**{"width": 8, "height": 8, **options})  # type: ignore[arg-type]
        assert message in str(raised.value)
    with pytest.raises(InvalidRequest, match=r"view\.buckets must ascend"):
        _core.TextView([64, 32])


def test_views_compare_and_describe_themselves() -> None:
    view = _core.ImageView(256, 256, mode="cover", crop_width=224, crop_height=224, layout="nchw")
    assert view == _core.ImageView(256, 256, mode="cover", crop_width=224, crop_height=224, layout="nchw")
    assert view != _core.ImageView(256, 256)
    assert (view.out_width, view.out_height, view.row_bytes) == (224, 224, 3 * 224 * 224)
    assert (view.mode, view.filter, view.pad_anchor, view.color, view.layout) == (
        "cover",
        "bilinear",
        "center",
        "rgb",
        "nchw",
    )
    assert "crop_width=224" in repr(view)
    text = _core.TextView((64, 256))
    assert text.buckets == (64, 256)
    assert text.max_bytes == 256
    assert text == _core.TextView([64, 256])


def test_layout_and_colour_order_move_samples_only() -> None:
    data = encoded(photo(61, 45), format="PNG")
    rgb = rendered(data, _core.ImageView(20, 10))
    np.testing.assert_array_equal(rendered(data, _core.ImageView(20, 10, color="bgr")), rgb[:, :, ::-1])
    planar = _core.render_views(data, [_core.ImageView(20, 10, color="bgr", layout="nchw")])[0]
    assert planar == rgb[:, :, ::-1].transpose(2, 0, 1).tobytes()


def test_decode_min_chooses_the_scale_that_draft_chooses() -> None:
    image = photo(123, 77)
    for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
        data = encoded(image, format="JPEG", quality=80, subsampling=subsampling)
        for decode_min in range(1, 130):
            draft = Image.open(io.BytesIO(data))
            draft.draft("RGB", (decode_min, decode_min))
            width, height, pixels = _core.decode_picture(data, decode_min=decode_min)
            assert (width, height) == draft.size
            assert pixels == draft.tobytes()


def test_limits_on_a_jpegs_scans_and_coefficients_name_themselves() -> None:
    data = encoded(photo(640, 480), format="JPEG", progressive=True)
    view = [_core.ImageView(8, 8)]
    with pytest.raises(ContentTooLarge, match="more than 3 scans"):
        _core.render_views(data, view, _core.MediaLimits(max_scans=3))
    with pytest.raises(ContentTooLarge, match=r"coefficients; the limit \(max_coefficient_bytes\) is 0 MiB"):
        _core.render_views(data, view, _core.MediaLimits(max_coefficient_bytes=1000))
    plain = encoded(photo(640, 480), format="JPEG")
    assert _core.render_views(plain, view, _core.MediaLimits(max_scans=1, max_coefficient_bytes=0))


PEAK = """
import sys
from floodgate import _core

def peak_kib() -> int:
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

data = open(sys.argv[1], "rb").read()
view = _core.ImageView(224, 224)
_core.render_views(open(sys.argv[2], "rb").read(), [view])  # code and libraries come in
idle = peak_kib()
_core.render_views(data, [view], decode_min=int(sys.argv[3]))
print(peak_kib() - idle)
"""


@pytest.mark.parametrize("decode_min", [256, 0])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_picture_of_100_megapixels_is_never_held(tmp_path: Path, decode_min: int, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    large, small = tmp_path / "large.jpg", tmp_path / "small.jpg"
    large.write_bytes(encoded(Image.new("RGB", (10_000, 10_000), (90, 120, 200)), format="JPEG", exif=exif))
    small.write_bytes(encoded(photo(61, 45), format="JPEG"))
    command = [sys.executable, "-c", PEAK, str(large), str(small), str(decode_min)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 64 * 1024  # KiB; the picture has 300 MB


def test_codec_versions_are_known() -> None:
    assert {"h264", "hevc", "vp8", "vp9", "av1"} <= set(_core.video_codecs())
    versions = _core.codecs()
    assert set(versions) >= {"libjpeg-turbo", "libspng", "libwebp", "giflib", "libavif", "libheif", "libavcodec"}
    assert all(version[0].isdigit() and "." in version for version in versions.values())
