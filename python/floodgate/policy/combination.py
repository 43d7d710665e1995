"""How the scores of one head over the frames of one part become one number.

A *frame* is a distinct (time, span) of a part; several scores of one frame (one per detection) count as their
maximum. All three ways are monotone in every score and do not depend on the order given.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from floodgate.types import FrameScore


def float32(value: float) -> float:
    """Rounded to float32, the precision of every score and comparison, as a Python float."""
    return float(np.float32(value))


@dataclass(frozen=True, slots=True)
class Max:
    """The highest frame decides."""

    def __call__(self, frames: Sequence[FrameScore]) -> float:
        return max(frame.score for frame in frames)

    def __str__(self) -> str:
        return "max"


@dataclass(frozen=True, slots=True)
class TopKMean:
    """The mean of the ``k`` highest frames, or of all when there are fewer. The sum is exact (Shewchuk 1997,
    as in ``math.fsum``) and rounded once to float32 after the division."""

    k: int

    def __call__(self, frames: Sequence[FrameScore]) -> float:
        top = heapq.nlargest(self.k, (frame.score for frame in frames))
        return float32(math.fsum(top) / len(top))

    def __str__(self) -> str:
        return f"top_k_mean(k={self.k})"


@dataclass(frozen=True, slots=True)
class KOfN:
    """The highest value that at least ``k`` of some ``n`` neighbouring frames reach.

    A window is at most ``n`` frames in order of time that span at most ``window_ms``; its value is its
    ``k``-th highest score, and the largest over all windows counts. So "2 of 3 within 4 s" ignores a single
    flash. Where no window holds ``k`` frames (a photo, a very short video), ``k`` is the most that one holds.
    """

    k: int
    n: int
    window_ms: int

    def __call__(self, frames: Sequence[FrameScore]) -> float:
        windows = [self._window(frames, start) for start in range(len(frames))]
        k = min(self.k, max(len(window) for window in windows))
        return max(heapq.nlargest(k, window)[-1] for window in windows if len(window) >= k)

    def _window(self, frames: Sequence[FrameScore], start: int) -> list[float]:
        end = frames[start].time_ms + self.window_ms
        return [frame.score for frame in frames[start : start + self.n] if frame.time_ms <= end]

    def __str__(self) -> str:
        return f"k_of_n(k={self.k}, n={self.n}, window_ms={self.window_ms})"


Combination = Max | TopKMean | KOfN


def frames_of(scores: Iterable[FrameScore]) -> list[FrameScore]:
    """The distinct frames of one (part, head, label) in order of time, each with its highest score. Ties are
    broken by box, so that the evidence does not depend on the order given."""
    best: dict[tuple[int, tuple[int, int]], FrameScore] = {}
    for score in scores:
        key = (score.time_ms, score.span or (-1, -1))
        held = best.get(key)
        if held is None or _rank(score) > _rank(held):
            best[key] = score
    return [best[key] for key in sorted(best)]


def _rank(score: FrameScore) -> tuple[float, tuple[float, ...]]:
    box = score.box
    return (score.score, () if box is None else (-box.x0, -box.y0, -box.x1, -box.y1))


def best_frame(frames: Sequence[FrameScore]) -> FrameScore:
    """The frame to show a person: the highest, and of equals the earliest. ``frames`` as by ``frames_of``."""
    return max(frames, key=lambda frame: frame.score)
