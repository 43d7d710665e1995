"""Every odd picture of the corpus gives Pillow's view, or an error where Pillow has one.

Byte for byte where both use the same decoder; elsewhere within the specimen's tolerance. Where Pillow's answer
contradicts the standard the specimen says so and carries the answer to expect.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import itertools
import struct
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import picture_corpus
import pytest
from picture_corpus import Specimen
from PIL import Image, ImageOps

from floodgate import _core
from floodgate.errors import ContentTooLarge, InvalidContent, UnsupportedContent

REFUSED = (InvalidContent, UnsupportedContent, ContentTooLarge)

stills = functools.cache(picture_corpus.stills)
animations = functools.cache(picture_corpus.animations)


def on_white(image: Image.Image) -> Image.Image:
    if image.mode not in ("RGBA", "RGBa", "LA", "PA") and "transparency" not in image.info:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(rgba.convert("RGB"), mask=rgba.getchannel("A"))
    return white


def pillows(data: bytes) -> Image.Image | None:
    """What Pillow shows, None where it fails."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return on_white(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
        except Exception:  # Pillow raises all kinds
            return None


def expected(specimen: Specimen) -> Image.Image | None:
    image = pillows(specimen.data)
    if image is not None and specimen.shown is not None:
        return Image.frombytes("RGB", image.size, specimen.shown)
    return image


def ours(data: bytes) -> Image.Image | None:
    try:
        width, height, pixels = _core.decode_picture(data)
    except REFUSED:
        return None
    return Image.frombytes("RGB", (width, height), pixels)


def distances(a: Image.Image, b: Image.Image) -> npt.NDArray[Any]:
    difference: npt.NDArray[Any] = np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int))
    return difference


def disagreement(specimen: Specimen, found: Image.Image | None, wanted: Image.Image | None) -> str:
    """Empty when both show the same."""
    if found is None or wanted is None:
        return "" if found is wanted else "only Pillow reads it" if found is None else "only we read it"
    if found.size != wanted.size:
        return f"{found.size}, not {wanted.size}"
    mean = float(distances(found, wanted).mean())
    return "" if mean <= specimen.tolerance else f"differs by {mean:.3f} on average"


def test_every_picture_gives_pillows_view() -> None:
    failures = {}
    for specimen in stills():
        if problem := disagreement(specimen, ours(specimen.data), expected(specimen)):
            failures[specimen.name] = problem
    assert failures == {}
    assert len(stills()) > 600


def test_names_and_bytes_are_the_same_on_every_run() -> None:
    names = [specimen.name for specimen in stills()]
    assert len(set(names)) == len(names)
    again = picture_corpus.gifs(), picture_corpus.pngs()
    for specimen in itertools.chain(*again):
        assert specimen in stills()


VIEWS = [
    (_core.ImageView(24, 24), lambda image: image.resize((24, 24), Image.Resampling.BILINEAR)),
    (
        _core.ImageView(16, 20, mode="contain", filter="lanczos"),
        lambda image: ImageOps.pad(image, (16, 20), Image.Resampling.LANCZOS),
    ),
]


def test_views_of_every_picture_are_those_of_what_pillow_shows() -> None:
    failures = {}
    for specimen in stills():
        wanted = expected(specimen)
        if wanted is None:
            continue
        rows = _core.render_views(specimen.data, [view for view, _ in VIEWS])
        for (view, render), row in zip(VIEWS, rows, strict=True):
            found = Image.frombytes("RGB", (view.out_width, view.out_height), row)
            if problem := disagreement(specimen, found, render(wanted)):
                failures[specimen.name, repr(view)] = problem
    assert failures == {}


def shown_ms(stored: float) -> float:
    """Delays up to 10 ms are shown for 100 ms, as browsers do."""
    return 100 if stored <= 10 else stored


@pytest.mark.parametrize("specimen", [s for s in animations() if "one frame" not in s.name], ids=lambda s: s.name)
def test_every_frame_is_pillows_at_its_time(specimen: Specimen) -> None:
    count: int = getattr(Image.open(io.BytesIO(specimen.data)), "n_frames", 1)
    assert _core.probe(specimen.data).frames == count
    frames, facts = _core.sample_frames(specimen.data, max_frames=8 * count)
    assert facts["planned"] == count
    assert len(frames) + facts["similar"] == count
    start = 0.0
    found = {time: (width, height, pixels) for time, width, height, pixels in frames}
    seen = 0
    for index in range(count):
        # Opened anew: Pillow composes "previous" wrongly once a frame before has been looked at.
        image = Image.open(io.BytesIO(specimen.data))
        image.seek(index)
        wanted = on_white(image.convert("RGBA"))
        if int(start) in found:
            width, height, pixels = found[int(start)]
            assert disagreement(specimen, Image.frombytes("RGB", (width, height), pixels), wanted) == "", index
            seen += 1
        start += shown_ms(image.info.get("duration", 0))
    assert seen == len(frames)
    assert facts["duration_ms"] == int(start)
    assert facts["notes"] in ("", "the frame size changes on the way")


CUTS = 23


