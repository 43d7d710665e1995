"""A message on its way in, held by one hand at a time.

Calls may wait for seconds and messages are large. Whoever runs a handler holds what it was called with until it
returns, so every message comes in an ``Envelope``: whoever takes the bytes out holds the only reference.
"""

from __future__ import annotations

import ctypes
import logging

log = logging.getLogger(__name__)

# man 3 mallopt
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_ALLOCATOR = {_M_MMAP_THRESHOLD: 4 << 20, _M_TRIM_THRESHOLD: 64 << 20}


def keep_message_memory() -> None:
    """Has the C library keep up to 64 MiB of what messages free for those to come, instead of giving it back.

    By default a message of some 100 kB is mapped, touched page by page and given back several times on its way to the
    arena (received, parsed, taken out), which costs more than copying it. Messages over 4 MiB still are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or not all(mallopt(name, value) for name, value in _ALLOCATOR.items()):
        log.info("the C library takes no allocator settings; large messages cost more CPU")


class Envelope:
    """One message's bytes. As a handler's request deserializer it boxes what was received and parses nothing."""

    __slots__ = ("_raw", "size_bytes")

    def __init__(self, raw: bytes) -> None:
        self._raw: bytes | None = raw
        self.size_bytes = len(raw)

    def take(self) -> bytes:
        """The bytes, once; empty afterwards."""
        raw, self._raw = self._raw, None
        return raw or b""
