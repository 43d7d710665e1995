"""AVIF and HEIC."""

from __future__ import annotations

import io
import itertools
import struct
from collections.abc import Iterator

import numpy as np
import pillow_heif
from PIL import Image

from .specimen import Specimen, encoded, exif, image, photo

# libavif, libheif and their converters differ in version from Pillow's; they round chroma differently.
CODEC_TOLERANCE = 1.0


def avifs() -> Iterator[Specimen]:
    for mode, sampling in itertools.product(["RGB", "RGBA"], ["4:4:4", "4:2:2", "4:2:0", "4:0:0"]):
        for width, height in [(1, 1), (17, 33), (64, 48), (65, 131)]:
            data = encoded(image(width, height, mode), "AVIF", subsampling=sampling, quality=80, speed=10)
            yield Specimen(f"avif {mode} {sampling} {width}x{height}", data, CODEC_TOLERANCE)
    for orientation in range(1, 9):
        data = encoded(image(32, 20), "AVIF", exif=exif(orientation), subsampling="4:4:4", speed=10)
        yield Specimen(f"avif exif {orientation}", data, CODEC_TOLERANCE)
    data = encoded(image(64, 48), "AVIF", range="limited", speed=10)
    yield Specimen("avif limited range", data, CODEC_TOLERANCE)
    data = encoded(image(64, 48, "RGBA"), "AVIF", alpha_premultiplied=True, speed=10)
    yield Specimen("avif premultiplied", data, CODEC_TOLERANCE)


def avif_sequences() -> Iterator[Specimen]:
    for mode in ("RGB", "RGBA"):
        frames = [image(32, 24, mode, seed) for seed in range(4)]
        data = encoded(frames[0], "AVIF", save_all=True, append_images=frames[1:], duration=[50, 60, 5, 200], speed=10)
        yield Specimen(f"avif animated {mode}", data, CODEC_TOLERANCE)


def heics() -> Iterator[Specimen]:
    for mode, sampling in itertools.product(["RGB", "RGBA", "L"], ["444", "422", "420"]):
        for width, height in [(17, 33), (64, 48), (65, 131)]:
            data = encoded(image(width, height, mode), "HEIF", chroma=sampling, quality=80)
            yield Specimen(f"heic {mode} {sampling} {width}x{height}", data, CODEC_TOLERANCE)
    for orientation in range(1, 9):
        data = encoded(image(32, 20), "HEIF", exif=b"Exif\0\0" + exif(orientation), chroma="444")
        yield Specimen(f"heic exif {orientation}", data, CODEC_TOLERANCE)
        for mode in ("RGB", "RGBA"):
            data = encoded(image(34, 20, mode), "HEIF", exif=b"Exif\0\0" + exif(orientation), chroma="420")
            yield Specimen(f"heic {mode} 4:2:0 exif {orientation}", data, CODEC_TOLERANCE)
    deep_pixels = photo(64, 48).astype("<u2") * 257
    for bits in (10, 12):
        stream = io.BytesIO()
        pillow_heif.options.SAVE_HDR_TO_12_BIT = bits == 12
        pillow_heif.encode("RGB;16", (64, 48), deep_pixels.tobytes(), stream, quality=80)
        pillow_heif.options.SAVE_HDR_TO_12_BIT = False
        yield Specimen(f"heic {bits} bit", stream.getvalue(), CODEC_TOLERANCE)


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def full_box(kind: bytes, body: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags) + body)


def box_in(data: bytes, kind: bytes) -> bytes:
    """The first box of its kind, found by its name."""
    at = data.index(kind) - 4
    return data[at : at + int.from_bytes(data[at : at + 4], "big")]


