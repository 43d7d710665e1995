"""JPEG."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator

from .specimen import SIZES, Specimen, encoded, image


def jpegs() -> Iterator[Specimen]:
    for mode, (width, height), progressive in itertools.product(["L", "RGB", "CMYK"], SIZES, [False, True]):
        data = encoded(image(width, height, mode), "JPEG", quality=80, progressive=progressive)
        yield Specimen(f"jpeg {mode} {width}x{height}{' progressive' * progressive}", data)
    for sampling, restart in itertools.product(["4:4:4", "4:2:2", "4:2:0"], [0, 1, 3]):
        data = encoded(image(70, 50), "JPEG", subsampling=sampling, restart_marker_blocks=restart, quality=60)
        yield Specimen(f"jpeg {sampling} restart {restart}", data)
    # The same blocks in another arrangement: two luma blocks side by side or above each other, four in a row.
    tall = encoded(image(64, 32), "JPEG", subsampling="4:2:2")
    yield Specimen("jpeg 4:4:0", resampled(tall, 0x21, 0x12, 32, 64))
    square = encoded(image(64, 32), "JPEG", subsampling="4:2:0")
    yield Specimen("jpeg 4:1:1", resampled(square, 0x22, 0x41, 64, 32))
    yield Specimen("jpeg 4:1:1 upright", resampled(square, 0x22, 0x14, 64, 32))
    cmyk = encoded(image(40, 30, "CMYK"), "JPEG")
    at = cmyk.index(b"Adobe") + 11
    yield Specimen("jpeg ycck", cmyk[:at] + b"\2" + cmyk[at + 1 :])
    adobe = cmyk.index(b"\xff\xee")
    yield Specimen("jpeg cmyk without adobe", cmyk[:adobe] + cmyk[adobe + 16 :])
    rgb = encoded(image(40, 30), "JPEG", subsampling="4:4:4")
    yield Specimen("jpeg adobe rgb", rgb[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0" + rgb[2:])
    plain = encoded(image(23, 14), "JPEG")
    for length in (0, 1):
        yield Specimen(f"jpeg segment of length {length}", plain[:2] + b"\xff\xe5\0" + bytes([length]) + plain[2:])
    yield Specimen("jpeg junk after the end", plain + b"junk" * 20)
    yield Specimen("jpeg two pictures", plain + encoded(image(40, 40), "JPEG"))
    yield Specimen("jpeg without end marker", plain[:-2])
    yield Specimen("jpeg comment", plain[:2] + b"\xff\xfe\0\7hello" + plain[2:])
    yield Specimen("jpeg fill bytes", plain[:2] + b"\xff" * 50 + plain[2:])
    yield Specimen("jpeg metadata of 5 MB", plain[:2] + (b"\xff\xe2\xff\xff" + bytes(65533)) * 80 + plain[2:])
    yield Specimen("jpeg optimized icc", encoded(image(33, 33), "JPEG", optimize=True, icc_profile=bytes(3000)))


def resampled(data: bytes, old: int, new: int, width: int, height: int) -> bytes:
    at = data.index(b"\xff\xc0") + 5
    changed = bytearray(data)
    changed[at : at + 4] = struct.pack(">HH", height, width)
    assert changed[at + 6] == old
    changed[at + 6] = new
    return bytes(changed)
