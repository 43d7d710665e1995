"""Pictures that look like photographs to a network: smooth shading, edges, texture and skin-like tones."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

_TONES = [(224, 172, 138), (141, 85, 54), (96, 140, 190), (70, 110, 60), (230, 225, 215), (40, 36, 44)]


def generated(seed: int) -> Image.Image:
    """An RGB picture, deterministic in ``seed``; sizes and aspect ratios vary."""
    random = np.random.default_rng(seed)
    width, height = (int(side) for side in random.integers(120, 900, size=2))
    down = np.linspace(0, 1, height)[:, None, None]
    top, bottom = random.integers(0, 256, size=(2, 3))
    background = top * (1 - down) + bottom * down + np.zeros((height, width, 3))
    picture = Image.fromarray(background.astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(int(random.integers(3, 9))):
        x, y = random.integers(0, width), random.integers(0, height)
        across, along = random.integers(20, max(21, width // 2)), random.integers(20, max(21, height // 2))
        tone = _TONES[int(random.integers(len(_TONES)))]
        draw.ellipse((int(x - across), int(y - along), int(x + across), int(y + along)), fill=tone)
    picture = picture.filter(ImageFilter.GaussianBlur(float(random.uniform(0.5, 6))))
    noise = random.normal(0, 8, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))
