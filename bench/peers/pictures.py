"""The pictures that every peer gets, and whether it scores them as it should."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import sklearn.datasets
from PIL import Image, ImageOps

from bench.report import ROOT

SIZES = ((640, 427), (1280, 854), (1920, 1280))
QUALITY = 88
TOLERANCE = {"full": 0.02, "draft": 0.3, "opencv": 0.3}
"""How far the logarithm of a score may be from that of Floodgate's exact one, by the way of decoding: the same pixels,
or those of a reduced decode. Exchanged colours shift it by 0.35 to 0.43, darkened or turned pictures by more."""
_TELLING = 1e-3
"""Lower scores are near the end of what bf16 resolves; they must only stay low."""


def pictures() -> list[bytes]:
    """JPEGs of two photographs, upright and mirrored, at three sizes (43 to 430 KB), and a portrait."""
    folder = Path(sklearn.datasets.__file__).parent / "images"
    made = [(ROOT / "examples" / "astronaut.jpg").read_bytes()]
    for name in ("china.jpg", "flower.jpg"):
        photo = Image.open(folder / name).convert("RGB")
        for image in (photo, ImageOps.mirror(photo)):
            for size in SIZES:
                stream = io.BytesIO()
                image.resize(size, Image.Resampling.LANCZOS).save(stream, "JPEG", quality=QUALITY)
                made.append(stream.getvalue())
    return made


def is_same_score(score: float, exact: float, decode: str) -> bool:
    """Whether a score agrees with Floodgate's exact one for that way of decoding."""
    if not math.isfinite(score) or score < 0:
        return False
    if exact < _TELLING:
        return score < 2 * _TELLING
    return score > 0 and abs(math.log(score / exact)) <= TOLERANCE[decode]


def mean_kb(made: Sequence[bytes]) -> float:
    """Mean encoded size, KB."""
    return sum(map(len, made)) / len(made) / 1000
