"""PNG and APNG."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .specimen import PALETTE, SIZES, Specimen, encoded, exif, image, photo, xmp

ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
MAGIC = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def scanlines(samples: npt.NDArray[np.integer[Any]], bits: int, filters: int) -> bytes:
    """Rows with their filter bytes; ``filters``: 0..4, or 5 for each in turn."""
    height, width, channels = samples.shape
    if bits == 16:
        rows = samples.astype(">u2").tobytes()
        row_bytes = width * channels * 2
    elif bits == 8:
        rows = samples.astype(np.uint8).tobytes()
        row_bytes = width * channels
    else:
        flat = samples.reshape(height, width).astype(np.uint8)
        planes = [(flat >> (bits - 1 - b)) & 1 for b in range(bits)]
        rows = np.packbits(np.stack(planes, axis=-1).reshape(height, width * bits), axis=1).tobytes()
        row_bytes = (width * bits + 7) // 8
    step = max(1, channels * bits // 8)
    out = bytearray()
    above = bytes(row_bytes)
    for y in range(height):
        row = rows[y * row_bytes : (y + 1) * row_bytes]
        kind = y % 5 if filters == 5 else filters
        out.append(kind)
        for i in range(row_bytes):
            left = row[i - step] if i >= step else 0
            up = above[i]
            corner = above[i - step] if i >= step else 0
            base = left + up - corner
            paeth = min((abs(base - left), 0, left), (abs(base - up), 1, up), (abs(base - corner), 2, corner))[2]
            out.append((row[i] - (0, left, up, (left + up) // 2, paeth)[kind]) & 255)
        above = row
    return bytes(out)


def png(
    samples: npt.NDArray[np.integer[Any]],
    color: int,
    bits: int,
    *,
    interlaced: bool = False,
    before: bytes = b"",
    filters: int = 5,
    after: bytes = b"",
    piece: int = 1 << 20,
) -> bytes:
    """``samples``: [height, width, channels]; ``before``: chunks before the pixels; ``piece``: bytes an IDAT."""
    height, width, _ = samples.shape
    if interlaced:
        parts = [samples[y0::dy, x0::dx] for x0, y0, dx, dy in ADAM7]
        raw = b"".join(scanlines(part, bits, filters) for part in parts if part.size)
    else:
        raw = scanlines(samples, bits, filters)
    packed = zlib.compress(raw)
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, interlaced)
    pixels = b"".join(chunk(b"IDAT", packed[i : i + piece]) for i in range(0, len(packed), piece))
    return MAGIC + chunk(b"IHDR", header) + before + pixels + after + chunk(b"IEND")


def samples_for(color: int, bits: int, width: int, height: int, seed: int = 0) -> npt.NDArray[np.integer[Any]]:
    random = np.random.default_rng(seed)
    return random.integers(0, 1 << bits, (height, width, PNG_CHANNELS[color]))


def pngs() -> Iterator[Specimen]:
    kinds = [(0, b) for b in (1, 2, 4, 8, 16)] + [(3, b) for b in (1, 2, 4, 8)]
    kinds += [(c, b) for c in (2, 4, 6) for b in (8, 16)]
    for (color, bits), (width, height), interlaced in itertools.product(kinds, SIZES, [False, True]):
        samples = samples_for(color, bits, width, height)
        before = chunk(b"PLTE", PALETTE[: 3 << bits]) if color == 3 else b""
        data = png(samples, color, bits, interlaced=interlaced, before=before)
        name = f"png colour {color} {bits} bit {width}x{height}{' interlaced' * interlaced}"
        yield deep(Specimen(name, data), samples, color, bits)
    yield from transparent_pngs()
    samples = samples_for(3, 8, 20, 20)
    yield Specimen("png palette too short", png(samples, 3, 8, before=chunk(b"PLTE", PALETTE[:30])))
    yield Specimen("png without palette", png(samples, 3, 8))
    yield Specimen("png suggested palette", png(photo(9, 9), 2, 8, before=chunk(b"PLTE", PALETTE)))
    for filters in range(5):
        yield Specimen(f"png filter {filters}", png(photo(31, 7, 4), 6, 8, filters=filters))
    for piece in (1, 7, 64):
        yield Specimen(f"png pixels in pieces of {piece}", png(photo(12, 12), 2, 8, piece=piece))
    rgb = photo(23, 14)
    plain = png(rgb, 2, 8)
    yield Specimen("png empty first pixel chunk", plain[:33] + chunk(b"IDAT") + plain[33:])
    yield Specimen("png without end", plain[:-12])
    yield Specimen("png without end and checksum", plain[:-16])
    yield Specimen("png wrong pixel checksum", plain[:-16] + b"\0\0\0\0" + plain[-12:])
    yield Specimen("png junk after the end", plain + b"junk" * 9)
    for late, orientation in itertools.product([False, True], range(1, 9)):
        block = chunk(b"eXIf", exif(orientation))
        data = png(rgb, 2, 8, after=block) if late else png(rgb, 2, 8, before=block)
        yield Specimen(f"png exif {orientation}{' late' * late}", data)
    for late, orientation in itertools.product([False, True], (1, 3, 6, 8)):
        block = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(orientation))
        data = png(rgb, 2, 8, after=block) if late else png(rgb, 2, 8, before=block)
        yield Specimen(f"png xmp {orientation}{' late' * late}", data)
    odd = {
        "gamma": chunk(b"gAMA", struct.pack(">I", 45455)),
        "two gammas": chunk(b"gAMA", struct.pack(">I", 45455)) * 2,
        "profile of nonsense": chunk(b"iCCP", b"name\0\0" + bytes(50)),
        "profile": chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(5000))),
        "text": chunk(b"tEXt", b"Comment\0hello"),
        "packed text": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"hello" * 1000)),
        "broken packed text": chunk(b"zTXt", b"Comment\0\0" + b"nonsense"),
        "empty text": chunk(b"tEXt"),
        "strange srgb": chunk(b"sRGB", b"\x09"),
        "significant bits": chunk(b"sBIT", b"\5\6\5"),
        "background": chunk(b"bKGD", bytes(6)),
        "unknown chunk": chunk(b"heLo", b"hello"),
        "unknown critical chunk": chunk(b"HELO", b"hello"),
        "histogram without palette": chunk(b"hIST", bytes(4)),
        "density": chunk(b"pHYs", bytes(9)),
        "time": chunk(b"tIME", b"\x07\xea\x0b\x16\x04\x00\x00"),
        "impossible time": chunk(b"tIME", b"\xff" * 7),
    }
    for name, block in odd.items():
        yield Specimen(f"png {name}", png(rgb, 2, 8, before=block))


def transparent_pngs() -> Iterator[Specimen]:
    """A transparent colour is compared with the samples as stored, as the standard says; Pillow compares samples of
    2 and 4 bits after scaling them, and of 16 bits not at all or by their high byte."""
    for bits, interlaced in itertools.product((1, 2, 4, 8, 16), [False, True]):
        samples = samples_for(0, bits, 19, 11, bits)
        key = int(samples[3, 3, 0])
        before = chunk(b"tRNS", struct.pack(">H", key))
        data = png(samples, 0, bits, before=before, interlaced=interlaced)
        grey = (samples * 255 // ((1 << bits) - 1) if bits < 16 else samples >> 8).astype(np.uint8)
        shown = np.repeat(np.where(samples == key, 255, grey).astype(np.uint8), 3, axis=2)
        name = f"png grey {bits} bit transparent colour{' interlaced' * interlaced}"
        yield Specimen(name, data, depends=transparent_pngs.__doc__ or "", shown=shown.tobytes())
    for bits, interlaced in itertools.product((8, 16), [False, True]):
        samples = samples_for(2, bits, 19, 11, bits)
        samples[::2, ::2] = samples[3, 3]
        samples[5, 5] = samples[3, 3] ^ (0 if bits == 8 else 1)  # another low byte
        before = chunk(b"tRNS", struct.pack(">HHH", *(int(v) for v in samples[3, 3])))
        data = png(samples, 2, bits, before=before, interlaced=interlaced)
        same = (samples == samples[3, 3]).all(axis=2, keepdims=True)
        shown = np.where(same, 255, samples >> (bits - 8)).astype(np.uint8)
        name = f"png colour {bits} bit transparent colour{' interlaced' * interlaced}"
        yield Specimen(name, data, depends=transparent_pngs.__doc__ or "", shown=shown.tobytes())
    counts = [(bits, count) for bits in (1, 2, 4, 8) for count in sorted({1, 2, 1 << bits})]
    for (bits, count), interlaced in itertools.product(counts, [False, True]):
        samples = samples_for(3, bits, 19, 11, bits)
        alphas = bytes(range(0, 250, 50)) * 60
        before = chunk(b"PLTE", PALETTE[: 3 << bits]) + chunk(b"tRNS", alphas[:count])
        name = f"png palette {bits} bit, {count} alphas{' interlaced' * interlaced}"
        yield Specimen(name, png(samples, 3, bits, before=before, interlaced=interlaced))
    samples = samples_for(3, 8, 19, 11)
    before = chunk(b"PLTE", PALETTE) + chunk(b"tRNS", b"\xff\xff\0\xff")
    yield Specimen("png palette one transparent entry", png(samples, 3, 8, before=before))


def deep(specimen: Specimen, samples: npt.NDArray[np.integer[Any]], color: int, bits: int) -> Specimen:
    """16-bit grey keeps its high byte; Pillow's mode I;16 is clipped to white when it is converted."""
    if bits != 16 or color != 0:
        return specimen
    shown = np.repeat((samples >> 8).astype(np.uint8), 3, axis=2).tobytes()
    return Specimen(specimen.name, specimen.data, depends=deep.__doc__ or "", shown=shown)


