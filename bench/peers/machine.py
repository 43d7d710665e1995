"""What the comparison takes of the machine: a core for the load, one for the server, and the inference precision."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

_NICENESS = -8


def cores() -> tuple[int, int]:
    """(the load generator's core, the servers' core). Raises RuntimeError on a machine with one core."""
    available = sorted(_all_cores())
    if len(available) < 2:
        raise RuntimeError("the comparison needs two cores: one for the server, one for the load")
    return available[0], available[1]


@functools.cache
def _all_cores() -> frozenset[int]:
    return frozenset(os.sched_getaffinity(0))


@functools.cache
def precision() -> str:
    """ "bf16" or "f32", which Floodgate's own runner would choose here; every server is told to use it."""
    import openvino

    return "bf16" if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"


def raise_priority(pids: Iterable[int]) -> None:
    """The sessions of these processes (autogroup, by which Linux weighs first) go before their neighbours, where that
    is allowed: all of every server's tree alike, so that nothing changes inside it."""
    for pid in pids:
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/autogroup").write_text(str(_NICENESS), encoding="ascii")


@contextlib.contextmanager
def real_time() -> Iterator[None]:
    """Meanwhile this process, the load generator, goes before whatever else wants its core, where that is allowed; what
    it starts does not inherit it. The calling thread spins, so the others (gRPC's) go before it."""
    main = threading.get_native_id()
    threads = [int(task.name) for task in Path("/proc/self/task").iterdir()]
    try:
        for thread in threads:
            with contextlib.suppress(PermissionError, ProcessLookupError):
                urgency = os.sched_param(1 if thread == main else 2)
                os.sched_setscheduler(thread, os.SCHED_RR | os.SCHED_RESET_ON_FORK, urgency)
        yield
    finally:
        for thread in threads:
            with contextlib.suppress(PermissionError, ProcessLookupError):
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


def end_on_sigterm() -> None:
    """SIGTERM cancels the running task, so that the servers it started end with it. REQUIRES: a running event loop."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
