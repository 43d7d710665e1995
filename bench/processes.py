"""CPU time of processes and threads, read from /proc (man 5 proc: fields 14 and 15 of ``stat``, in clock ticks)."""

from __future__ import annotations

import os
from pathlib import Path

_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")


def _fields(stat: Path) -> tuple[str, list[str]]:
    text = stat.read_text(encoding="utf-8", errors="replace")
    name = text[text.index("(") + 1 : text.rindex(")")]
    return name, text[text.rindex(")") + 2 :].split()


def cpu_s(pid: int) -> float:
    """CPU seconds, user and system, that a process has used; its children are not in it."""
    _, fields = _fields(Path(f"/proc/{pid}/stat"))
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def thread_cpu_s(pid: int, prefix: str) -> float:
    """CPU seconds of those threads of a process whose names begin with ``prefix``."""
    total = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        name, fields = _fields(task / "stat")
        if name.startswith(prefix):
            total += (int(fields[11]) + int(fields[12])) * _TICK_S
    return total


def descendants(pid: int) -> list[int]:
    """Process ids below ``pid``, at any depth."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, fields = _fields(stat)
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found: list[int] = []
    queue = [pid]
    while queue:
        below = parents.get(queue.pop(), [])
        found += below
        queue += below
    return found
