"""For every test: property tests draw the same examples on every run, so that the gate says the same thing twice
(``pytest --hypothesis-profile=default`` draws new ones), and a test that fails while the machine stood still for some
seconds, as virtual machines do that are suspended or moved, runs once more. Any other failure is one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest
from hypothesis import settings

settings.register_profile("fixed", derandomize=True)
settings.load_profile("fixed")

_TICK_S = 0.25
_LAPSE_S = 5.0


class Lapses:
    """Notices when the machine stood still for ``_LAPSE_S`` or longer since the last ``forget``."""

    def __init__(self) -> None:
        self._longest_s = 0.0
        threading.Thread(target=self._watch, name="lapses", daemon=True).start()

    def _watch(self) -> None:
        then = time.monotonic()
        while True:
            time.sleep(_TICK_S)
            now = time.monotonic()
            self._longest_s = max(self._longest_s, now - then)
            then = now

    def forget(self) -> None:
        self._longest_s = 0.0

    def any(self) -> bool:
        return self._longest_s >= _LAPSE_S


LAPSES = Lapses()


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.flaky(reruns=1, condition=LAPSES.any))


def pytest_runtest_logstart() -> None:
    LAPSES.forget()
