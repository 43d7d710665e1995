"""What EXIF and XMP say about the orientation, well and badly, wherever formats keep them."""

from __future__ import annotations

import itertools
import struct
import textwrap
import zlib
from collections.abc import Iterator

from .pngs import chunk
from .specimen import Specimen, encoded, exif, image, xmp


def raw_profile(orientation: int) -> bytes:
    """EXIF as ImageMagick writes it into a text chunk."""
    profile = b"Exif\0\0" + exif(orientation)
    lines = textwrap.wrap(profile.hex(), 72)
    return "\n".join(["", "exif", f"{len(profile):8}", *lines, ""]).encode()


def text_profiles() -> Iterator[Specimen]:
    key = b"Raw profile type exif\0"
    plain = encoded(image(20, 12), "PNG")
    end = plain.index(b"IEND") - 4
    for orientation in range(1, 9):
        text = raw_profile(orientation)
        chunks = {
            "tEXt": chunk(b"tEXt", key + text),
            "zTXt": chunk(b"zTXt", key + b"\0" + zlib.compress(text)),
            "iTXt": chunk(b"iTXt", key + b"\1\0\0\0" + zlib.compress(text)),
        }
        for name, block in chunks.items():
            yield Specimen(f"png {name} profile exif {orientation}", plain[:33] + block + plain[33:])
    late = chunk(b"zTXt", key + b"\0" + zlib.compress(raw_profile(6)))
    yield Specimen("png late zTXt profile", plain[:end] + late + plain[end:])
    both = chunk(b"eXIf", exif(3)) + late
    yield Specimen("png eXIf and zTXt profile", plain[:33] + both + plain[33:])
    again = chunk(b"tEXt", key + raw_profile(8)) + late
    yield Specimen("png two profiles", plain[:33] + again + plain[33:])


def jpegs_with_metadata() -> Iterator[Specimen]:
    for orientation, little in itertools.product(range(10), [False, True]):
        block = exif(orientation, little)
        data = encoded(image(23, 14, seed=orientation), "JPEG", exif=b"Exif\0\0" + block)
        yield Specimen(f"jpeg exif {orientation}{' little' * little}", data)
    for orientation, element in itertools.product(range(1, 9), [False, True]):
        data = encoded(image(23, 14), "JPEG", xmp=xmp(orientation, element))
        yield Specimen(f"jpeg xmp {orientation}{' element' * element}", data)
    both = encoded(image(23, 14), "JPEG", xmp=xmp(6), exif=b"Exif\0\0" + exif(3))
    yield Specimen("jpeg exif wins over xmp", both)
    bare = encoded(image(23, 14), "JPEG")
    scan = bare.index(b"\xff\xda")
    for orientation in range(1, 9):
        late = b"Exif\0\0" + exif(orientation)
        segment = b"\xff\xe1" + struct.pack(">H", 2 + len(late)) + late
        yield Specimen(f"jpeg exif {orientation} behind the frame header", bare[:scan] + segment + bare[scan:])
        # As two values, and as a signed one.
        for count, kind in ((2, 3), (1, 8), (1, 9)):
            value = struct.pack(">HH" if kind != 9 else ">I", *((orientation, 1) if kind != 9 else (orientation,)))
            block = b"MM\0*" + struct.pack(">IHHHI", 8, 1, 0x0112, kind, count) + value + bytes(4)
            data = encoded(image(23, 14), "JPEG", exif=b"Exif\0\0" + block)
            yield Specimen(f"jpeg exif {orientation} of kind {kind}, {count} values", data)
    for name, blocks in odd_exif().items():
        segments = b"".join(jpeg_segment(b"Exif\0\0" + block) for block in blocks)
        yield Specimen(f"jpeg {name}", bare[:2] + segments + bare[2:])
    packet = b"http://ns.adobe.com/xap/1.0/\0" + b" " * 40_000 + xmp(6)
    yield Specimen("jpeg xmp far into its packet", bare[:2] + jpeg_segment(packet) + bare[2:])


