"""The server's own threads go before other work, where the system allows it.

A deadline is kept by whoever gets a processor when it comes. On saturated cores the event loop, which wakes for a
moment a thousand times a second, waits for neighbours that never sleep: Triton, decode workers, other programs. So its
threads ask for a higher priority. All that may hold the interpreter's lock are among them, or the loop would wait for
one that waits for a processor; those that decode are not. A Python thread that starts later joins them (``join``). The
event loop itself goes before the others: most of what wakes them is its own doing, and it would be interrupted each
time, and its caches with it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import RestrictedRegistry

NICENESS = -10
LOOP_NICENESS = -20
_DECODE_THREAD = "fg-decode"


def go_first() -> bool:
    """Raises the priority of the threads that this process has now but for those that decode (setpriority(2) takes
    threads on Linux). Processes and threads that they start later have the usual one until they join. False: not
    allowed (CAP_SYS_NICE, RLIMIT_NICE), and nothing was changed. REQUIRES: called on the main thread."""
    main = threading.get_native_id()
    if _goes_first(main):
        return True  # whoever started this process has seen to it
    try:
        os.setpriority(os.PRIO_PROCESS, main, NICENESS)
    except PermissionError:
        return False
    for thread in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # it has ended
            if (thread / "comm").read_text().strip() != _DECODE_THREAD:
                _raise(int(thread.name), NICENESS)
    with suppress(PermissionError):  # RLIMIT_NICE may allow less
        _raise(main, LOOP_NICENESS)
    return True


def join() -> None:
    """Raises the calling thread's priority if ``go_first`` has raised the main thread's: for Python threads that
    start after it."""
    own = threading.get_native_id()
    if _goes_first(os.getpid()) and not _goes_first(own):
        with suppress(PermissionError):  # the process may have given the right up since
            _raise(own, NICENESS)


def executor() -> ThreadPoolExecutor:
    """For what the event loop has threads do (``asyncio.to_thread``): as many as asyncio's own, and they join."""
    return ThreadPoolExecutor(thread_name_prefix="asyncio", initializer=join)


class JoiningRegistry(CollectorRegistry):
    """``registry``, collected by threads that join first: every scrape has a new one."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        join()
        return self._registry.collect()

    def restricted_registry(self, names: Iterable[str]) -> RestrictedRegistry:
        join()
        return self._registry.restricted_registry(names)


def _goes_first(thread: int) -> bool:
    return os.getpriority(os.PRIO_PROCESS, thread) <= NICENESS


def _raise(thread: int, niceness: int) -> None:
    os.sched_setscheduler(thread, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
    os.setpriority(os.PRIO_PROCESS, thread, niceness)
