"""How the heads that feed one label become the label's one number.

Only the heads that are there take part; a missing head is never a zero. Sums run in the policy's order of
heads, in float64, and are rounded once to float32. All ways are monotone, and give the same bits for one
item and for arrays of stored rows (where NaN stands for a missing head).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from floodgate.policy.calibration import Scores, sigmoid
from floodgate.policy.combination import float32


@dataclass(frozen=True, slots=True)
class MaxFusion:
    """The highest head decides."""

    def __call__(self, values: Sequence[float | None]) -> float:
        return max(value for value in values if value is not None)

    def rows(self, values: Scores) -> Scores:
        """``float32[heads, n]`` to ``float32[n]``; NaN where every head is."""
        result: Scores = np.fmax.reduce(values, axis=0)
        return result


@dataclass(frozen=True, slots=True)
class MeanFusion:
    """The mean of the heads that are there."""

    def __call__(self, values: Sequence[float | None]) -> float:
        total, count = 0.0, 0
        for value in values:
            if value is not None:
                total += value
                count += 1
        return float32(total / count)

    def rows(self, values: Scores) -> Scores:
        """``float32[heads, n]`` to ``float32[n]``; NaN where every head is."""
        total = np.zeros(values.shape[1], np.float64)
        count = np.zeros(values.shape[1], np.float64)
        for row in values:
            there = ~np.isnan(row)
            total = total + np.where(there, row.astype(np.float64), 0.0)
            count = count + there
        with np.errstate(invalid="ignore"):
            return (total / count).astype(np.float32)


@dataclass(frozen=True, slots=True)
class LogisticFusion:
    """``sigmoid(bias + sum(w_i * x_i))``, all weights positive, in the policy's order of heads.

    Where heads are missing, the weights of those that are there are scaled up to the full sum: the missing
    ones are taken to agree with the weighted mean of the rest, rather than to say zero.
    """

    weights: tuple[float, ...]
    bias: float

    def __call__(self, values: Sequence[float | None]) -> float:
        total, present, full = 0.0, 0.0, 0.0
        for weight, value in zip(self.weights, values, strict=True):
            full += weight
            if value is not None:
                total += weight * value
                present += weight
        if present != full:
            total = total * (full / present)
        return float32(sigmoid(self.bias + total))

    def rows(self, values: Scores) -> Scores:
        """``float32[heads, n]`` to ``float32[n]``; NaN where every head is."""
        n = values.shape[1]
        total, present, full = np.zeros(n, np.float64), np.zeros(n, np.float64), 0.0
        for weight, row in zip(self.weights, values, strict=True):
            there = ~np.isnan(row)
            full += weight
            total = total + np.where(there, weight * row.astype(np.float64), 0.0)
            present = present + np.where(there, weight, 0.0)
        partial = (present != full) & (present > 0.0)
        scale = full / np.where(partial, present, full)
        fused = sigmoid(self.bias + np.where(partial, total * scale, total))
        return np.where(present > 0.0, fused, np.nan).astype(np.float32)


Fusion = MaxFusion | MeanFusion | LogisticFusion
