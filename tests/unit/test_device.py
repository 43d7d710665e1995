"""The GPU as the server sees it: asked for, not there, and what that means."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytest

from floodgate import _core
from floodgate.config import MediaSettings
from floodgate.errors import InvalidRequest, StartupError, Unavailable
from floodgate.media import DeviceOptions, look_for_device, open_device, preprocessing_digest
from floodgate.wire.metrics import _device_families

FACTS = look_for_device(0)
without_gpu = pytest.mark.skipif(not FACTS["problem"], reason="this machine has a GPU")


def options(*, required: bool) -> DeviceOptions:
    return DeviceOptions(required=required, ordinal=0, memory_bytes=64 << 20)


def test_nobody_asks_for_a_gpu_by_default() -> None:
    assert MediaSettings().device == "cpu"
    assert open_device(None) is None


@without_gpu
def test_a_gpu_that_is_not_required_is_done_without_and_this_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert open_device(options(required=False)) is None
    assert [record.message for record in caplog.records] == [f"pictures are decoded on the CPU: {FACTS['problem']}"]


@without_gpu
def test_a_gpu_that_is_required_and_missing_refuses_to_start() -> None:
    with pytest.raises(StartupError, match=r"media.device is cuda, but .*doctor"):
        open_device(options(required=True))


@without_gpu
def test_the_core_says_what_is_missing() -> None:
    with pytest.raises(Unavailable):
        _core.Device()
    assert set(FACTS) == {
        "built",
        "toolkit",
        "driver",
        "problem",
        "name",
        "compute_capability",
        "memory_bytes",
        "jpeg",
        "jpeg_problem",
    }


@pytest.mark.skipif(bool(FACTS["problem"]), reason=f"there is no GPU here: {FACTS['problem']}")
def test_options_that_cannot_be_are_refused_by_name() -> None:
    with pytest.raises(InvalidRequest, match="streams"):
        _core.Device(streams=0)


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_fast_views_and_a_gpu_do_not_go_together(device: Any) -> None:
    with pytest.raises(ValueError, match="only libjpeg decodes at a fraction of the size"):
        MediaSettings(device=device, views="fast")


def test_what_decodes_on_a_gpu_is_part_of_the_preprocessing_digest() -> None:
    digests = {preprocessing_digest([], 0, device) for device in ("", "nvjpeg 13.0.1", "nvjpeg 13.1.0")}
    assert len(digests) == 3
    assert preprocessing_digest([], 0) in digests


def test_metrics_count_fallbacks_by_reason() -> None:
    stats = {
        "used": False,
        "lost": True,
        "problem": "CUDA: waiting for a batch: …",
        "pictures": 5,
        "batches": 2,
        "busy_ns": 1_500_000_000,
        "rows_staged": 1,
        "fallbacks": {"refused": 3, "too_large": 0, "no_memory": 0, "lost": 1},
    }
    values = _values(stats)
    assert values[("floodgate_device_used",)] == 0.0
    assert values[("floodgate_device_lost",)] == 1.0
    assert values[("floodgate_device_busy_seconds_total",)] == 1.5
    assert values[("floodgate_device_pictures_total",)] == 5.0
    assert values[("floodgate_device_fallbacks_total", "refused")] == 3.0
    assert len([key for key in values if key[0] == "floodgate_device_fallbacks_total"]) == 4


def test_without_a_gpu_every_count_is_there_at_zero() -> None:
    """To Prometheus a counter that appears with its first event has not grown."""
    values = _values(_core.Scheduler().stats()["device"])
    assert set(values.values()) == {0.0}
    assert {key[1] for key in values if len(key) > 1} == {"refused", "too_large", "no_memory", "lost"}


def _values(stats: Mapping[str, Any]) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in _device_families(stats)
        for sample in family.samples
    }
