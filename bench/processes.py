"""Processes and threads as /proc shows them (man 5 proc): CPU time (fields 14 and 15 of ``stat``, in clock ticks), what
is below what, and stopping one."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")


def _fields(stat: Path) -> tuple[str, list[str]]:
    text = stat.read_text(encoding="utf-8", errors="replace")
    name = text[text.index("(") + 1 : text.rindex(")")]
    return name, text[text.rindex(")") + 2 :].split()


def exact_cpu_s(pid: int) -> float:
    """CPU seconds of a process, to the nanosecond (its CPU clock: clock_getcpuclockid(3)), and of its children that
    have ended and been collected, in ticks; 0 when it is gone."""
    try:
        own = time.clock_gettime((~pid << 3) | 2)
        _, fields = _fields(Path(f"/proc/{pid}/stat"))
    except OSError:
        return 0.0
    return own + (int(fields[13]) + int(fields[14])) * _TICK_S


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


def program(pid: int) -> str:
    """The first word of a process's command line; "" when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0].decode(errors="replace")
    except OSError:
        return ""


def command(pid: int) -> str:
    """A process's command line; "" when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def connections(pid: int, port: int) -> int:
    """How many TCP connections to its own ``port`` a process holds."""
    sockets = set()
    tables = (Path(f"/proc/{pid}/net/{name}").read_text(encoding="ascii") for name in ("tcp", "tcp6"))
    for line in "".join(tables).splitlines():
        fields = line.split()
        if fields[0] == "sl":  # a table's head
            continue
        if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == "01":  # TCP_ESTABLISHED
            sockets.add(f"socket:[{fields[9]}]")
    return sum(os.readlink(each) in sockets for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink())


def _status(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def freeze(pid: int) -> None:
    """Stops a process and returns once every thread of it has stopped, which the signal alone does not wait for. Raises
    TimeoutError when one does not within 5 s, ProcessLookupError when ``pid`` is no process: that of one that is gone
    may be a thread's by now, and a signal to it would stop whose thread it is."""
    if f"\nTgid:\t{pid}\n" not in _status(pid):
        raise ProcessLookupError(f"{pid} is not a process")
    os.kill(pid, signal.SIGSTOP)
    until = time.monotonic() + 5.0
    while any(_fields(task / "stat")[1][0] != "T" for task in Path(f"/proc/{pid}/task").iterdir()):
        if time.monotonic() > until:
            raise TimeoutError(f"process {pid} did not stop")
        time.sleep(0.001)


def thaw(pid: int) -> None:
    """Lets a stopped process go on, if nobody has ended it meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
