"""What the heads said of each part."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from floodgate.types.item import Modality, Role, SamplingPlan


class PartState(Enum):
    JUDGED = "JUDGED"
    UNREADABLE = "UNREADABLE"
    SKIPPED = "SKIPPED"


@dataclass(frozen=True, slots=True)
class Box:
    """Fractions of the upright picture's width and height, [0, 1], x0 <= x1, y0 <= y1."""

    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True, slots=True)
class FrameScore:
    """One number from one head about one frame (or text row) of one part."""

    part_id: str
    time_ms: int  # 0 for a photo or text
    head: str
    label: str
    score: float
    in_competence: bool = True
    competence_reason: str = ""  # why not, when it is not
    box: Box | None = None
    span: tuple[int, int] | None = None  # bytes [start, end) of the text that the row covers


@dataclass(frozen=True, slots=True)
class MissingHead:
    """A head that should have scored a part and did not. ``reason``: ``deadline``, ``unavailable``, ``failed``,
    ``bad_output``, ``non_finite``, ``breaker_open``, ``overloaded``."""

    part_id: str
    head: str
    reason: str


@dataclass(frozen=True, slots=True)
class PartResult:
    """All that is known about one part when policy looks at it."""

    part_id: str
    role: Role
    modality: Modality
    state: PartState
    reason: str = ""  # for a person, when not JUDGED
    reason_code: str = ""  # errors.*.code, when not JUDGED
    scores: tuple[FrameScore, ...] = ()
    missing: tuple[MissingHead, ...] = ()
    frames_sampled: int = 0  # frames (or text rows) judged
    frames_dropped: int = 0  # near copies of the frame before
    frames_missed: int = 0  # planned, not reached in time
    duration_ms: int = 0  # of a video or animation; 0: none, or unknown
    media_format: str = ""  # what the bytes are: "jpeg", "mp4", …; empty for text and where nothing was recognised
    codec: str = ""  # of a video or animation: "h264", "gif", …
    note: str = ""  # for a person: what was missing or converted, also when JUDGED
    partial: bool = False  # truncated, damaged, or out of time: only part of what was planned was judged
    plan: SamplingPlan | None = None  # of a video or animation
