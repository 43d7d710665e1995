"""What is asked: an item and its parts, after the wire has checked them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Protocol


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
    """What the caller says a part is. Heads and policy know two kinds, ``kind``: what has pixels, and text. Whether
    something with pixels is a picture or a video is read from its bytes alone, so that declaring it as the other
    changes nothing."""

    IMAGE = "image"
    TEXT = "text"
    VIDEO = "video"

    # Members are one of a kind; Enum would hash their names anew each time, in Python.
    __hash__ = object.__hash__

    @property
    def kind(self) -> Modality:
        """IMAGE for whatever has pixels, else TEXT."""
        return Modality.TEXT if self is Modality.TEXT else Modality.IMAGE


class Digested(Protocol):
    """Who knows a digest."""

    @property
    def sha256(self) -> str:
        """SHA-256, hex; "" where there is none."""


class Content:
    """The encoded bytes of one part, for as long as somebody needs them: the one value on the way that changes.

    A part waits as encoded bytes in the core's arena, perhaps for seconds, and must not wait here a second time. So
    whoever had the core copy it calls ``release``, or ``hand_over`` where the core takes the digest as well; digest and
    size stay. ``forget`` ends it. Not thread-safe.
    """

    __slots__ = ("_data", "_digested", "_sha256", "size_bytes")

    def __init__(self, data: bytes) -> None:
        self._data: bytes | None = data
        self._digested: Digested | None = None
        self._sha256 = ""
        self.size_bytes = len(data)

    @property
    def data(self) -> bytes:
        """The bytes. Raises ValueError once they were released."""
        if self._data is None:
            raise ValueError("the content was released")
        return self._data

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes, hex. Raises ValueError once they were handed over, until ``digested`` is called, and
        when they were forgotten before anybody had asked."""
        if not self._sha256 and self._digested is not None:
            self._sha256 = self._digested.sha256
            self._digested = None
        if not self._sha256:
            self._sha256 = hashlib.sha256(self.data).hexdigest()
        return self._sha256

    def release(self) -> None:
        """Lets go of the bytes, after taking their digest. Idempotent."""
        if self._data is not None:
            _ = self.sha256
            self._data = None

    def hand_over(self) -> None:
        """Lets go of the bytes to somebody who will tell their digest."""
        self._data = None

    def digested(self, by: Digested) -> None:
        """Tells who knows the digest of bytes that were handed over. It is asked once, by whoever needs the digest
        first: it may have to be made, and what was not judged in time mostly has no record that it is for."""
        self._digested = by

    def forget(self) -> None:
        """Lets go of the bytes, and of who knows their digest, which may hold them as well. For when the item has
        ended, however it did: an error's traceback keeps its item until the garbage collector comes by. Idempotent."""
        self._data = None
        self._digested = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which frames of a video or an animated picture are asked for. ``max_frames`` 0 and ``min_interval_ms`` None: not
    said; the next in line decides."""

    max_frames: int = 0
    min_interval_ms: int | None = None

    def over(self, other: Sampling) -> Sampling:
        """This, with what it leaves unsaid taken from ``other``."""
        interval = self.min_interval_ms if self.min_interval_ms is not None else other.min_interval_ms
        return Sampling(self.max_frames or other.max_frames, interval)


@dataclass(frozen=True, slots=True)
class SamplingPlan:
    """Which frames of a part were looked for: first and last, and between them key frames and times drawn with
    ``seed`` (64 random bits that nobody outside can foresee). The same bytes and plan give the same frames again."""

    max_frames: int
    min_interval_ms: int
    seed: int


@dataclass(frozen=True, slots=True)
class Part:
    """One medium of an item. ``content`` is the encoded picture or video, or the text as UTF-8 bytes."""

    part_id: str
    role: Role
    modality: Modality
    content: Content
    language: str = ""  # BCP 47, text only; empty: not declared
    sampling: Sampling = Sampling()  # as asked for; pictures and videos


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
