"""What a specimen is, and what all kinds are made of."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pillow_heif
from PIL import Image

pillow_heif.register_heif_opener()

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Specimen:
    """``tolerance``: the largest mean absolute difference to Pillow's view, of 255; 0 where the codec libraries agree.
    ``depends``: why Pillow's own answer is not the one to expect, and ``shown`` what is (RGB)."""

    name: str
    data: bytes
    tolerance: float = 0.0
    depends: str = ""
    shown: bytes | None = None


def photo(width: int, height: int, channels: int = 3, seed: int = 0) -> Pixels:
    """Slopes, an edge and some noise, other ones in each channel: uint8[height, width, channels]."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = [
        (c + 1) * 5 * x + (7 - c) * 3 * y + np.where(x * 2 > y + width // 2, 80, 0) + random.integers(0, 12, y.shape)
        for c in range(channels)
    ]
    # Folded, so that slopes have no edges of their own.
    folded = np.abs((np.stack(planes, axis=-1) + 256) % 512 - 256)
    return np.clip(folded, 0, 255).astype(np.uint8)


def image(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    if mode in ("1", "P"):
        return Image.fromarray(photo(width, height, seed=seed)).convert(mode)
    channels = len(Image.new(mode, (1, 1)).getbands())
    pixels = photo(width, height, channels, seed)
    if mode in ("LA", "RGBA"):
        pixels[..., -1] = np.where(pixels[..., -1] > 200, 255, np.where(pixels[..., -1] < 50, 0, pixels[..., -1]))
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels, mode)


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def exif(orientation: int, little: bool = False) -> bytes:
    order = "<" if little else ">"
    head = b"II*\0" if little else b"MM\0*"
    return head + struct.pack(order + "IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def xmp(orientation: int, element: bool = False) -> bytes:
    value = (
        f"><tiff:Orientation>{orientation}</tiff:Orientation></" if element else f' tiff:Orientation="{orientation}"/'
    )
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description{value}></rdf:RDF></x:xmpmeta>'.encode()


SIZES = [(1, 1), (1, 9), (9, 1), (17, 33), (64, 48)]
PALETTE = bytes(photo(16, 16, 3, 5).reshape(-1))
