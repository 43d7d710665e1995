"""The server's threads ask to go first, in a process of their own, since whoever has gone first cannot be put back."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

_PROGRAM = """
import json, os, subprocess, sys, threading
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.registry import Collector
import asyncio, urllib.request
from floodgate.acceptor.front import settle
from floodgate.acceptor.urgency import JoiningRegistry, go_first

over = threading.Event()
other, decoding = (threading.Thread(target=over.wait) for _ in range(2))
other.start(), decoding.start()
with open(f"/proc/self/task/{decoding.native_id}/comm", "w") as name:
    name.write("fg-decode")
before = os.getpriority(os.PRIO_PROCESS, 0)
allowed = go_first()
child = subprocess.run([sys.executable, "-c", "import os; print(os.nice(0))"], capture_output=True, text=True)
levels = {name: os.getpriority(os.PRIO_PROCESS, thread.native_id)
          for name, thread in (("main", threading.main_thread()), ("other", other), ("decoding", decoding))}
over.set()

def own_level():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

class Scraped(Collector):
    def describe(self):
        return ()
    def collect(self):
        levels.setdefault("scraping", own_level())
        return ()

async def later():
    settle(first=True)
    levels["working"] = await asyncio.to_thread(own_level)

asyncio.run(later())
registry = CollectorRegistry()
registry.register(Scraped())
server, _ = start_http_server(0, addr="127.0.0.1", registry=JoiningRegistry(registry))
urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics").read()
levels["plain"] = []
plain = threading.Thread(target=lambda: levels["plain"].append(own_level()))
plain.start(), plain.join()
levels["plain"] = levels["plain"][0]
print(json.dumps({"allowed": allowed, "before": before, "child": int(child.stdout), **levels}))
"""


@pytest.fixture(scope="module")
def levels() -> dict[str, int]:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    found: dict[str, int] = json.loads(done.stdout)
    if found["before"] < 0:
        pytest.skip("this process goes first already")
    return found


def test_the_event_loop_goes_first_then_all_threads_but_those_that_decode_where_allowed(levels: dict[str, int]) -> None:
    before = levels["before"]
    assert (levels["main"], levels["other"]) == ((-20, -10) if levels["allowed"] else (before, before))
    assert levels["decoding"] == levels["before"]


def test_what_is_started_later_has_the_usual_priority(levels: dict[str, int]) -> None:
    assert levels["child"] == (0 if levels["allowed"] else levels["before"])


def test_python_threads_that_start_later_join_those_that_go_first(levels: dict[str, int]) -> None:
    """What the event loop has threads do, and each scrape: they hold the interpreter's lock too."""
    expected = -10 if levels["allowed"] else levels["before"]
    assert (levels["working"], levels["scraping"]) == (expected, expected)
    assert levels["plain"] == (0 if levels["allowed"] else levels["before"])


def test_priorities_are_left_alone_where_that_is_configured() -> None:
    program = (
        "import asyncio, os\n"
        "from floodgate.acceptor.front import settle\n"
        "before = os.getpriority(os.PRIO_PROCESS, 0)\n"
        "async def start():\n"
        "    settle(first=False)\n"
        "asyncio.run(start())\n"
        "print(os.getpriority(os.PRIO_PROCESS, 0) == before)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
