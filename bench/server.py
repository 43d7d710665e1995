"""A whole Floodgate server in a process of its own, for benchmarks and end-to-end tests to talk to."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.processes import descendants, exact_cpu_s, program, thread_cpu_s
from bench.report import ROOT


@dataclass(frozen=True)
class Server:
    """``target`` is HOST:PORT of the gRPC service, ``metrics_url`` that of the metrics; ``pid`` the Floodgate process,
    Triton being below it; ``decision_log`` its record file; ``process`` for whoever wants to signal it."""

    target: str
    metrics_url: str
    pid: int
    decision_log: Path
    process: subprocess.Popen[str]


@contextmanager
def serving(settings: Mapping[str, str] | None = None, *arguments: str) -> Iterator[Server]:
    """Starts ``floodgate serve`` on a free port with extra FLOODGATE_* settings and arguments; SIGTERM ends it."""
    with tempfile.TemporaryDirectory(prefix="floodgate-bench-") as scratch:
        log = Path(scratch) / "decisions.jsonl"
        environment = {
            **os.environ,
            "FLOODGATE_ADDRESS": "127.0.0.1:0",
            "FLOODGATE_METRICS_ADDRESS": "127.0.0.1:0",
            "FLOODGATE_DECISION_LOG": str(log),
            **(settings or {}),
        }
        command = [str(Path(sys.executable).with_name("floodgate")), "serve", *arguments]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        try:
            target, metrics_url = _wait_until_serving(process)
            # Whoever reads no further must not block the server on a full pipe.
            threading.Thread(target=lambda: [None for _ in process.stdout or ()], daemon=True).start()
            yield Server(target, metrics_url, process.pid, log, process)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def spent_s(pid: int) -> dict[str, float]:
    """CPU seconds so far of a server and what is below it, by who spent them."""
    core = {name: thread_cpu_s(pid, name) for name in ("fg-decode", "fg-dispatch")}
    below = [(program(each), exact_cpu_s(each)) for each in descendants(pid)]
    return {
        "gRPC+Python": exact_cpu_s(pid) - sum(core.values()),
        "scheduler": core["fg-dispatch"],
        "decode threads": core["fg-decode"],
        "decode workers": sum(cpu_s for name, cpu_s in below if name.endswith("decoder")),
        "Triton": sum(cpu_s for name, cpu_s in below if not name.endswith("decoder")),
    }


def _wait_until_serving(process: subprocess.Popen[str]) -> tuple[str, str]:
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        found = re.search(r"serving \S+ on ([\d.:]+); metrics at (\S+)", line)
        if found:
            return found.group(1), found.group(2)
    raise RuntimeError("the server did not start:\n" + "".join(said))
