"""The stub says what the compiled module is: its names, and what each class has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# pybind11 gives every class a metaclass of its own, and every class without a constructor object's __init__.
ALLOWED = r"""
floodgate\._core\.[A-Z]\w+
floodgate\._core\.(MediaInfo|TensorRef|Batch|RowScores|DoneRow|Done)\.__init__
"""


def test_the_stub_matches_the_module(tmp_path: Path) -> None:
    allowed = tmp_path / "allowed.txt"
    allowed.write_text(ALLOWED)
    result = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "floodgate._core", "--allowlist", str(allowed)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
