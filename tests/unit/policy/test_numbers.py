"""Combination, calibration and fusion, by hand-made numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from floodgate.policy.calibration import Identity, Logistic, PiecewiseLinear, sigmoid
from floodgate.policy.combination import KOfN, Max, TopKMean, best_frame, float32, frames_of
from floodgate.policy.fusion import LogisticFusion, MaxFusion, MeanFusion
from floodgate.policy.strictness import merge
from floodgate.types import FrameScore, Restriction, RestrictionKind


def film(*scores: tuple[int, float]) -> list[FrameScore]:
    return frames_of(FrameScore("p", time_ms, "h", "l", float32(score)) for time_ms, score in scores)


FLASH = film((0, 0.1), (1000, 0.9), (2000, 0.2), (3000, 0.3))


def test_one_flash_decides_under_max_and_not_under_two_of_three() -> None:
    assert Max()(FLASH) == float32(0.9)
    assert KOfN(2, 3, 4000)(FLASH) == float32(0.3)
    assert KOfN(3, 3, 4000)(FLASH) == float32(0.2)


def test_window_counts_time_and_frames() -> None:
    sparse = film((0, 0.9), (10_000, 0.8), (10_500, 0.5))
    assert KOfN(2, 2, 1000)(sparse) == 0.5
    assert KOfN(2, 2, 10_000)(sparse) == float32(0.8)


def test_photo_is_judged_by_its_one_frame() -> None:
    assert KOfN(3, 5, 1000)(film((0, 0.7))) == float32(0.7)
    assert TopKMean(3)(film((0, 0.7))) == float32(0.7)


def test_top_k_mean_is_rounded_once() -> None:
    assert TopKMean(2)(FLASH) == float32((float32(0.9) + float32(0.3)) / 2)


def test_detections_of_one_frame_count_once() -> None:
    assert len(film((0, 0.1), (0, 0.8), (1, 0.2))) == 2
    assert best_frame(film((0, 0.1), (5, 0.8), (9, 0.8))).time_ms == 5


def test_piecewise_linear_passes_through_its_points() -> None:
    curve = PiecewiseLinear((0.0, 0.5, 1.0), (0.0, 0.25, 1.0))
    assert [curve(x) for x in (0.0, 0.25, 0.5, 0.75, 1.0)] == [0.0, 0.125, 0.25, 0.625, 1.0]


@given(st.floats(-800, 800))
def test_sigmoid_is_exact_to_the_last_bits_and_the_same_on_arrays(t: float) -> None:
    here = sigmoid(t)
    assert sigmoid(np.array([t, 0.0]))[0] == here
    if abs(t) < 700:
        assert here == pytest.approx(1 / (1 + math.exp(-t)), rel=1e-15)


@given(st.lists(st.floats(0, 1, width=32), min_size=1), st.floats(0.01, 50), st.floats(-20, 20))
def test_calibration_of_rows_equals_that_of_items(scores: list[float], a: float, b: float) -> None:
    for curve in (Identity(), Logistic(a, b), PiecewiseLinear((0.1, 0.3, 0.9), (0.0, 0.6, 0.7))):
        rows = curve.rows(np.array([*scores, np.nan], np.float32))
        assert rows[:-1].tolist() == [curve(score) for score in scores]
        assert np.isnan(rows[-1])


@given(st.lists(st.tuples(*[st.none() | st.floats(0, 1, width=32)] * 3), min_size=1))
def test_fusion_of_rows_equals_that_of_items(rows: list[tuple[float | None, ...]]) -> None:
    columns = np.array([[np.nan if v is None else v for v in row] for row in rows], np.float32).T
    for fuse in (MaxFusion(), MeanFusion(), LogisticFusion((3.0, 0.1, 1.7), -1.3)):
        fused = fuse.rows(columns)
        for index, row in enumerate(rows):
            if all(value is None for value in row):
                assert np.isnan(fused[index])
            else:
                assert fused[index] == np.float32(fuse(row))


def test_missing_head_is_taken_to_agree_with_the_rest() -> None:
    fuse = LogisticFusion((2.0, 2.0), -1.0)
    assert fuse([0.5, None]) == fuse([0.5, 0.5])
    assert fuse([0.5, None]) > fuse([0.5, 0.0])
    assert MeanFusion()([0.5, None]) == 0.5


def test_merging_keeps_the_strictest_of_a_kind() -> None:
    kind = RestrictionKind
    merged = merge(
        [
            Restriction(kind.AGE_GATE, param="16", finding_index=0),
            Restriction(kind.AGE_GATE, param="18", finding_index=1),
            Restriction(kind.DEMOTE, duration_s=60, finding_index=2),
            Restriction(kind.DEMOTE, finding_index=3),
            Restriction(kind.DEMOTE, finding_index=4),
            Restriction(kind.GEO_BLOCK, ("DE",), finding_index=5),
            Restriction(kind.GEO_BLOCK, ("AT", "DE"), finding_index=6),
            Restriction(kind.LABEL, param="a", finding_index=7),
            Restriction(kind.LABEL, param="b", finding_index=8),
        ]
    )
    assert [entry.finding_index for entry in merged] == [6, 3, 1, 7, 8]
