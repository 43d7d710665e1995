"""A process is stopped by its number only while the number is its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.processes import freeze, thaw

_TWO_THREADS = """
import sys, threading
thread = threading.Thread(target=sys.stdin.read)
thread.start()
print(thread.native_id, flush=True)
"""


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_process_stands_still_until_it_is_thawed_and_a_thread_s_number_stops_nobody() -> None:
    process = subprocess.Popen([sys.executable, "-c", _TWO_THREADS], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        thread = int(process.stdout.readline())
        assert thread != process.pid
        with pytest.raises(ProcessLookupError):
            freeze(thread)
        assert _state(process.pid) != "T"
        freeze(process.pid)
        assert _state(process.pid) == "T"
        thaw(process.pid)
    finally:
        process.kill()
        process.communicate(timeout=10)
    with pytest.raises(ProcessLookupError):
        freeze(process.pid)
