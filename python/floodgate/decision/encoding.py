"""Frozen dataclasses to JSON values and back, strictly and without loss.

Enums go by name, tuples become lists, and what equals a field's default or is None is left out. Scores are
float32: they are written as the shortest decimal that reads back as the same float32 (0.7, not
0.699999988079071); all other numbers are float64 and written in full. Reading checks every type and refuses
unknown keys.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from floodgate.types import FrameScore, RuleStep, ScoreBasis

T = TypeVar("T")

_FLOAT32_FIELDS: Mapping[type, frozenset[str]] = {
    FrameScore: frozenset(("score",)),
    ScoreBasis: frozenset(("raw", "calibrated", "threshold")),
    RuleStep: frozenset(("value", "threshold", "margin")),
}

_MISSING = dataclasses.MISSING


@dataclasses.dataclass(frozen=True, slots=True)
class _Field:
    name: str
    kind: Any
    default: Any
    required: bool
    is_float32: bool


@lru_cache(maxsize=64)
def _fields(cls: type) -> tuple[_Field, ...]:
    hints = typing.get_type_hints(cls)
    narrow = _FLOAT32_FIELDS.get(cls, frozenset())
    found = []
    for entry in dataclasses.fields(cls):
        default = entry.default
        if default is _MISSING and entry.default_factory is not _MISSING:
            default = entry.default_factory()
        required = default is _MISSING
        found.append(_Field(entry.name, hints[entry.name], default, required, entry.name in narrow))
    return tuple(found)


def shortest_float32(value: float) -> float:
    """The float64 whose shortest decimal is that of ``float32(value)``. Raises ValueError unless it is
    finite."""
    narrow = np.float32(value)
    if not math.isfinite(narrow):
        raise ValueError(f"{value} is no finite number")
    short = float(str(narrow))
    return short if np.float32(short) == narrow else float(narrow)


def encode(value: Any) -> Any:
    """A dataclass, enum, tuple, mapping or plain value as JSON values."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): encode(entry) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return [encode(entry) for entry in value]
    row: dict[str, Any] = {}
    cls: type = type(value)
    for entry in _fields(cls):
        held = getattr(value, entry.name)
        if held is None or (not entry.required and held == entry.default):
            continue
        row[entry.name] = shortest_float32(held) if entry.is_float32 else encode(held)
    return row


def compact(row: Mapping[str, Any]) -> str:
    """One line of ASCII JSON. Raises ValueError for NaN and infinities."""
    return json.dumps(row, separators=(",", ":"), allow_nan=False)


def decode(kind: type[T], value: Any, path: str) -> T:
    """Read ``value`` as a ``kind``. Raises ValueError that names ``path`` and what was expected there."""
    result: T = _decode(kind, value, path)
    return result


def _decode(kind: Any, value: Any, path: str) -> Any:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _decode_union(kind, value, path)
    if origin is tuple:
        return _decode_tuple(typing.get_args(kind), value, path)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise ValueError(f"{path}: not a mapping")
        entry_kind = typing.get_args(kind)[1]
        return {key: _decode(entry_kind, entry, f"{path}.{key}") for key, entry in value.items()}
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _decode_dataclass(kind, value, path)
    if isinstance(kind, type) and issubclass(kind, Enum):
        if not isinstance(value, str) or value not in kind.__members__:
            raise ValueError(f"{path}: {value!r} is no {kind.__name__}")
        return kind[value]
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, bool):
        raise ValueError(f"{path}: {value!r} is no whole number")
    if isinstance(kind, type) and isinstance(value, kind):
        return value
    raise ValueError(f"{path}: {value!r:.80} is no {getattr(kind, '__name__', kind)}")


def _decode_dataclass(kind: type, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{path}: not a mapping")
    fields = _fields(kind)
    unknown = value.keys() - {entry.name for entry in fields}
    if unknown:
        raise ValueError(f"{path}: unknown key '{min(unknown)}'")
    found: dict[str, Any] = {}
    for entry in fields:
        where = f"{path}.{entry.name}"
        if entry.name in value:
            held = _decode(entry.kind, value[entry.name], where)
            found[entry.name] = _narrow(held, where) if entry.is_float32 and held is not None else held
        elif not entry.required:
            found[entry.name] = entry.default
        elif type(None) in typing.get_args(entry.kind):
            found[entry.name] = None
        else:
            raise ValueError(f"{where}: missing")
    return kind(**found)


def _narrow(value: float, path: str) -> float:
    with np.errstate(over="ignore"):
        narrow = float(np.float32(value))
    if not math.isfinite(narrow):
        raise ValueError(f"{path}: {value} is no float32")
    return narrow


def _decode_union(kind: Any, value: Any, path: str) -> Any:
    choices = typing.get_args(kind)
    if value is None and type(None) in choices:
        return None
    if isinstance(value, bool) and bool in choices:
        return value
    problem = ValueError(f"{path}: {value!r:.80} fits none of its types")
    for choice in choices:
        if choice in (type(None), bool):
            continue
        try:
            return _decode(choice, value, path)
        except ValueError as error:
            problem = error
    raise problem


def _decode_tuple(kinds: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{path}: not a list")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_decode(kinds[0], entry, f"{path}[{index}]") for index, entry in enumerate(value))
    if len(value) != len(kinds):
        raise ValueError(f"{path}: {len(value)} entries where {len(kinds)} belong")
    return tuple(_decode(kind, entry, f"{path}[{i}]") for i, (kind, entry) in enumerate(zip(kinds, value, strict=True)))
