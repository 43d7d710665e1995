"""A server's whole tree of processes: its CPU time, its memory, its end.

Members are what is below the first process and what carries its mark in the environment, so that a process which left
its parent is still counted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from bench.processes import descendants

MARK = "PEER_MARK"
_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")


class Tree:
    """``pid`` is the first process, started with ``MARK=mark`` in its environment."""

    def __init__(self, pid: int, mark: str) -> None:
        self.pid = pid
        self._mark = f"{MARK}={mark}".encode()

    def members(self) -> set[int]:
        """Process ids, alive now."""
        found = {self.pid, *descendants(self.pid)}
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if self._mark in environ.read_bytes().split(b"\0"):
                    found.add(int(environ.parent.name))
        return found

    def cpu_s(self) -> float:
        """CPU seconds, user and system, of all members and of their children that ended."""
        total = 0
        for pid in self.members():
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
                total += sum(int(field) for field in stat[stat.rindex(")") + 2 :].split()[11:15])
        return total * _TICK_S

    def memory_bytes(self) -> int:
        """Proportional set sizes together: pages that several share count once."""
        total = 0
        for pid in self.members():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
        return total

    def cpu_by_program_s(self) -> dict[str, float]:
        """CPU seconds by the thread's name, over all members alive; what ended is not in it."""
        spent: dict[str, float] = {}
        for pid in self.members():
            with contextlib.suppress(OSError):
                program = Path(f"/proc/{pid}/comm").read_text().strip()
                for task in Path(f"/proc/{pid}/task").iterdir():
                    stat = (task / "stat").read_text(errors="replace")
                    name = stat[stat.index("(") + 1 : stat.rindex(")")]
                    fields = stat[stat.rindex(")") + 2 :].split()
                    key = f"{program}/{name}"
                    spent[key] = spent.get(key, 0.0) + (int(fields[11]) + int(fields[12])) * _TICK_S
        return spent

    def end(self, patience_s: float = 15.0) -> None:
        """SIGTERM to the first process, SIGKILL to whoever is left after ``patience_s``."""
        members = self.members()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        until = time.monotonic() + patience_s
        while time.monotonic() < until and any(_is_alive(pid) for pid in members | self._marked()):
            time.sleep(0.1)
        for pid in members | self._marked():
            if _is_alive(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _marked(self) -> set[int]:
        return self.members() - {self.pid}


def _is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return stat[stat.rindex(")") + 2] not in "ZX"