def lost_only_metadata(specimen: Specimen, found: Image.Image) -> bool:
    """A PNG cut behind its last row, inside a checksum or a late chunk: Pillow refuses the file for what it lacks, and
    we judge the pixels, which are all there (their late orientation may be gone)."""
    if not specimen.name.startswith("png"):
        return False
    upright = expected(specimen)
    stored = on_white(Image.open(io.BytesIO(specimen.data)))
    return any(whole is not None and disagreement(specimen, found, whole) == "" for whole in (upright, stored))


def patched_up(specimen: Specimen) -> bool:
    """A HEIC of tiles that is cut short: the libheif that pillow-heif brings leaves the missing tiles blank, the one
    here refuses the file."""
    return specimen.name.startswith("heic grid")


def test_truncations_fail_where_pillows_do() -> None:
    """Every kind of file cut at many places: Pillow's view of what is left, or an error where Pillow has one."""
    failures = {}
    kinds: dict[str, list[Specimen]] = {}
    for specimen in stills():
        if len(specimen.data) < 100_000:
            kinds.setdefault(" ".join(specimen.name.split()[:3]), []).append(specimen)
    for specimen in (group[-1] for group in kinds.values()):
        size = len(specimen.data)
        places = {size * i // CUTS for i in range(1, CUTS)} | {size - i for i in range(1, 30) if i < size}
        for place in sorted(places):
            cut = dataclasses.replace(specimen, data=specimen.data[:place])
            found, wanted = ours(cut.data), expected(cut)
            problem = disagreement(cut, found, wanted)
            if problem == "only we read it" and found is not None and lost_only_metadata(specimen, found):
                continue
            if problem == "only Pillow reads it" and patched_up(specimen):
                continue
            if problem:
                failures[specimen.name, size - place] = problem
    assert failures == {}


def test_cut_animations_give_the_frames_before_the_cut() -> None:
    for specimen in animations():
        if "one frame" in specimen.name or "avif" in specimen.name:
            continue
        whole, _ = _core.sample_frames(specimen.data, max_frames=64)
        size = len(specimen.data)
        for place in range(size // CUTS, size, size // CUTS):
            try:
                frames, facts = _core.sample_frames(specimen.data[:place], max_frames=64)
            except REFUSED:
                continue
            assert frames == whole[: len(frames)], (specimen.name, place)
            assert len(frames) == len(whole) or facts["notes"], (specimen.name, place)


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


@functools.cache
def bombs() -> dict[str, bytes]:
    """Files of a few hundred bytes that declare gigapixels, or whose boxes and codec disagree about the size."""
    corpus = {specimen.name: specimen.data for specimen in stills()}
    huge = (60_000).to_bytes(4, "big")
    avif, heic = corpus["avif RGB 4:4:4 64x48"], corpus["heic RGB 444 64x48"]
    webp = corpus["webp exif 1"]
    tall = picture_corpus.encoded(picture_corpus.image(640, 480), "HEIF", quality=1)
    return {
        "jpeg": patched(corpus["jpeg RGB 64x48"], corpus["jpeg RGB 64x48"].index(b"\xff\xc0") + 5, b"\xea\x60\xea\x60"),
        "png": patched(corpus["png colour 6 8 bit 64x48"], 16, huge + huge),
        "webp": patched(webp, webp.index(b"VP8X") + 12, b"\xff\xff\x00\xff\xff\x00"),
        "gif": patched(corpus["gif transparent"], 6, b"\xff\xff\xff\xff"),
        "gif frame": picture_corpus.gif([picture_corpus.GifPart(left=65_000, top=65_000)]),
        "bmp": patched(corpus["bmp 24 bit 33x7"], 18, b"\0\0\1\0\0\0\1\0"),
        "avif": patched(avif, avif.index(b"ispe") + 8, huge + huge),
        "heic": patched(heic, heic.index(b"ispe") + 8, huge + huge),
        # 640 x 480 by its codec, 64 x 48 by its boxes: over a limit of 100,000 pixels.
        "heic that lies": patched(tall, tall.index(b"ispe") + 8, (64).to_bytes(4, "big") + (48).to_bytes(4, "big")),
    }


@pytest.mark.parametrize("name", bombs())
def test_bombs_are_refused_by_the_probe(name: str) -> None:
    with pytest.raises(ContentTooLarge, match=r"the limit \(max_(pixels|side_px)\)"):
        _core.probe(bombs()[name], _core.MediaLimits(max_pixels=100_000))


@pytest.mark.parametrize(("brand", "kind"), [(b"heic", "HEIF"), (b"avif", "AVIF")])
def test_picture_made_of_itself_is_refused_on_its_header(brand: bytes, kind: str) -> None:
    # libheif follows such references until its stack is full.
    tile = picture_corpus.encoded(picture_corpus.image(64, 64), kind)
    grid = picture_corpus.heif(brand, [tile, tile], (128, 64), 2)
    assert _core.decode_picture(grid)[:2] == (128, 64)
    tiles = struct.pack(">4sHHHH", b"dimg", 1, 2, 2, 3)
    itself = struct.pack(">4sHHHH", b"dimg", 1, 2, 2, 1)
    assert grid.count(tiles) == 1
    with pytest.raises(InvalidContent, match="in a circle"):
        _core.probe(grid.replace(tiles, itself))
