"""The stub says what the compiled module is: names, signatures, defaults."""

from __future__ import annotations

import subprocess
import sys


def test_the_stub_matches_the_module() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "floodgate._core"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
