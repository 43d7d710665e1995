"""A server's own run-time folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from floodgate.cli.run_dir import own_run_dir
from floodgate.errors import StartupError


def test_where_nothing_can_be_written_the_setting_is_named(tmp_path: Path) -> None:
    in_the_way = tmp_path / "state"
    in_the_way.write_text("a file")
    with (
        pytest.raises(StartupError, match=rf"state_dir: cannot write to {in_the_way}/run"),
        own_run_dir(in_the_way / "run"),
    ):
        pass


def test_it_goes_when_all_is_well_and_stays_for_whoever_looks_for_the_reason(tmp_path: Path) -> None:
    with own_run_dir(tmp_path / "run") as folder:
        assert folder.is_dir()
    assert not folder.exists()
    with pytest.raises(ZeroDivisionError), own_run_dir(tmp_path / "run") as folder:
        raise ZeroDivisionError
    assert folder.is_dir()
