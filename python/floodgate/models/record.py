"""The record beside a built file: out of what, by what and for what it was made.

``<file>.build.json``, JSON. Its ``checksum`` is over the rest, so that a record that was edited or cut off is noticed;
it is no signature, and whoever can write both files can make them agree.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from floodgate.errors import ModelError
from floodgate.types import RECORD_SUFFIX

RECORD_FORMAT = 1
AHEAD_OF_TIME = "ahead of time"
"""The ``gpu`` of what was built without one."""


@dataclass(frozen=True, slots=True)
class BuildRecord:
    """``weights_sha256``: of the ONNX that the lock names. ``graph_sha256``: of the ONNX that the builder read, after
    the change of precision. ``compute_capabilities``: of ``gpu``, or what was built for ahead of time; empty: the
    builder's default. ``profile``: least, best and most rows a batch; empty where the file takes any. ``calibration``:
    how many views of how many photos 8 bits were calibrated with, and their SHA-256; else "". ``built_at``: UTC, ISO
    8601."""

    head: str
    file: str
    platform: str
    precision: str
    weights_sha256: str
    graph_sha256: str
    sha256: str
    size_bytes: int
    builder: str
    builder_version: str
    gpu: str
    compute_capabilities: tuple[str, ...]
    profile: tuple[int, ...]
    flags: tuple[str, ...]
    calibration: str
    built_at: str
    format: int = RECORD_FORMAT


def record_path(built: Path) -> Path:
    return built.with_name(built.name + RECORD_SUFFIX)


def serialize(record: BuildRecord) -> bytes:
    """The record as the bytes of its file."""
    members = asdict(record)
    members["checksum"] = _checksum(members)
    return (json.dumps(members, indent=2) + "\n").encode()


def read_record(built: Path) -> BuildRecord:
    """The record of the built file. Raises ModelError naming the record's file and what is wrong with it."""
    path = record_path(built)
    try:
        members = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path} is missing, so nothing tells what {built.name} was built of and for") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
    except ValueError as error:  # not UTF-8, or not JSON
        raise ModelError(f"{path}: is not JSON, as if it had been cut off: {error}") from error
    if not isinstance(members, dict):
        raise ModelError(f"{path}: is not a JSON object")
    if members.get("format") != RECORD_FORMAT:
        raise ModelError(f"{path}: format is {members.get('format')}, this version reads {RECORD_FORMAT}")
    checksum = members.pop("checksum", None)
    if checksum != _checksum(members):
        raise ModelError(f"{path}: was changed after it was written: its checksum does not match its content")
    known = {field.name for field in fields(BuildRecord)}
    if set(members) != known:
        odd = sorted(set(members) ^ known)[0]
        raise ModelError(f"{path}: member {odd!r} is {'unknown' if odd in members else 'missing'}")
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in members.items()
    }
    return BuildRecord(**values)


def _checksum(members: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(members, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
