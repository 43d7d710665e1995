"""WebP and GIF, still and animated."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .specimen import PALETTE, SIZES, Specimen, encoded, exif, image, xmp


def webps() -> Iterator[Specimen]:
    for mode, (width, height), lossless in itertools.product(["RGB", "RGBA"], SIZES, [False, True]):
        data = encoded(image(width, height, mode), "WEBP", lossless=lossless, quality=70, method=0)
        yield Specimen(f"webp {mode} {width}x{height}{' lossless' * lossless}", data)
    for orientation in range(1, 9):
        yield Specimen(f"webp exif {orientation}", encoded(image(23, 14), "WEBP", exif=exif(orientation)))
        yield Specimen(f"webp xmp {orientation}", encoded(image(23, 14), "WEBP", xmp=xmp(orientation)))
    yield Specimen("webp profile", encoded(image(23, 14), "WEBP", icc_profile=bytes(999)))
    yield Specimen("webp exact alpha", encoded(image(31, 22, "RGBA"), "WEBP", lossless=True, exact=True))
    yield Specimen("webp junk after the end", encoded(image(23, 14), "WEBP") + b"junk" * 5)
    for mode in ("RGB", "RGBA"):
        frames = [image(30, 20, mode, seed) for seed in range(4)]
        data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=[40, 0, 90, 200])
        yield Specimen(f"webp animated {mode}", data)


def lzw(indices: bytes, bits: int, *, end: bool = True) -> bytes:
    """Sub-blocks of literal codes, cleared often enough that codes never grow."""
    width = bits + 1
    clear, stop = 1 << bits, (1 << bits) + 1
    codes: list[int] = []
    for i, index in enumerate(indices):
        if i % max(1, (1 << bits) - 2) == 0:
            codes.append(clear)
        codes.append(index)
    codes += [stop] if end else []
    value = sum(code << (width * i) for i, code in enumerate(codes))
    packed = value.to_bytes((len(codes) * width + 7) // 8, "little")
    blocks = b"".join(bytes([len(packed[i : i + 255])]) + packed[i : i + 255] for i in range(0, len(packed), 255))
    return bytes([bits]) + blocks + b"\0"


@dataclass(frozen=True)
class GifPart:
    """One frame of a hand-made GIF; ``indices`` row by row as shown, None for noise."""

    left: int = 0
    top: int = 0
    width: int = 16
    height: int = 12
    bits: int = 3
    palette: bytes | None = None
    transparent: int | None = None
    disposal: int = 0
    delay_cs: int = 5
    interlaced: bool = False
    control: bool = True
    seed: int = 0
    shorter_by: int = 0  # indices that the codes leave out


def gif(
    parts: list[GifPart], size: tuple[int, int] = (16, 12), palette: bytes | None = b"", background: int = 0
) -> bytes:
    """``palette``: the global one, b"" for one of 8 colours, None for none."""
    table = PALETTE[60 : 60 + 24] if palette == b"" else palette or b""
    flags = 0x80 | (len(table) // 3).bit_length() - 2 if table else 0
    out = b"GIF89a" + struct.pack("<HHBBB", *size, flags, background, 0) + table
    for part in parts:
        if part.control:
            packed = part.disposal << 2 | (part.transparent is not None)
            out += b"!\xf9\4" + struct.pack("<BHB", packed, part.delay_cs, part.transparent or 0) + b"\0"
        local = part.palette or b""
        flags = (0x80 | (len(local) // 3).bit_length() - 2 if local else 0) | (0x40 if part.interlaced else 0)
        out += b"," + struct.pack("<HHHHB", part.left, part.top, part.width, part.height, flags) + local
        random = np.random.default_rng(part.seed)
        indices = random.integers(0, 1 << part.bits, (part.height, part.width), dtype=np.uint8)
        if part.interlaced:
            passes = [(0, 8), (4, 8), (2, 4), (1, 2)]
            indices = np.concatenate([indices[first::step] for first, step in passes])
        flat = indices.tobytes()
        out += lzw(flat[: len(flat) - part.shorter_by], part.bits)
    return out + b";"


def gifs() -> Iterator[Specimen]:
    other = PALETTE[300 : 300 + 24]
    for (width, height), mode in itertools.product(SIZES, ["P", "L", "1"]):
        yield Specimen(f"gif {mode} {width}x{height}", encoded(image(width, height, mode), "GIF"))
    yield Specimen("gif interlaced", gif([GifPart(interlaced=True)]))
    yield Specimen("gif transparent", gif([GifPart(transparent=3)]))
    yield Specimen("gif local palette", gif([GifPart(palette=other)]))
    yield Specimen("gif only a local palette", gif([GifPart(palette=other)], palette=None))
    yield Specimen("gif without any palette", gif([GifPart()], palette=None))
    yield Specimen("gif without palette, transparent", gif([GifPart(transparent=2)], palette=None))
    yield Specimen("gif palette too short", gif([GifPart()], palette=PALETTE[:6]))
    yield Specimen("gif transparent beyond palette", gif([GifPart(transparent=7)], palette=PALETTE[:6]))
    small = GifPart(left=3, top=2, width=7, height=5)
    yield Specimen("gif frame smaller than the canvas", gif([small], background=4))
    yield Specimen("gif small frame, transparent", gif([GifPart(3, 2, 7, 5, transparent=1)], background=4))
    yield Specimen("gif frame leaves the canvas", gif([GifPart(left=5, top=4)], size=(8, 8)))
    yield Specimen("gif zero canvas", gif([GifPart()], size=(0, 0)))
    yield Specimen("gif codes end early", gif([GifPart(shorter_by=50)]))
    yield Specimen("gif codes end early, transparent", gif([GifPart(shorter_by=50, transparent=2)]))
    yield Specimen("gif 87a", b"GIF87a" + gif([GifPart(control=False)])[6:])
    yield Specimen("gif without trailer", gif([GifPart()])[:-1])
    yield Specimen("gif junk between blocks", gif([GifPart()])[:37] + b"\1\2\3" + gif([GifPart()])[37:])
    comment = b"!\xfe\5hello\0"
    yield Specimen("gif comment", gif([GifPart()])[:37] + comment + gif([GifPart()])[37:])
    yield Specimen("gif looping", encoded(image(9, 9, "P"), "GIF", loop=0))
    yield Specimen("gif 2 bits a code", gif([GifPart(bits=2)]))


def animated_gifs() -> Iterator[Specimen]:
    other = PALETTE[300 : 300 + 24]
    for first, method, second in itertools.product((None, 1), (0, 1, 2, 3), (None, 2)):
        parts = [
            GifPart(transparent=first, disposal=method, seed=1),
            GifPart(4, 3, 9, 6, transparent=second, disposal=method, seed=2),
            GifPart(2, 1, 8, 8, transparent=second, disposal=method, palette=other, seed=3),
            GifPart(0, 0, 5, 5, transparent=4, disposal=0, seed=4),
            GifPart(6, 2, 9, 9, transparent=second, disposal=1, interlaced=True, seed=5),
            GifPart(1, 1, 3, 3, control=False, seed=6),
        ]
        name = f"gif animated disposal {method}, transparent {first} then {second}"
        yield Specimen(name, gif(parts, background=5))
    yield Specimen("gif animated first frame small", gif([GifPart(3, 3, 5, 5), GifPart(seed=1)], background=2))
    parts = [GifPart(3, 3, 5, 5, transparent=2), GifPart(1, 1, 9, 9, seed=1, transparent=0)]
    yield Specimen("gif animated first frame small and transparent", gif(parts, background=2))
    yield Specimen("gif animated without palettes", gif([GifPart(), GifPart(2, 2, 4, 4, seed=1)], palette=None))
    yield Specimen("gif animated grows", gif([GifPart(), GifPart(10, 10, 9, 9, seed=1), GifPart(seed=2)]))
    frames = [image(40, 30, "RGB", seed) for seed in range(5)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=[0, 10, 20, 100, 1000])
    yield Specimen("gif animated by pillow", data)
    frames = [image(40, 30, "RGBA", seed) for seed in range(5)]
    for disposal in (0, 1, 2, 3):
        data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], disposal=disposal, duration=70)
        yield Specimen(f"gif animated rgba by pillow, disposal {disposal}", data)
