"""Models that Triton is loading again, in the background, after their process died or somebody unloaded them; and whose
answers are not believed since.

Triton 2.51 gives a model process up that does not answer for a second (stopped, swapping, starved). Should that process
go on, it answers the batch that was given up, and Triton takes this for the answer to the next one. So once a head was
given up, whatever it says to calls that were under way is not its word on them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Coroutine, Iterable
from typing import Any

from floodgate.errors import ModelError, Unavailable

_log = logging.getLogger("floodgate.triton")


class Revivals:
    """Thread rule: one event loop."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._began_s: dict[str, float] = {}
        self._given_up: Counter[str] = Counter()

    def __contains__(self, model: str) -> bool:
        """Whether a model is being loaded again now."""
        return model in self._tasks

    def begin(self, kind: str, model: str, loading: Coroutine[Any, Any, None]) -> None:
        """Loads ``model`` (a ``kind`` of model, for the log). REQUIRES: it is not being loaded."""
        self._began_s[model] = time.monotonic()
        self._tasks[model] = asyncio.create_task(self._revive(kind, model, loading), name=f"revive-{model}")

    async def _revive(self, kind: str, model: str, loading: Coroutine[Any, Any, None]) -> None:
        try:
            await loading
            _log.info("%s %s was loaded again", kind, model)
        except (ModelError, Unavailable) as error:
            _log.warning("%s %s could not be loaded again: %s", kind, model, error)
        finally:
            self._tasks.pop(model, None)
            self._began_s.pop(model, None)

    def longest_s(self) -> float:
        """How long the oldest loading has taken by now, s; 0 when there is none. Some never end."""
        return time.monotonic() - min(self._began_s.values()) if self._began_s else 0.0

    def give_up(self, head: str) -> None:
        """The head's model process did not answer: what it says to calls under way is not believed."""
        self._given_up[head] += 1

    def trust(self, heads: Iterable[str]) -> dict[str, int]:
        """To be kept with a call, and shown to ``is_believed`` with its answer."""
        return {head: self._given_up[head] for head in heads}

    def is_believed(self, head: str, trust: dict[str, int]) -> bool:
        """Whether the head was not given up since ``trust`` was taken."""
        return self._given_up[head] == trust[head]

    def cancel(self) -> None:
        """Nobody waits for them any more."""
        for task in self._tasks.values():
            task.cancel()
