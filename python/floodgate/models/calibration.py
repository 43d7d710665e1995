"""Views of real photos, to calibrate int8 with.

The packages here bring few: the examples' and scikit-learn's two. Crops, mirrored and in other light, make more views
of them, but no other subjects. Whoever turns int8 on should calibrate with photos of what their platform sees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from floodgate.errors import FloodgateError, ModelError
from floodgate.media import render_view
from floodgate.types import ImageViewSpec

View = npt.NDArray[np.uint8]

CROPS = 24
"""Views cut from each photo beyond the one that the head would see."""
_SEED = 20161
_ENLARGED = 3
_GAINS = (0.55, 1.45)


def find_photos(folder: Path | None) -> list[Path]:
    """The pictures of ``folder`` that can be opened, then scikit-learn's own, by name. Raises ModelError for a folder
    without one, and when there is none at all."""
    own: list[Path] = []
    if folder is not None:
        try:
            own = _readable(path for path in folder.iterdir() if path.is_file())
        except OSError as error:
            raise ModelError(f"--photos {folder}: cannot be read: {error.strerror}") from error
        if not own:
            raise ModelError(f"--photos {folder}: has no picture that can be read")
    packaged: list[Path] = []
    try:
        from sklearn import datasets

        packaged = _readable((Path(datasets.__file__).parent / "images").glob("*.jpg"))
    except ImportError:
        pass
    if not own and not packaged:
        raise ModelError("there is no picture in any package here to calibrate with; name a folder with --photos")
    return own + packaged


def _readable(paths: Iterable[Path]) -> list[Path]:
    """Those that can be decoded, by name."""
    probe = ImageViewSpec(width=8, height=8)
    readable = []
    for path in sorted(paths):
        try:
            render_view(path.read_bytes(), probe)
        except (FloodgateError, OSError):
            continue
        readable.append(path)
    return readable


def views_of(photo: Path, view: ImageViewSpec, crops: int = CROPS) -> list[View]:
    """The head's view of a photo, then ``crops`` cut-outs of random place, size, side and light, by a fixed seed."""
    data = photo.read_bytes()
    height, width = view.crop_height or view.height, view.crop_width or view.width
    shape = (height, width, 3) if view.layout == "nhwc" else (3, height, width)
    whole = np.frombuffer(render_view(data, view), np.uint8).reshape(shape)
    random = np.random.default_rng([_SEED, *hashlib.sha256(data).digest()[:8]])
    made = [whole]
    for _ in range(crops):
        zoom = float(random.uniform(1.0, _ENLARGED))
        large = replace(
            view,
            width=round(width * zoom),
            height=round(height * zoom),
            mode="stretch",
            crop_width=0,
            crop_height=0,
            layout="nhwc",
        )
        pixels = np.frombuffer(render_view(data, large), np.uint8).reshape(large.height, large.width, 3)
        top = int(random.integers(0, pixels.shape[0] - height + 1))
        left = int(random.integers(0, pixels.shape[1] - width + 1))
        cut: npt.NDArray[Any] = pixels[top : top + height, left : left + width]
        if random.random() < 0.5:
            cut = cut[:, ::-1]
        lit = np.clip(cut * random.uniform(*_GAINS), 0, 255).astype(np.uint8)
        made.append(np.ascontiguousarray(lit if view.layout == "nhwc" else lit.transpose(2, 0, 1)))
    return made


def describe(photos: Sequence[Path], views: Sequence[View]) -> str:
    """For a build record: how many, and the SHA-256 of all their pixels."""
    total = hashlib.sha256()
    for pixels in views:
        total.update(pixels.tobytes())
    return f"{len(views)} views of {len(photos)} photos, SHA-256 {total.hexdigest()}"
