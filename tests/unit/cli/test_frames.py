"""``floodgate frames``: what it says of a file that it cannot show."""

from __future__ import annotations

from pathlib import Path

import pytest

from floodgate.cli import frames
from floodgate.errors import ConfigError, InvalidContent, UnsupportedContent


def test_a_bad_file_is_named_with_its_reason(tmp_path: Path) -> None:
    bad = tmp_path / "clip.mp4"
    for data, kind, reason in (
        (b"\x91\x02\x03" * 500, InvalidContent, "not a picture or video of a known format"),
        (b"", InvalidContent, "the data is empty"),
        (b"hello there, this is text\n", UnsupportedContent, "the data is text"),
    ):
        bad.write_bytes(data)
        with pytest.raises(kind) as refused:
            frames.command(bad)
        assert str(refused.value).startswith(f"{bad}: ")
        assert reason in str(refused.value)
    with pytest.raises(ConfigError, match="No such file"):
        frames.command(tmp_path / "none.mp4")


@pytest.mark.parametrize("seed", ["abc", "-1", "0x1ffffffffffffffff"])
def test_a_bad_seed_is_refused(seed: str) -> None:
    with pytest.raises(ConfigError, match="64 bits"):
        frames.parse_seed(seed)
