"""A place for an acceptor is never left empty, whatever the process in it says; and it runs our code only."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from prometheus_client import CollectorRegistry

from floodgate.acceptor.control import Control, Handover
from floodgate.acceptor.counts import Counts
from floodgate.acceptor.fleet import Fleet
from floodgate.config import Config

F = TypeVar("F", bound=Fleet)
SAY = """
import os, sys
os.write(int(sys.argv[1]), b'{"serving": true}\\n')
left = sys.argv[2].encode().replace(b"DEEP", b"[" * 200_000) + b"\\n"
while left:
    left = left[os.write(int(sys.argv[1]), left):]
os.read(int(sys.argv[1]), 1 << 20)
sys.stdin.read()
"""
"""Writes what an acceptor would not, waits for what it is told, and stays, if it is let."""


class Hub:
    """What a fleet asks the scheduler's end of the links."""

    def attach(self, number: int, descriptor: int) -> None:
        os.close(descriptor)

    def detach(self, number: int) -> None:
        pass

    def states(self) -> list[dict[str, object]]:
        return [{"reason": "", "held": 0, "connected": True, "submitted": 0}]


def kept(kind: type[F]) -> F:
    """A fleet of one, in front of no scheduler."""
    core: Any = SimpleNamespace(acceptors=Hub(), acceptor_arena=lambda number: (os.memfd_create("arena"), 0))
    nothing: Any = None
    config = Config(address="127.0.0.1:0", acceptors=1, drain_s=0.1)
    return kind(core, Handover(config, nothing, (), nothing, "", 0))


class Babbling(Fleet):
    """One whose processes say ``line`` and stay, or end at once."""

    line = ""
    stays = True

    def __init__(self, core: Any, handover: Handover) -> None:
        super().__init__(core, handover)
        self.started = asyncio.Semaphore(0)

    def _spawn(self, number: int) -> tuple[subprocess.Popen[bytes], socket.socket, socket.socket]:
        self.started.release()
        control, theirs = socket.socketpair()
        link, _ = socket.socketpair()
        with closing(theirs):
            command = [sys.executable, "-I", "-c", SAY, str(theirs.fileno()), self.line]
            stdin = subprocess.PIPE if self.stays else subprocess.DEVNULL
            return subprocess.Popen(command, stdin=stdin, pass_fds=(theirs.fileno(),)), link, control


async def until_started(fleet: Babbling, times: int) -> None:
    async with asyncio.timeout(60.0):
        for _ in range(times):
            await fleet.started.acquire()


@pytest.mark.parametrize(
    "counts",
    [
        '{"families": [], "log": {"written": Infinity}, "core": {}}',
        '{"families": [], "log": [], "core": {}}',
        '{"families": [["a", "", "counter", [["a_total", [], 1]]]], "log": {}, "core": {}}',
        '{"families": DEEP',
        "3",
    ],
)
async def test_nonsense_does_not_keep_an_acceptor_from_being_started_again(counts: str) -> None:
    fleet = kept(Babbling)
    fleet.line, fleet.stays = f'{{"counts": {counts}}}', False
    async with fleet.running():
        await until_started(fleet, 2)


async def test_what_nobody_foresaw_ends_the_life_of_one_acceptor_only(caplog: pytest.LogCaptureFixture) -> None:
    class Unforeseen(Counts):
        def take(self, process: int, latest: object) -> None:
            raise RuntimeError("nobody foresaw this")

    fleet = kept(Babbling)
    fleet.line, fleet.counts = '{"counts": {}}', Unforeseen(CollectorRegistry())
    async with fleet.running():
        # Its processes would stay: each is ended, because nothing that it says is heard any more.
        await until_started(fleet, 2)
    assert "nobody foresaw this" in caplog.text


async def test_an_acceptor_imports_nothing_from_the_folder_it_runs_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("floodgate", "uvloop", "asyncio"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('not the one that was meant')")
    monkeypatch.chdir(tmp_path)
    process, link, control_end = kept(Fleet)._spawn(0)
    with closing(link):
        control = await Control.over(control_end)
        await control.close()  # before it was handed anything
        assert await asyncio.to_thread(process.wait, 60) == 0
