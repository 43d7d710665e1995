#!/usr/bin/env python3
"""Makes the moving examples from the still ones: examples/slides.gif and examples/slides.mp4.

Needs Pillow and PyAV, which the tests bring: .venv/bin/python scripts/make_examples.py
"""

from __future__ import annotations

from pathlib import Path

import av
from PIL import Image, ImageOps

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
FPS = 10


def panned(name: str, size: tuple[int, int], steps: int) -> list[Image.Image]:
    """A slow move into a photo."""
    photo = ImageOps.exif_transpose(Image.open(EXAMPLES / name)).convert("RGB")
    frames = []
    for step in range(steps):
        inset = 0.12 * step / max(1, steps - 1)
        box = (photo.width * inset, photo.height * inset, photo.width * (1 - inset), photo.height * (1 - inset))
        frames.append(ImageOps.fit(photo.crop(tuple(round(side) for side in box)), size, Image.Resampling.LANCZOS))
    return frames


def write_gif(path: Path) -> None:
    size = (128, 96)
    frames = [frame for name in ("cat.jpg", "coffee.webp") for frame in panned(name, size, 2)]
    small = [frame.quantize(48, dither=Image.Dither.NONE) for frame in frames]
    small[0].save(path, save_all=True, append_images=small[1:], duration=700, loop=0, optimize=True)


def write_mp4(path: Path) -> None:
    width, height = 320, 240
    with av.open(str(path), "w", options={"movflags": "faststart"}) as out:
        video = out.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.options = {"crf": "30", "preset": "veryslow", "g": "20", "threads": "1"}
        for name in ("astronaut.jpg", "coffee.webp", "rocket.jpg"):
            for frame in panned(name, (width, height), 2 * FPS):
                out.mux(video.encode(av.VideoFrame.from_image(frame)))
        out.mux(video.encode(None))


if __name__ == "__main__":
    write_gif(EXAMPLES / "slides.gif")
    write_mp4(EXAMPLES / "slides.mp4")
    for made in ("slides.gif", "slides.mp4"):
        print(f"{made}: {(EXAMPLES / made).stat().st_size} bytes")
