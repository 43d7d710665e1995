"""``floodgate moderate FILES… --text …``: judge pictures, videos and texts through a running server."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf import json_format

from floodgate.cli import settings
from floodgate.cli.table import Row, show
from floodgate.client import Client, build_request, media_part, text_part
from floodgate.errors import ConfigError, FloodgateError, Unavailable
from floodgate.v1 import moderation_pb2 as pb

TEXT_FILE = ".txt"


def command(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Pictures and videos; a .txt file: a comment a line.")
    ] = None,
    text: Annotated[list[str] | None, typer.Option("--text", help="A text to judge; may repeat.")] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", "--address", help="HOST:PORT of the server; default: the configured address."),
    ] = None,
    together: Annotated[bool, typer.Option("--together", help="Make everything parts of one item.")] = False,
    surface: Annotated[str, typer.Option(help="Surface of the taxonomy, e.g. photo, comment.")] = "",
    language: Annotated[str, typer.Option(help="BCP 47 language of the texts, if known.")] = "",
    market: Annotated[list[str] | None, typer.Option(help="Market (ISO 3166-1 alpha-2); may repeat.")] = None,
    audience: Annotated[str, typer.Option(help="Viewer audience of the taxonomy.")] = "",
    policy_revision: Annotated[str, typer.Option(help="Judge by this policy revision.")] = "",
    lane: Annotated[str, typer.Option(help="STANDARD, LIVE or BULK.")] = "STANDARD",
    max_frames: Annotated[int, typer.Option(min=0, max=1024, help="Frames of a video at most; 0: the policy's.")] = 0,
    min_interval_ms: Annotated[
        int | None, typer.Option(min=0, max=3_600_000, help="Least distance of frames; default: the policy's.")
    ] = None,
    budget_ms: Annotated[float | None, typer.Option(help="Answer within this many milliseconds.")] = None,
    timeout: Annotated[float, typer.Option(help="gRPC deadline, seconds.")] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answers as JSON lines.")] = False,
    config: settings.ConfigOption = None,
) -> None:
    """Judges FILES and texts, each as an item of its own, and prints a table, for a video with the frames that were
    looked at. Exit code 1 if any got no decision."""
    named = read_files(files or [], max_frames=max_frames, min_interval_ms=min_interval_ms)
    named += [(f'"{words}"', text_part(words, language=language)) for words in text or []]
    if not named:
        raise ConfigError("nothing to judge: give picture or video files or --text")
    items = [(name, [part]) for name, part in named]
    if together:
        items = [(" + ".join(name for name, _ in named), [part for _, part in named])]
    fields: dict[str, Any] = {
        "surface": surface,
        "markets": market or [],
        "viewer_audience": audience,
        "policy_revision": policy_revision,
        "lane": lane,
        "budget_ms": budget_ms,
        "trace": True,
    }
    rows = []
    server = target or settings.read(config).address
    with Client(server) as client:
        for name, parts in items:
            request = build_request(parts=parts, content_id=name[:60], **fields)
            rows.append(_judge(client, name, request, timeout))
    if as_json:
        for row in rows:
            print(json.dumps(_plain(row), ensure_ascii=False))
    else:
        show(rows)
    if all(isinstance(row.error, Unavailable) for row in rows):
        print(f"error: {server} judged nothing; is `floodgate serve` running there?", file=sys.stderr)
    if any(row.error is not None for row in rows):
        raise typer.Exit(1)


def _judge(client: Client, name: str, request: pb.ModerateRequest, timeout: float) -> Row:
    try:
        return Row(name, client.send(request, timeout=timeout), None)
    except FloodgateError as error:
        return Row(name, None, error)


def _plain(row: Row) -> dict[str, Any]:
    if row.decision is None:
        return {"item": row.name, "error": {"code": getattr(row.error, "code", ""), "message": str(row.error)}}
    decision = json_format.MessageToDict(row.decision, preserving_proto_field_name=True)
    return {"item": row.name, "decision": decision}


def read_files(
    files: Sequence[Path], *, max_frames: int = 0, min_interval_ms: int | None = None
) -> list[tuple[str, pb.Part]]:
    """(name, part) of each file; a .txt file gives one COMMENT part a line, ``#`` lines and blank ones left out, with
    an optional language tag before a tab. Raises ConfigError for a file that cannot be read."""
    named = []
    for path in files:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
        if path.suffix != TEXT_FILE:
            part = media_part(data, max_frames=max_frames, min_interval_ms=min_interval_ms)
            named.append((path.name, part))
            continue
        try:
            lines = data.decode().splitlines()
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: is not UTF-8 (byte {error.start})") from None
        for line in lines:
            if line.strip() and not line.startswith("#"):
                language, tab, words = line.partition("\t")
                if not tab:
                    language, words = "", line
                named.append((f'"{words}"', text_part(words, role="COMMENT", language=language)))
    return named
