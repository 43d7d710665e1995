"""The systemd unit: systemd takes it, what it runs exists, and it gives up what it can."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from described import DEPLOY, configured, parsed

UNIT = DEPLOY / "systemd" / "floodgate.service"
WORST_EXPOSURE = 20  # of 100, by systemd's own count

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed here")


def settings(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


@needs_systemd
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """With the programs of this checkout in place of the installed ones."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/floodgate/src/.venv/bin/", f"{Path(sys.executable).parent}/"))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_the_unit_gives_up_what_it_can() -> None:
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={WORST_EXPOSURE}", UNIT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-300:]


def test_its_commands_exist_and_its_variables_are_settings() -> None:
    for line in settings("ExecStart") + settings("ExecStartPost"):
        program, *arguments = shlex.split(line)
        assert program.endswith("/floodgate")
        parsed(arguments)
    config = configured(dict(pair.split("=", 1) for line in settings("Environment") for pair in line.split()))
    assert str(config.state_dir) == f"/var/lib/{settings('StateDirectory')[0]}"
    assert str(config.decision_log.parent) == f"/var/log/{settings('LogsDirectory')[0]}"


def test_a_stop_has_time_to_drain() -> None:
    health_s, streams_s, farewell_s, triton_s = 2, 5, 2, 13
    needed_s = health_s + configured({}).drain_s + streams_s + farewell_s + triton_s
    assert int(settings("TimeoutStopSec")[0]) >= needed_s
    assert settings("KillMode") == ["mixed"]
