"""Some hundreds of odd pictures, the same on every run: what Pillow and pillow-heif write, and what only bytes put
together by hand can be."""

from __future__ import annotations

import itertools

from .bmps import bmps
from .heifs import avif_sequences, avifs, box, built_heifs, heics, heif
from .jpegs import jpegs
from .metadata import in_pictures
from .pngs import apngs, pngs
from .specimen import Specimen, encoded, exif, image
from .webps_and_gifs import GifPart, animated_gifs, gif, gifs, webps

__all__ = [
    "GifPart",
    "Specimen",
    "animations",
    "box",
    "encoded",
    "exif",
    "gif",
    "gifs",
    "heif",
    "image",
    "pngs",
    "stills",
]


def stills() -> list[Specimen]:
    """Compared through ``decode_picture``; of an animation, its first frame."""
    made = (jpegs(), pngs(), in_pictures(), webps(), gifs(), animated_gifs(), apngs(), bmps())
    coded = (avifs(), avif_sequences(), heics(), built_heifs())
    return list(itertools.chain(*made, *coded))


def animations() -> list[Specimen]:
    """Compared frame by frame through ``sample_frames``."""
    animated_webps = (specimen for specimen in webps() if "animated" in specimen.name)
    return list(itertools.chain(animated_gifs(), apngs(), animated_webps, avif_sequences()))
