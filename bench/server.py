"""A whole Floodgate server in a process of its own, for benchmarks to load."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.report import ROOT


@dataclass(frozen=True)
class Server:
    """``target`` is HOST:PORT of the gRPC service; ``pid`` the Floodgate process, Triton being below it."""

    target: str
    pid: int


@contextmanager
def serving(settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Starts ``floodgate serve`` on a free port with extra FLOODGATE_* settings; stops it with SIGTERM."""
    with tempfile.TemporaryDirectory(prefix="floodgate-bench-") as scratch:
        environment = {
            **os.environ,
            "FLOODGATE_ADDRESS": "127.0.0.1:0",
            "FLOODGATE_METRICS_ADDRESS": "",
            "FLOODGATE_DECISION_LOG": str(Path(scratch) / "decisions.jsonl"),
            **(settings or {}),
        }
        command = [str(Path(sys.executable).with_name("floodgate")), "serve"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        try:
            yield Server(_wait_until_serving(process), process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_serving(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        found = re.search(r"serving \S+ on ([\d.:]+)", line)
        if found:
            return found.group(1)
    raise RuntimeError("the server did not start:\n" + "".join(said))
