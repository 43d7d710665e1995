"""The door to the compiled core: its limits by the settings' names, its digest, and what it needs to decode."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from floodgate import _core
from floodgate.cli.media import media_options, require_small_views
from floodgate.config import Config
from floodgate.core import try_sandbox
from floodgate.errors import ConfigError, ContentTooLarge, StartupError
from floodgate.media import MediaOptions, in_settings, preprocessing_digest, sample_frames
from floodgate.types import (
    Competence,
    EnsembleSpec,
    HeadSpec,
    ImageViewSpec,
    Modality,
    SamplingPlan,
    TensorSpec,
)

ROOT = Path(__file__).resolve().parents[2]
PHOTO = (ROOT / "examples" / "cat.jpg").read_bytes()


def options(**changes: object) -> MediaOptions:
    return replace(media_options(Config()), **changes)  # type: ignore[arg-type]


def head(side_px: int) -> HeadSpec:
    view = ImageViewSpec(side_px, 16)
    return HeadSpec("h", 1, "d", Modality.IMAGE, view, ("a",), (), Competence(), "MIT", 1)


def test_every_limit_of_the_core_has_a_setting_of_its_name() -> None:
    for name in (name for name in dir(_core.MediaLimits) if name.startswith("max_")):
        setting = in_settings(f"it is 5; the limit ({name}) is 4").partition("(")[2].partition(")")[0]
        assert setting.startswith("limits."), name
        assert setting.removeprefix("limits.") in type(Config().limits).model_fields


def test_defaults_of_limits_are_the_cores() -> None:
    ours, theirs = media_options(Config()).limits(), _core.MediaLimits()
    names = [name for name in dir(theirs) if name.startswith("max_")]
    assert len(names) == 9
    assert {name: getattr(ours, name) for name in names} == {name: getattr(theirs, name) for name in names}


def test_a_refusal_names_the_setting() -> None:
    small = options(pixels=1000).limits()
    with pytest.raises(ContentTooLarge, match=r"the limit \(limits.pixels\) is 1000"):
        sample_frames(PHOTO, SamplingPlan(1, 0, 1), small)


def test_a_still_is_one_frame() -> None:
    found = sample_frames(PHOTO, SamplingPlan(16, 500, 1))
    (frame,) = found.frames
    assert (found.media_format, found.codec, frame.time_ms) == ("jpeg", "", 0)
    assert len(frame.rgb) == 3 * frame.width * frame.height


def test_the_digest_changes_with_all_that_changes_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(side_px: int, decode_min: int) -> str:
        made_for = head(side_px)
        tensors = (TensorSpec("t", made_for.view),)
        return preprocessing_digest([EnsembleSpec("e", "d", Modality.IMAGE, (made_for,), tensors, 1)], decode_min)

    seen = [of(8, 0), of(16, 0), of(8, 512), of(8, 256)]
    assert len(set(seen)) == len(seen)
    assert of(8, 512) == seen[2]
    monkeypatch.setattr("floodgate.media._core.codecs", lambda: {"libjpeg-turbo": "0.0.1"})
    assert of(8, 0) not in seen


def test_exact_views_shrink_nothing() -> None:
    assert options().decode_min == 0
    fast = Config.model_validate({"media": {"views": "fast", "decode_min": 640}})
    assert media_options(fast).decode_min == 640


def test_a_view_larger_than_a_shrunk_picture_is_refused() -> None:
    require_small_views([head(512)], 512)
    require_small_views([head(4096)], 0)
    with pytest.raises(ConfigError, match=r"decode_min is 512 px, but the view of head h is 513 x 16 px.*at least 513"):
        require_small_views([head(64), head(513)], 512)


def test_a_missing_decoder_program_refuses_the_start_and_names_the_way_out() -> None:
    with pytest.raises(StartupError, match=r"no decoder program at /nowhere/floodgate-decoder.*`media.sandbox: false`"):
        try_sandbox(options(decoder=Path("/nowhere/floodgate-decoder")))


def test_decoding_on_threads_needs_no_program() -> None:
    try_sandbox(options(decoder=None))
