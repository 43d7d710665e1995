"""What can be seen of a running server from outside: its metrics page and the processes below it."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from pathlib import Path

from bench.processes import descendants, program
from bench.server import Server


def metrics(server: Server) -> dict[str, float]:
    """All samples, by ``name{labels}``."""
    text = urllib.request.urlopen(server.metrics_url, timeout=10).read().decode()
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def total(samples: Mapping[str, float], name: str, *labels: str) -> float:
    """The sum of the samples of ``name`` whose labels contain all of ``labels`` (as ``key="value"``)."""
    return sum(
        value
        for sample, value in samples.items()
        if sample.partition("{")[0] == name and all(label in sample for label in labels)
    )


def held(server: Server) -> list[str]:
    """What a server at rest does not have, in words: buffers that are not free, bytes in the arena, tickets and items
    without an answer."""
    now = metrics(server)
    counts = {
        "buffers not free": total(now, "floodgate_core_buffers") - total(now, "floodgate_core_buffers", 'state="free"'),
        "bytes in the arena": total(now, "floodgate_core_arena_used_bytes"),
        "tickets open": total(now, "floodgate_core_open_tickets"),
        "tickets unanswered": total(now, "floodgate_core_tickets_total") - total(now, "floodgate_core_done_total"),
        "items in flight": total(now, "floodgate_in_flight_items"),
    }
    return [f"{count:.0f} {what}" for what, count in counts.items() if count]


def is_at_rest(server: Server) -> bool:
    """Whether every buffer is free, the arena empty and every accepted ticket answered."""
    return not held(server)


def triton_of(server: Server) -> int:
    """The process id of the server's own tritonserver. Raises ValueError while there is not exactly one."""
    (pid,) = [pid for pid in descendants(server.pid) if program(pid).endswith("tritonserver")]
    return pid


def triton_address(server: Server) -> str:
    """HOST:PORT of the gRPC service of the server's own tritonserver."""
    return "127.0.0.1:" + command_of(triton_of(server)).partition("--grpc-port=")[2].split()[0]


def stubs_of(pid: int, head: str) -> list[int]:
    """The model processes of a head below a process."""
    return [each for each in descendants(pid) if program(each).endswith("_stub") and f"/{head}/" in command_of(each)]


def command_of(pid: int) -> str:
    """A process's command line; "" when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
