"""Content that cannot be judged, and what the answer must say of it."""

from __future__ import annotations

import io
import random
import struct
import zlib
from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True)
class Specimen:
    """``words`` is a regular expression that the reason given to a person must match."""

    name: str
    data: bytes
    reason_code: str
    words: str


def encoded(kind: str, side: tuple[int, int] = (200, 150)) -> bytes:
    """A sound picture with something to see in it."""
    width, height = side
    gradient = Image.radial_gradient("L").resize(side)
    ramp = Image.linear_gradient("L").resize(side)
    buffer = io.BytesIO()
    Image.merge("RGB", (gradient, ramp, Image.new("L", (width, height), 90))).save(buffer, kind)
    return buffer.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *, depth: int = 8, pixels: bytes = b"") -> bytes:
    """A PNG that claims a size, whatever its pixels are."""
    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(pixels)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _with(data: bytes, position: int, wrong: bytes) -> bytes:
    return data[:position] + wrong + data[position + len(wrong) :]


def _box(brand: bytes) -> bytes:
    return b"\0\0\0\x1cftyp" + brand + b"\0\0\0\0" + brand + b"isom" + b"\0" * 60


JPEG, PNG, WEBP = encoded("JPEG"), encoded("PNG"), encoded("WEBP")

INVALID, UNSUPPORTED, TOO_LARGE = "INVALID_CONTENT", "UNSUPPORTED", "TOO_LARGE"

PICTURES: tuple[Specimen, ...] = (
    Specimen("empty", b"", INVALID, "empty"),
    Specimen("one_byte", b"\xff", INVALID, "not a picture"),
    *(
        Specimen(f"{name}_cut_at_{at}", data[:at], INVALID, "truncated")
        for name, data in (("jpeg", JPEG), ("png", PNG), ("webp", WEBP))
        for at in (20, 60, len(data) // 2, len(data) * 3 // 4)
    ),
    Specimen("jpeg_without_frame", JPEG.replace(b"\xff\xc0", b"\xff\xc9", 1), UNSUPPORTED, "arithmetic|support"),
    Specimen("jpeg_header_destroyed", _with(JPEG, 4, b"\xff" * 36), INVALID, "JPEG"),
    Specimen("png_pixels_destroyed", _with(PNG, 60, b"\xa5" * 400), INVALID, "corrupt"),
    Specimen("png_impossible_depth", png(10, 10, depth=3), INVALID, "3 bits"),
    Specimen("png_without_pixels", png(100, 100), INVALID, "truncated"),
    Specimen("png_of_no_width", png(0, 5), INVALID, "no pixels"),
    Specimen("webp_frame_destroyed", _with(WEBP, 20, b"\xff" * 12), INVALID, "WebP"),
    Specimen("jpeg_labelled_png", b"\x89PNG\r\n\x1a\n" + JPEG, INVALID, "PNG"),
    Specimen("jpeg_labelled_gif", b"GIF89a" + JPEG, TOO_LARGE, "limits.pixels"),
    Specimen("svg", b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', UNSUPPORTED, "SVG"),
    Specimen("pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + b"\0" * 80, UNSUPPORTED, "PDF"),
    Specimen("heic_without_picture", _box(b"heic"), INVALID, "HEIC"),
    Specimen("avif_without_picture", _box(b"avif"), INVALID, "AVIF"),
    Specimen("gif_cut", encoded("GIF")[:60], INVALID, "GIF.*truncated"),
    Specimen("bmp_cut", encoded("BMP")[:2000], INVALID, "BMP.*truncated"),
    Specimen("tiff", encoded("TIFF"), UNSUPPORTED, "TIFF.*JPEG, PNG, WebP, GIF"),
    Specimen("jpeg_xl", b"\xff\x0a" + bytes(60), UNSUPPORTED, "JPEG XL"),
    Specimen("mp4_without_movie", _box(b"isom"), INVALID, "MP4"),
    Specimen("zip", b"PK\x03\x04" + b"\0" * 60, UNSUPPORTED, "ZIP"),
    Specimen("html", b"<!doctype html><html></html>", UNSUPPORTED, "HTML"),
    Specimen("plain_text", b"this is no picture", UNSUPPORTED, "text"),
    Specimen("random_bytes", b"\x07" + random.Random(7).randbytes(4999), INVALID, "not a picture"),
    Specimen("zeros", bytes(4096), INVALID, "not a picture"),
    Specimen("bomb_of_3600_megapixels", png(60_000, 60_000), TOO_LARGE, "3600000000 pixels"),
    Specimen("side_of_70000_px", png(70_000, 1), TOO_LARGE, "70000 px"),
    Specimen("over_32_mib", JPEG + bytes(32 << 20), TOO_LARGE, "bytes; the limit"),
)
"""Each is UNREADABLE under the default limits."""

TEXTS: tuple[Specimen, ...] = (
    Specimen("text_of_1_mib", b"word " * 209_716, TOO_LARGE, "1048580 bytes.*262144"),
    Specimen("text_just_over", b"a" * 262_145, TOO_LARGE, "262145 bytes.*262144"),
)
"""Each is UNREADABLE under the default limits."""

ODD_TEXTS: dict[str, str] = {
    "spaces": "   \n\t  ",
    "emoji": "🙂🙃🙂",
    "control_characters": "\x00\x01\x07\x1b[31m",
    "byte_order_mark": "\ufeff",
    "zero_width": "\u200b" * 5,
    "just_within_the_limit": "a" * 262_144,
    "four_byte_letters_within_the_limit": "𝔞" * 65_536,
}
"""Texts with no English word in them: judged, and nothing that policy may count on."""
