"""Frozen dataclasses to JSON text and back, strictly and without loss.

Enums go by name, tuples become lists, and what equals a field's default or is None is left out. Scores are
float32: they are written as the shortest decimal that reads back as the same float32 (0.7, not
0.699999988079071); all other numbers are float64 and written in full. Reading checks every type and refuses
unknown keys.
"""

from __future__ import annotations

import dataclasses
import math
import struct
import types
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from operator import attrgetter
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


_pack_float32 = struct.Struct("=f").pack


def shortest_float32(value: float) -> float:
    """The float64 whose shortest decimal is that of ``float32(value)``. Raises ValueError unless it is
    finite."""
    try:
        narrow = _pack_float32(value)
    except OverflowError:
        raise ValueError(f"{value} is no finite number") from None
    if not math.isfinite(value):
        raise ValueError(f"{value} is no finite number")
    # Nine digits tell any two float32 apart, six are always kept (C11, 5.2.4.2.2), and "g" drops zeros at the end.
    exact = struct.unpack("=f", narrow)[0]
    short = float(f"{exact:.8g}")
    if not _is_float32(short, narrow):
        return float(f"{exact:.9g}")
    for digits in (7, 6):
        shorter = float(f"{exact:.{digits}g}")
        if not _is_float32(shorter, narrow):
            break
        short = shorter
    return short


def _is_float32(value: float, narrow: bytes) -> bool:
    try:
        return _pack_float32(value) == narrow
    except OverflowError:  # rounded up beyond the largest float32
        return False


Writer = Callable[[Any], str]
_writers: dict[type, Writer] = {}


def text_of(value: Any) -> str:
    """A dataclass, enum, tuple, mapping or plain value as compact ASCII JSON. Raises ValueError for NaN and
    infinities, TypeError for what JSON cannot hold."""
    writer = _writers.get(type(value))
    if writer is None:
        writer = _writers[type(value)] = _writer_of(type(value))
    return writer(value)


def _writer_of(cls: type) -> Writer:
    if dataclasses.is_dataclass(cls):
        return fields_writer(cls)
    if issubclass(cls, Enum):
        return {member: encode_basestring_ascii(member.name) for member in cls}.__getitem__
    if cls is type(None) or cls is bool:
        return {None: "null", True: "true", False: "false"}.__getitem__
    if issubclass(cls, str):
        return encode_basestring_ascii
    if issubclass(cls, int):
        return int.__repr__
    if issubclass(cls, float):
        return _float_text
    if issubclass(cls, Mapping):
        return _mapping_text
    if issubclass(cls, (tuple, list)):
        return _list_text
    raise TypeError(f"{cls.__name__} is no JSON value")


def _float_text(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError(f"{value} is no finite number")
    return float.__repr__(value)


# Thresholds, and a score in every comparison it takes part in, come again and again.
@lru_cache(maxsize=4096)
def _nonzero_float32_text(value: float) -> str:
    return repr(shortest_float32(value))


def _float32_text(value: float) -> str:
    # Both zeros are one key to the cache.
    return _nonzero_float32_text(value) if value else repr(float(value))


def _mapping_text(value: Mapping[Any, Any]) -> str:
    return (
        "{" + ",".join([f"{encode_basestring_ascii(str(key))}:{text_of(entry)}" for key, entry in value.items()]) + "}"
    )


def _list_text(value: tuple[Any, ...] | list[Any]) -> str:
    return "[" + ",".join([text_of(entry) for entry in value]) + "]" if value else "[]"


def fields_writer(cls: type, leave_out: frozenset[str] = frozenset()) -> Writer:
    """Writes dataclass ``cls`` as a JSON object, without the fields ``leave_out`` (two fields at least must stay)."""
    fields = [entry for entry in _fields(cls) if entry.name not in leave_out]
    read = attrgetter(*(entry.name for entry in fields))
    plan = [
        (f'"{entry.name}":', entry.required, entry.default, _float32_text if entry.is_float32 else text_of)
        for entry in fields
    ]

    def write(value: Any) -> str:
        return (
            "{"
            + ",".join(
                [
                    key + text(held)
                    for (key, required, default, text), held in zip(plan, read(value), strict=True)
                    if held is not None and (required or held != default)
                ]
            )
            + "}"
        )

    return write


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
