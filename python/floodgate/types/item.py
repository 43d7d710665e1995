"""What is asked: an item and its parts, after the wire has checked them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum


class Lane(IntEnum):
    """Urgency class. Values equal the proto's."""

    STANDARD = 1
    LIVE = 2
    BULK = 3


class Role(IntEnum):
    """What a part is to its item. Values equal the proto's. CONTEXT is shown to judges, never judged."""

    MAIN = 1
    CAPTION = 2
    TITLE = 3
    HASHTAG = 4
    TRANSCRIPT = 5
    COVER = 6
    USERNAME = 7
    COMMENT = 8
    CONTEXT = 9


class Modality(Enum):
    IMAGE = "image"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Part:
    """One medium of an item. ``data`` is the encoded picture, or the text as UTF-8 bytes."""

    part_id: str
    role: Role
    modality: Modality
    data: bytes
    language: str = ""  # BCP 47, text only; empty: not declared


SignalValue = bool | float | str


@dataclass(frozen=True, slots=True)
class Context:
    """What the caller knows about the item. ``markets`` are ISO 3166-1 alpha-2, upper case, no repeats."""

    origin_market: str = ""
    markets: tuple[str, ...] = ()
    viewer_audience: str = ""
    creator_id: str = ""
    signals: Mapping[str, SignalValue] = field(default_factory=dict)
    declared_labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """One moderation request after the wire has checked it."""

    request_id: str
    content_id: str
    content_version: str
    surface: str
    trigger: str  # the proto enum's name without its prefix, "UPLOAD"
    parts: tuple[Part, ...]
    context: Context
    lane: Lane
    policy_revision: str  # empty: the active one
    trace: bool
    mode: str  # "ENFORCE" or "EVALUATE"
    caller: str
