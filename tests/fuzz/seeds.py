"""Writes the seeds that fuzzing starts from, one folder a target: ``python -m tests.fuzz.seeds FOLDER``.

Seeds are made, not stored: small, valid inputs of every kind that a target reads. What fuzzing finds is stored, in
``tests/regressions/<target>/``.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.property import picture_corpus, video_files
from tests.property.video_files import Clip, encode

LARGEST = 8192  # bytes; larger inputs make slow runs
VIDEOS = {
    "mp4": ("libx264", "libx265", "libsvtav1", "libvpx-vp9", "mpeg4", "mjpeg"),
    "matroska": ("libx264", "libvpx", "libvpx-vp9", "libsvtav1", "mpeg4"),
    "mpegts": ("libx264", "mpeg2video", "libx265"),
    "avi": ("libx264", "mpeg4", "mjpeg"),
    "flv": ("libx264", "flv"),
}

Seed = tuple[str, bytes]  # target, input


def texts() -> Iterator[Seed]:
    """A length byte, then UTF-8."""
    for text in ("a", "two words", "köln straße", "\u00a0\u2003", "\U0001f600" * 9, "tab\tand\nline", "ไทย ภาษา"):
        for longest in (0, 3, 60):
            yield "text", bytes([longest]) + text.encode()


def views() -> Iterator[Seed]:
    """Parameters and samples, as view_fuzzer.cc reads them."""
    draws = np.random.default_rng(1)
    for size in (0, 30, 60, 300, 2000):
        for _ in range(8):
            yield "view", draws.bytes(size)


def pictures() -> Iterator[Seed]:
    """The small files of the corpus, for the target of their format, the probe and, when they move, animations."""
    animated = {specimen.name for specimen in picture_corpus.animations()}
    for specimen in picture_corpus.stills():
        if len(specimen.data) > LARGEST:
            continue
        kind = specimen.name.split()[0]
        yield {"apng": "png"}.get(kind, kind), specimen.data
        yield "probe", specimen.data
        if specimen.name in animated:
            yield "animation", specimen.data


def videos() -> Iterator[Seed]:
    """One tiny video for each container and codec, and odd ones."""
    small = Clip(frames=8, gop=4, width=64, height=64)
    made = [
        encode(Clip(container=container, codec=codec, frames=8, gop=4, width=64, height=64,
                    pix_fmt="yuvj420p" if codec == "mjpeg" else "yuv420p"))
        for container, codecs in VIDEOS.items()
        for codec in codecs
    ]  # fmt: skip
    made += [
        encode(Clip(frames=8, gop=4, width=64, height=64, container_options={"movflags": flags}))
        for flags in ("frag_keyframe+empty_moov", "faststart")
    ]
    made.append(
        encode(Clip(codec="libx265", frames=6, gop=3, bframes=0, width=64, height=64, pix_fmt="yuv420p10le",
                    colorspace=9, transfer=16, primaries=9))
    )  # fmt: skip
    made += [video_files.turned(encode(small), 6), video_files.sound_only("mp4"), encode(small)[:-700]]
    for data in made:
        yield "video", data
        if len(data) <= LARGEST:
            yield "probe", data


def calls() -> Iterator[Seed]:
    """A byte for the size of pieces, then what an HTTP/2 client sends."""

    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    def headers(stream: int, flags: int, **more: str) -> bytes:
        fields = {":method": "POST", ":scheme": "http", ":authority": "a", ":path": "/s/m", **more}
        literal = b"".join(
            b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
            for name, value in fields.items()
        )
        return frame(1, 4 | flags, stream, literal)

    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")
    message = b"\x00\x00\x00\x00\x05hello"
    bodies = {
        "unary": headers(1, 0, te="trailers") + frame(0, 1, 1, message),
        "two": headers(1, 0)
        + headers(3, 0)
        + frame(0, 0, 3, message * 2)
        + frame(0, 1, 1, message)
        + frame(0, 1, 3, b""),
        "empty": headers(1, 1),
        "half": headers(1, 0) + frame(0, 1, 1, message[:7]),
        "cancelled": headers(1, 0) + frame(0, 0, 1, message) + frame(3, 0, 1, (8).to_bytes(4, "big")),
        "trailers": headers(1, 0) + frame(0, 0, 1, message) + frame(1, 5, 1, b"\x00\x01a\x01b"),
        "ping": frame(6, 0, 0, bytes(8)) + headers(1, 1) + frame(7, 0, 0, bytes(8)),
    }
    for body in bodies.values():
        for piece in (0, 6, 255):
            yield "rpc", bytes([piece]) + preface + body


def write(folder: Path) -> None:
    """Every seed as ``folder/<target>/seed-<n>``; once a folder is there, it is taken to be complete."""
    if folder.exists():
        return
    unfinished = folder.with_suffix(".unfinished")
    for index, (target, data) in enumerate(itertools.chain(texts(), views(), pictures(), videos(), calls())):
        (unfinished / target).mkdir(parents=True, exist_ok=True)
        (unfinished / target / f"seed-{index:05}").write_bytes(data)
    unfinished.rename(folder)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
