"""``floodgate frames FILE``: the frames that the server looks at, for policy teams and appeals."""

from __future__ import annotations

import importlib.util
import json
import secrets
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from floodgate.cli import settings
from floodgate.cli.media import media_options
from floodgate.cli.table import console_for_tables
from floodgate.cli.timeline import clock
from floodgate.errors import ConfigError, ContentError
from floodgate.media import Frame, sample_frames
from floodgate.types import SamplingPlan

_MAX_SEED = (1 << 64) - 1


def parse_seed(text: str) -> int:
    """A seed as records and answers show it: decimal or 0x…, 0 to 2^64 - 1. Raises ConfigError."""
    try:
        seed = int(text, 0)
    except ValueError:
        seed = -1
    if not 0 <= seed <= _MAX_SEED:
        raise ConfigError(f"--seed {text}: is not a number of 64 bits, decimal or with 0x")
    return seed


def command(
    file: Annotated[Path, typer.Argument(help="A video or a picture.")],
    seed: Annotated[
        str | None,
        typer.Option(help="Of the decision: `sampling_seed`, or `sampling.seed` of its record. Default: a new one."),
    ] = None,
    max_frames: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Of the decision; default: media.max_frames.")
    ] = None,
    min_interval_ms: Annotated[
        int | None, typer.Option(min=0, max=3_600_000, help="Of the decision; default: media.min_interval_ms.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the frames into this folder (PNG; PPM without Pillow).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
    config: settings.ConfigOption = None,
) -> None:
    """Lists, and with --out writes, exactly the frames that the server looked at under the same seed and numbers.

    Decodes in this process, without the sandbox and with the limits of the configuration.
    """
    chosen = settings.read(config)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    plan = SamplingPlan(
        max_frames if max_frames is not None else chosen.media.max_frames,
        min_interval_ms if min_interval_ms is not None else chosen.media.min_interval_ms,
        parse_seed(seed) if seed is not None else secrets.randbits(64),
    )
    try:
        found = sample_frames(data, plan, media_options(chosen).limits())
    except ContentError as error:
        raise type(error)(f"{file}: {error}") from None
    names = [_write(out, file, frame) if out is not None else "" for frame in found.frames]
    if as_json:
        facts = {
            "file": str(file),
            "media_format": found.media_format,
            "codec": found.codec,
            "width": found.width,
            "height": found.height,
            "duration_ms": found.duration_ms,
            "planned": found.planned,
            "similar": found.similar,
            "note": found.note,
            "seed": f"{plan.seed:#018x}",
            "max_frames": plan.max_frames,
            "min_interval_ms": plan.min_interval_ms,
            "frames": [
                {"time_ms": frame.time_ms, "width": frame.width, "height": frame.height, "file": name}
                for frame, name in zip(found.frames, names, strict=True)
            ],
        }
        print(json.dumps(facts))
        return
    console = console_for_tables()
    what = "/".join(word for word in (found.media_format, found.codec) if word)
    length = f", {clock(found.duration_ms)} long" if found.duration_ms else ""
    count = "1 frame" if found.planned == 1 else f"{found.planned} frames"
    console.print(f"{what}, {found.width} x {found.height} px{length}: {count} planned, "
                  f"{found.similar} near copies left out; seed {plan.seed:#018x}", highlight=False)  # fmt: skip
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("time", "px", "file") if out is not None else ("time", "px"):
        table.add_column(heading)
    for frame, name in zip(found.frames, names, strict=True):
        row = [clock(frame.time_ms), f"{frame.width} x {frame.height}"]
        table.add_row(*row, name) if out is not None else table.add_row(*row)
    console.print(table)
    if found.note:
        console.print(f"note: {found.note}", highlight=False)


def _write(folder: Path, source: Path, frame: Frame) -> str:
    """Writes one frame and returns its path. Raises ConfigError."""
    stem = folder / f"{source.stem}-{frame.time_ms:09d}ms"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if importlib.util.find_spec("PIL") is not None:
            from PIL import Image

            path = stem.with_name(stem.name + ".png")
            Image.frombytes("RGB", (frame.width, frame.height), frame.rgb).save(path)
        else:
            path = stem.with_name(stem.name + ".ppm")
            path.write_bytes(f"P6\n{frame.width} {frame.height}\n255\n".encode() + frame.rgb)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written: {error.strerror or error}") from None
    return str(path)
