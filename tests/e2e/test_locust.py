"""Locust, as an operator runs it, against the real server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.report import ROOT
from bench.server import Server


def locust(server: Server, *options: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("locust")
    command = [str(program), "-f", "bench/locustfile.py", "--headless", "--only-summary", "--host", server.target]
    command += ["--load-s", "2", "--peak-users", "4", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "options", [("--scenario", "mixed"), ("--scenario", "mixed", "--texts")], ids=["photos", "texts"]
)
def test_mixed_lanes_end_by_themselves_without_a_failure(server: Server, options: tuple[str, ...]) -> None:
    done = locust(server, *options, "--deadline-ms", "30000")
    assert done.returncode == 0, done.stderr
    assert {"LIVE", "STANDARD", "BULK"} <= set(done.stderr.split()) | set(done.stdout.split())


def test_statuses_are_failures_by_their_names(server: Server) -> None:
    done = locust(server, "--scenario", "spike", "--deadline-ms", "11", "--budget-ms", "0.001")
    assert done.returncode == 1
    assert "DEADLINE_EXCEEDED" in done.stderr + done.stdout