@dataclass(frozen=True)
class ApngPart:
    left: int = 0
    top: int = 0
    width: int = 16
    height: int = 12
    delay: tuple[int, int] = (5, 100)
    dispose: int = 0
    blend: int = 0
    seed: int = 0
    pieces: int = 1


def apng(parts: list[ApngPart], color: int = 6, bits: int = 8, *, still: bool = False, soft: bool = False) -> bytes:
    """An animation of 16 x 12; ``still``: a picture in IDAT that is no frame of it; ``soft``: translucent pixels,
    else alpha is all or nothing."""
    before = chunk(b"PLTE", PALETTE[: 3 << bits]) + chunk(b"tRNS", b"\xff\0\xff\0") if color == 3 else b""
    header = struct.pack(">IIBBBBB", 16, 12, bits, color, 0, 0, 0)
    out = MAGIC + chunk(b"IHDR", header) + before + chunk(b"acTL", struct.pack(">II", len(parts), 0))
    number = 0
    if still:
        out += chunk(b"IDAT", zlib.compress(scanlines(samples_for(color, bits, 16, 12, 99), bits, 5)))
    for i, part in enumerate(parts):
        place = (part.width, part.height, part.left, part.top)
        control = struct.pack(">IIIIIHHBB", number, *place, *part.delay, part.dispose, part.blend)
        out += chunk(b"fcTL", control)
        number += 1
        samples = samples_for(color, bits, part.width, part.height, part.seed)
        if color in (4, 6) and not soft:
            samples[..., -1] = np.where(samples[..., -1] > (1 << bits) // 2, (1 << bits) - 1, 0)
        packed = zlib.compress(scanlines(samples, bits, 5))
        step = -(-len(packed) // part.pieces)
        for at in range(0, len(packed), step):
            if i == 0 and not still:
                out += chunk(b"IDAT", packed[at : at + step])
            else:
                out += chunk(b"fdAT", struct.pack(">I", number) + packed[at : at + step])
                number += 1
    return out + chunk(b"IEND")


def apngs() -> Iterator[Specimen]:
    whole = ApngPart()
    for dispose, blend in itertools.product((0, 1, 2), (0, 1)):
        parts = [
            ApngPart(dispose=dispose, blend=blend, seed=1),
            ApngPart(3, 2, 8, 7, dispose=dispose, blend=blend, seed=2, pieces=3),
            ApngPart(5, 1, 9, 9, dispose=dispose, blend=1 - blend, seed=3),
            ApngPart(0, 0, 4, 12, dispose=0, blend=blend, seed=4),
            ApngPart(1, 1, 2, 2, dispose=1, blend=blend, seed=5, delay=(1, 0)),
            ApngPart(7, 7, 5, 5, blend=blend, seed=6, delay=(0, 1)),
        ]
        yield Specimen(f"apng dispose {dispose} blend {blend}", apng(parts))
        if dispose == 0:
            yield Specimen(f"apng rgb blend {blend}", apng(parts[:4], color=2))
    yield Specimen("apng 16 bit", apng([whole, ApngPart(2, 2, 9, 5, seed=3)], bits=16))
    yield Specimen("apng one frame", apng([whole]))
    frames = [image(40, 30, "RGBA", seed) for seed in range(4)]
    for dispose, blend in itertools.product((0, 1, 2), (0,)):
        data = encoded(
            frames[0],
            "PNG",
            save_all=True,
            append_images=frames[1:],
            disposal=dispose,
            blend=blend,
            duration=[30, 5, 0, 90],
        )
        yield Specimen(f"apng by pillow, dispose {dispose} blend {blend}", data)
