"""What a test sees of a running server from outside: its metrics and its processes."""

from __future__ import annotations

import os
import time
import urllib.request
from collections.abc import Callable

from bench.server import Server


def metric(server: Server, name: str, **labels: str) -> float:
    """The sum of a metric's samples that carry ``labels``."""
    total = 0.0
    for line in urllib.request.urlopen(server.metrics_url, timeout=10).read().decode().splitlines():
        named = line.startswith((f"{name} ", f"{name}{{"))
        if named and all(f'{key}="{value}"' in line for key, value in labels.items()):
            total += float(line.rsplit(" ", 1)[1])
    return total


def until(condition: Callable[[], bool]) -> None:
    """Polls; fails after half a minute."""
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never came about")


def descendants(pid: int) -> list[int]:
    """Every process below ``pid``."""
    below = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as children:
            below += [int(child) for child in children.read().split()]
    return [*below, *(grandchild for child in below for grandchild in descendants(child))]


def assert_at_rest(server: Server) -> None:
    """Nothing is held for a request that is over."""
    until(lambda: metric(server, "floodgate_in_flight_items") == 0)
    until(lambda: metric(server, "floodgate_core_open_tickets") == 0)
    until(lambda: metric(server, "floodgate_core_arena_used_bytes") == 0)
    buffers = metric(server, "floodgate_core_buffers")
    until(lambda: metric(server, "floodgate_core_buffers", state="free") == buffers)
    assert metric(server, "floodgate_in_flight_bytes") == 0
    assert metric(server, "floodgate_core_queued_rows") == 0
    assert metric(server, "floodgate_core_ready_rows") == 0