def jpeg_segment(body: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", 2 + len(body)) + body


def entry(kind: int, count: int, value: bytes, little: bool, tag: int = 0x0112) -> bytes:
    return struct.pack("<HHI" if little else ">HHI", tag, kind, count) + value.ljust(4, b"\0")[:4]


def directory(entries: list[bytes], little: bool, version: bytes = b"") -> bytes:
    """A TIFF header of that byte order (``version``: in place of its third and fourth byte) and one directory."""
    order = "<" if little else ">"
    head = (b"II" if little else b"MM") + (version or struct.pack(order + "H", 42)) + struct.pack(order + "I", 8)
    return head + struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4)


def odd_exif() -> dict[str, list[bytes]]:
    """EXIF blocks by what is odd about them; several are one that was spread over several places."""
    blocks: dict[str, list[bytes]] = {}
    for little in (False, True):
        order, suffix = ("<", " little") if little else (">", "")

        def short(value: int, order: str = order) -> bytes:
            return struct.pack(order + "H", value)

        def of(*entries: bytes, little: bool = little) -> list[bytes]:
            return [directory(list(entries), little)]

        six, three = entry(3, 1, short(6), little), entry(3, 1, short(3), little)
        blocks |= {
            f"exif twice{suffix}": of(six, three),
            f"exif twice, no value first{suffix}": of(entry(3, 0, b"", little), six),
            f"exif twice, an unknown type first{suffix}": of(entry(99, 1, short(3), little), six),
            f"exif twice, 9 first{suffix}": of(entry(3, 1, short(9), little), six),
            f"exif twice, a value beyond the data first{suffix}": of(
                entry(3, 9, struct.pack(order + "I", 9_999), little), six
            ),
            f"exif behind 1100 other tags{suffix}": of(
                *(entry(3, 1, short(1), little, 0x9000 + i) for i in range(1100)), six
            ),
            f"exif of three values elsewhere{suffix}": [
                directory([entry(3, 3, struct.pack(order + "I", 26), little)], little) + short(6) + short(3) + short(1)
            ],
            f"exif version in the other order{suffix}": [
                directory([six], little, version=struct.pack((">" if little else "<") + "H", 42))
            ],
        }
        for kind in (1, 2, 4, 6, 7, 8, 9, 13):
            value = struct.pack(order + "I", 6) if kind in (4, 9, 13) else short(6) if kind == 8 else b"\6"
            blocks[f"exif of type {kind}{suffix}"] = of(entry(kind, 1, value, little))
    whole = exif(6)
    blocks["exif in two pieces"] = [whole[:12], whole[12:]]
    blocks["exif behind an empty one"] = [b"", whole]
    blocks["exif with its name twice"] = [b"Exif\0\0" + whole]
    return blocks


def pngs_and_webps_with_metadata() -> Iterator[Specimen]:
    png = encoded(image(20, 12), "PNG")
    for name, blocks in odd_exif().items():
        block = b"".join(blocks)
        if block.startswith((b"II", b"MM")):
            yield Specimen(f"png {name}", png[:33] + chunk(b"eXIf", block) + png[33:])
            yield Specimen(f"webp {name}", encoded(image(23, 14), "WEBP", exif=block))
    key, packet = b"XML:com.adobe.xmp\0", xmp(6)
    chunks = {
        "tEXt": chunk(b"tEXt", key + packet),
        "zTXt": chunk(b"zTXt", key + b"\0" + zlib.compress(packet)),
        "iTXt with a language": chunk(b"iTXt", key + b"\0\0en\0name\0" + packet),
        "compressed iTXt": chunk(b"iTXt", key + b"\1\0\0\0" + zlib.compress(packet)),
    }
    for name, block in chunks.items():
        yield Specimen(f"png xmp in {name}", png[:33] + block + png[33:])
    profile = chunk(b"tEXt", b"Raw profile type exif\0" + raw_profile(3))
    yield Specimen("png profile wins over xmp", png[:33] + chunks["zTXt"] + profile + png[33:])


def in_pictures() -> Iterator[Specimen]:
    yield from jpegs_with_metadata()
    yield from text_profiles()
    yield from pngs_and_webps_with_metadata()
