"""Item calibration: from a head's combined score to a number whose thresholds mean something.

Every calibration is non-decreasing. They run on one float and on arrays with the same IEEE-754 operations in
the same order, so a stored row gives bit for bit what the live item gave, on any machine. That is why the
exponential is written out here: ``math.exp`` and ``numpy.exp`` differ in the last bit between libraries and
vector widths.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

from floodgate.policy.combination import float32

Scores = npt.NDArray[np.float32]
_Doubles = npt.NDArray[np.float64]

_LOG2_E = 1.4426950408889634
# ln 2 in two pieces: the first has 21 trailing zero bits, so that k * _LN2_HIGH is exact for |k| < 2**20
# (Cody and Waite 1980).
_LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1")
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
# Taylor coefficients of exp, highest first: on |r| <= ln(2)/2 the first term left out is below 2**-57.
_COEFFICIENTS = tuple(1.0 / math.factorial(n) for n in range(13, -1, -1))
_FAR = 700.0


@overload
def sigmoid(t: float) -> float: ...
@overload
def sigmoid(t: _Doubles) -> _Doubles: ...
def sigmoid(t: float | _Doubles) -> float | _Doubles:
    """1 / (1 + exp(-t)) within 4 units in the last place of float64; the same bits for a float and an
    array."""
    if isinstance(t, np.ndarray):
        x = np.minimum(np.maximum(-t, -_FAR), _FAR)
        k = np.rint(x * _LOG2_E)
        rest = (x - k * _LN2_HIGH) - k * _LN2_LOW
        total = np.full_like(rest, _COEFFICIENTS[0])
        for coefficient in _COEFFICIENTS[1:]:
            total = total * rest + coefficient
        result: _Doubles = 1.0 / (1.0 + np.ldexp(total, k.astype(np.int32)))
        return result
    y = min(max(-t, -_FAR), _FAR)
    n = round(y * _LOG2_E)
    r = (y - n * _LN2_HIGH) - n * _LN2_LOW
    s = _COEFFICIENTS[0]
    for coefficient in _COEFFICIENTS[1:]:
        s = s * r + coefficient
    return 1.0 / (1.0 + math.ldexp(s, n))


@dataclass(frozen=True, slots=True)
class Identity:
    """The score as it is."""

    def __call__(self, score: float) -> float:
        return score

    def rows(self, scores: Scores) -> Scores:
        """``float32[n]`` to ``float32[n]``; NaN stays NaN."""
        return scores


@dataclass(frozen=True, slots=True)
class PiecewiseLinear:
    """Straight lines between ``(xs[i], ys[i])``, flat outside. ``xs`` strictly ascend, ``ys`` never
    descend."""

    xs: tuple[float, ...]
    ys: tuple[float, ...]

    def __call__(self, score: float) -> float:
        xs, ys = self.xs, self.ys
        if score <= xs[0]:
            return float32(ys[0])
        if score >= xs[-1]:
            return float32(ys[-1])
        i = bisect.bisect_right(xs, score) - 1
        y = ys[i] + (score - xs[i]) * ((ys[i + 1] - ys[i]) / (xs[i + 1] - xs[i]))
        return float32(min(y, ys[i + 1]))  # the product may overshoot the next point by a rounding

    def rows(self, scores: Scores) -> Scores:
        """``float32[n]`` to ``float32[n]``; NaN stays NaN."""
        xs, ys = np.array(self.xs), np.array(self.ys)
        x = np.clip(scores.astype(np.float64), xs[0], xs[-1])
        i = np.clip(np.searchsorted(xs, x, side="right") - 1, 0, len(xs) - 2)
        y = ys[i] + (x - xs[i]) * ((ys[i + 1] - ys[i]) / (xs[i + 1] - xs[i]))
        y = np.where(x >= xs[-1], ys[-1], np.minimum(y, ys[i + 1]))
        return np.where(np.isnan(scores), np.nan, y).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Logistic:
    """Platt scaling (Platt 1999): ``sigmoid(a * score + b)`` with ``a > 0``."""

    a: float
    b: float

    def __call__(self, score: float) -> float:
        return float32(sigmoid(self.a * score + self.b))

    def rows(self, scores: Scores) -> Scores:
        """``float32[n]`` to ``float32[n]``; NaN stays NaN."""
        wide = scores.astype(np.float64)
        safe = np.where(np.isnan(wide), 0.0, wide)
        return np.where(np.isnan(wide), np.nan, sigmoid(self.a * safe + self.b)).astype(np.float32)


Calibration = Identity | PiecewiseLinear | Logistic
