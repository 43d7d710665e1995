"""UUID version 7 (RFC 9562, section 5.7): ids that sort by the time they were made.

Layout: 48 bits of Unix milliseconds, the version, 12 bits ``rand_a``, the variant, 62 bits ``rand_b``.
Within one millisecond the 74 random bits count up by a random step (section 6.2, method 2), so the ids of
one generator strictly ascend also when the clock stands still or steps back.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable

_RANDOM_BITS = 74
_RANDOM_MASK = (1 << _RANDOM_BITS) - 1
_MAX_UNIX_MS = (1 << 48) - 1


def _system_unix_ms() -> int:
    return time.time_ns() // 1_000_000


class Uuid7Generator:
    """Thread-safe. ``clock`` gives Unix milliseconds, ``entropy(n)`` n random bytes."""

    def __init__(
        self, clock: Callable[[], int] = _system_unix_ms, entropy: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._clock = clock
        self._entropy = entropy
        self._lock = threading.Lock()
        self._unix_ms = -1
        self._random = 0

    def __call__(self) -> uuid.UUID:
        """The next id, greater than every one before it from this generator."""
        with self._lock:
            now = self._clock()
            if not 0 <= now <= _MAX_UNIX_MS:
                raise ValueError(f"the clock gave {now} ms, which does not fit a UUIDv7")
            if now > self._unix_ms:
                self._unix_ms = now
                # The top bit starts at 0: room to count before the millisecond must be moved on.
                self._random = int.from_bytes(self._entropy(10), "big") & (_RANDOM_MASK >> 1)
            else:
                self._random += 1 + int.from_bytes(self._entropy(4), "big")
                if self._random > _RANDOM_MASK:
                    self._unix_ms += 1
                    self._random = int.from_bytes(self._entropy(10), "big") & (_RANDOM_MASK >> 1)
            return _assemble(self._unix_ms, self._random)


def _assemble(unix_ms: int, random: int) -> uuid.UUID:
    rand_a, rand_b = random >> 62, random & ((1 << 62) - 1)
    return uuid.UUID(int=unix_ms << 80 | 0x7 << 76 | rand_a << 64 | 0b10 << 62 | rand_b)


def unix_ms_of(value: uuid.UUID) -> int:
    """The Unix milliseconds in a UUIDv7. Raises ValueError for any other version."""
    if value.version != 7:
        raise ValueError(f"{value} is not a UUIDv7")
    return value.int >> 80


new_decision_id = Uuid7Generator()
"""The process's own generator."""
