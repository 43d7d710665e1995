"""BMP."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator

import numpy as np

from .specimen import Specimen


def bmp(
    pixels: bytes,
    width: int,
    height: int,
    bits: int,
    *,
    compression: int = 0,
    palette: bytes = b"",
    colors: int = 0,
    header: int = 40,
    masks: tuple[int, ...] = (),
    offset: int | None = None,
) -> bytes:
    """``palette``: entries as the header wants them; a negative height is top-down."""
    if header == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        info = struct.pack("<IiiHHIIiiII", header, width, height, 1, bits, compression, len(pixels), 0, 0, colors, 0)
        extra = b"".join(struct.pack("<I", mask) for mask in masks)
        info += extra + bytes(max(0, header - 40 - len(extra)))
    at = 14 + len(info) + len(palette)
    return (
        b"BM" + struct.pack("<IHHI", at + len(pixels), 0, 0, at if offset is None else offset) + info + palette + pixels
    )


def bmps() -> Iterator[Specimen]:
    random = np.random.default_rng(1)
    colors = random.integers(0, 256, 1024, dtype=np.uint8).tobytes()
    for (width, height), bits in itertools.product([(1, 1), (5, 3), (9, 8), (33, 7)], (1, 4, 8, 16, 24, 32)):
        row = (width * bits + 31) // 32 * 4
        pixels = random.integers(0, 256, row * height, dtype=np.uint8).tobytes()
        palette = colors[: 4 << bits] if bits <= 8 else b""
        yield Specimen(f"bmp {bits} bit {width}x{height}", bmp(pixels, width, height, bits, palette=palette))
        yield Specimen(f"bmp {bits} bit {width}x{height} top down", bmp(pixels, width, -height, bits, palette=palette))
        if bits in (1, 4, 8, 24):
            triples = colors[: 3 << bits] if bits <= 8 else b""
            yield Specimen(
                f"bmp os/2 {bits} bit {width}x{height}", bmp(pixels, width, height, bits, palette=triples, header=12)
            )
    pixels = random.integers(0, 256, 12 * 8 * 4, dtype=np.uint8).tobytes()
    layouts = [
        (0xFF0000, 0xFF00, 0xFF, 0),
        (0xFF000000, 0xFF0000, 0xFF00, 0),
        (0xFF000000, 0xFF00, 0xFF, 0),
        (0xFF000000, 0xFF0000, 0xFF00, 0xFF),
        (0xFF, 0xFF00, 0xFF0000, 0xFF000000),
        (0xFF0000, 0xFF00, 0xFF, 0xFF000000),
        (0xFF000000, 0xFF00, 0xFF, 0xFF0000),
        (0, 0, 0, 0),
    ]
    for masks, header in itertools.product(layouts, (40, 52, 56, 64, 108, 124)):
        count = 3 if header in (40, 52) else 4
        data = bmp(pixels, 12, 8, 32, compression=3, masks=masks[:count], header=header)
        yield Specimen(f"bmp masks {masks} header {header}", data)
    for masks in [(0xF800, 0x7E0, 0x1F), (0x7C00, 0x3E0, 0x1F)]:
        yield Specimen(f"bmp 16 bit masks {masks}", bmp(pixels, 12, 8, 16, compression=3, masks=masks))
    yield Specimen("bmp 24 bit masks", bmp(pixels, 12, 8, 24, compression=3, masks=(0xFF0000, 0xFF00, 0xFF)))
    yield Specimen("bmp grey palette", bmp(pixels, 12, 8, 8, palette=b"".join(bytes([i, i, i, 0]) for i in range(256))))
    yield Specimen("bmp few colours", bmp(bytes(i % 5 for i in range(96)), 12, 8, 8, palette=colors[:20], colors=5))
    yield Specimen("bmp indices beyond the palette", bmp(bytes(range(96)), 12, 8, 8, palette=colors[:20], colors=5))
    offset = 14 + 40
    yield Specimen("bmp offset at the palette", bmp(bytes(96), 12, 8, 8, palette=colors[:1024], offset=offset))
    yield Specimen("bmp offset zero", bmp(pixels, 12, 8, 24, offset=0))
    yield Specimen("bmp last padding missing", bmp(pixels[: 12 * 8 - 2], 10, 3, 24))
    yield Specimen("bmp mostly minus", bmp(pixels, 12, -8, 24))
    yield from run_length_bmps(colors[:1024])


def run_length_bmps(palette: bytes) -> Iterator[Specimen]:
    rle8 = {
        "runs": b"\x04\x01\x04\x02\0\0\x08\x03\0\0\x01\x09\x07\x05\0\0\0\1",
        "literals": b"\0\x03\x01\x02\x03\0\x05\x07\0\0\0\x08\1\2\3\4\5\6\7\x08\0\0\x08\x04\0\1",
        "delta": b"\x02\x01\0\2\3\1\x02\x07\0\0\x08\x01\0\1",
        "delta to the end": b"\x02\x01\0\2\6\2\0\1",
        "run too long": b"\xff\x01\0\0\x08\x02\0\0\x08\x03\0\1",
        "no line ends": b"\x08\x01\x08\x02\x08\x03\0\1",
        "literal over lines": b"\0\x0c" + bytes(range(12)) + b"\0\0\x08\4\0\1",
        "ends early": b"\x08\x01\0\0\0\1",
        "no end": b"\x08\x01\0\0\x08\x02\0\0\x08\x03",
        "cut in a literal": b"\x08\x01\0\0\0\x08\1\2",
        "empty": b"",
    }
    for (name, codes), height in itertools.product(rle8.items(), (3, -3)):
        down = " top down" if height < 0 else ""
        yield Specimen(f"bmp rle8 {name}{down}", bmp(codes, 8, height, 8, compression=1, palette=palette))
    rle4 = {
        "runs": b"\x04\x12\x04\x34\0\0\x08\x56\0\0\x07\x9a\x01\x0f\0\0\0\1",
        "literals": b"\0\x04\x12\x34\x04\x56\0\0\0\x08\x12\x34\x56\x78\0\0\0\x05\x12\x34\x50\0\x03\x99\0\1",
        "delta": b"\x02\x12\0\2\3\1\x03\x77\0\0\x08\x11\0\1",
    }
    for name, codes in rle4.items():
        yield Specimen(f"bmp rle4 {name}", bmp(codes, 8, 3, 4, compression=2, palette=palette[:64]))