def heif(
    brand: bytes, tiles: list[bytes], size: tuple[int, int], across: int = 1, turns: bytes = b"", count: int = 0
) -> bytes:
    """A picture of ``size`` of equal tiles, each the only picture of a file that Pillow wrote; ``turns``: irot, imir
    and clap boxes, ``count`` of them, that the whole picture has."""
    kind, config_name = (b"hvc1", b"hvcC") if brand == b"heic" else (b"av01", b"av1C")
    config, tile_size = box_in(tiles[0], config_name), box_in(tiles[0], b"ispe")
    whole_size = full_box(b"ispe", struct.pack(">II", *size))
    payloads = [box_in(tile, b"mdat")[8:] for tile in tiles]
    grid = len(tiles) > 1
    if grid:
        down = len(tiles) // across
        payloads.insert(0, struct.pack(">BBBBHH", 0, 0, down - 1, across - 1, *size))
    kinds = ([b"grid"] if grid else []) + [kind] * len(tiles)
    infos = [full_box(b"infe", struct.pack(">HH4sx", i + 1, 0, k), 2, 0) for i, k in enumerate(kinds)]
    whole = bytes([3, *range(0x85, 0x85 + count)]) if grid else bytes([0x81, 2, *range(0x85, 0x85 + count)])
    links = struct.pack(">HB", 1, len(whole)) + whole
    links += b"".join(struct.pack(">HBBB", i + 1, 2, 0x81, 2) for i in range(1, len(kinds)))
    properties = config + tile_size + whole_size + full_box(b"pixi", b"\3\10\10\10") + turns
    references = struct.pack(">HH", 1, len(tiles)) + b"".join(struct.pack(">H", i + 2) for i in range(len(tiles)))

    def meta(first: int) -> bytes:
        at, places = first, b""
        for i, payload in enumerate(payloads):
            places += struct.pack(">HHHII", i + 1, 0, 1, at, len(payload))
            at += len(payload)
        return full_box(
            b"meta",
            full_box(b"hdlr", struct.pack(">I4s12xx", 0, b"pict"))
            + full_box(b"pitm", struct.pack(">H", 1))
            + full_box(b"iloc", struct.pack(">BBH", 0x44, 0, len(payloads)) + places)
            + full_box(b"iinf", struct.pack(">H", len(infos)) + b"".join(infos))
            + (full_box(b"iref", box(b"dimg", references)) if grid else b"")
            + box(b"iprp", box(b"ipco", properties) + full_box(b"ipma", struct.pack(">I", len(kinds)) + links)),
        )

    head = box(b"ftyp", brand + bytes(4) + b"mif1" + brand + b"miaf")
    first = len(head) + len(meta(0)) + 8
    return head + meta(first) + box(b"mdat", b"".join(payloads))


def premultiplied(data: bytes) -> bytes:
    """A HEIC with alpha, of two items, that says of its colours that they were multiplied by it."""
    added = box(b"prem", struct.pack(">HHH", 1, 1, 2))
    out = bytearray(data)
    for kind in (b"meta", b"iref"):
        at = data.index(kind) - 4
        out[at : at + 4] = struct.pack(">I", int.from_bytes(data[at : at + 4], "big") + len(added))
    places = data.index(b"iloc") + 4
    assert (data[places], data[places + 4 : places + 6]) == (0, b"\x44\x40"), "another layout of iloc"
    for item in range(int.from_bytes(data[places + 6 : places + 8], "big")):
        at = places + 8 + 18 * item + 4  # behind the item's number and its data reference
        out[at : at + 4] = struct.pack(">I", int.from_bytes(data[at : at + 4], "big") + len(added))
    end = data.index(b"iref") - 4 + int.from_bytes(box_in(data, b"iref")[:4], "big")
    return bytes(out[:end]) + added + bytes(out[end:])


def built_heifs() -> Iterator[Specimen]:
    # Alpha rises over red that fades with it, as a premultiplied file has it.
    faint = np.zeros((32, 64, 4), np.uint8)
    faint[..., 0] = faint[..., 3] = np.linspace(0, 255, 64, dtype=np.uint8)
    data = premultiplied(encoded(Image.fromarray(faint, "RGBA"), "HEIF", chroma="444", quality=95))
    yield Specimen("heic premultiplied", data, CODEC_TOLERANCE)
    for brand, kind, options in ((b"heic", "HEIF", {"chroma": "444"}), (b"avif", "AVIF", {"speed": 10})):
        name = brand.decode()
        tiles = [encoded(image(64, 64, seed=seed), kind, **options) for seed in range(6)]
        yield Specimen(f"{name} grid", heif(brand, tiles, (192, 128), 3), CODEC_TOLERANCE)
        yield Specimen(f"{name} grid cut to size", heif(brand, tiles, (150, 100), 3), CODEC_TOLERANCE)
        for angle, mirror in itertools.product((None, 0, 1, 2, 3), (None, 0, 1)):
            turns = b"" if angle is None else box(b"irot", bytes([angle]))
            turns += b"" if mirror is None else box(b"imir", bytes([mirror]))
            count = (angle is not None) + (mirror is not None)
            label = f"{name} turned {angle} mirrored {mirror}"
            yield Specimen(label, heif(brand, tiles[:1], (64, 64), 1, turns, count), CODEC_TOLERANCE)
        turned = heif(brand, tiles, (150, 100), 3, box(b"irot", b"\1"), 1)
        yield Specimen(f"{name} grid turned", turned, CODEC_TOLERANCE)
        for width, height, x, y in [(32, 20, 0, 0), (33, 21, 3, -5), (64, 10, 0, 27)]:
            clap = box(b"clap", struct.pack(">IIIIiIiI", width, 1, height, 1, x, 1, y, 1))
            label = f"{name} clean aperture {width}x{height} at {x} {y}"
            yield Specimen(label, heif(brand, tiles[:1], (64, 64), 1, clap, 1), CODEC_TOLERANCE)
