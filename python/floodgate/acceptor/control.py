"""What the scheduler's process and an acceptor tell one another beside the parts: JSON, one line a message.

    scheduler's process -> acceptor    {"handover": …} first; {"policies": …}, {"reopen": true}, {"counts": true},
                                       {"drain": true}
    acceptor -> scheduler's process    {"serving": true} once, {"counts": …} for each one asked for

Python objects travel in one direction only, from the scheduler's process, as pickles inside a line: an acceptor parses
what strangers send, so nothing that it says is unpickled.
"""

from __future__ import annotations

import asyncio
import base64
import copyreg
import io
import json
import pickle
import socket
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from floodgate.config import Config
from floodgate.core import CoreOptions
from floodgate.pipeline import Policies
from floodgate.types import EnsembleSpec

_LONGEST_LINE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Handover:
    """All that an acceptor needs to know. It reads no file of policies or models, so that one that is started again
    judges as the others do, whatever has become of the files."""

    config: Config
    core: CoreOptions
    ensembles: tuple[EnsembleSpec, ...]
    policies: Policies
    preprocessing_digest: str
    arena_bytes: int


class Control:
    """One end of the connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> Control:
        """Takes over a connected socket."""
        reader, writer = await asyncio.open_unix_connection(sock=end, limit=_LONGEST_LINE_BYTES)
        return cls(reader, writer)

    def send(self, **message: Any) -> None:
        """Never waits; nothing happens when the other end is gone."""
        if not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")

    async def receive(self) -> dict[str, Any] | None:
        """The next message; None when the other end is gone, or sends what is none."""
        try:
            line = await self._reader.readline()
            message = json.loads(line) if line.endswith(b"\n") else None
        except (OSError, ValueError, RecursionError):
            return None
        return message if isinstance(message, dict) else None

    async def close(self) -> None:
        """Ends the connection once what was sent is on its way."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


def packed(value: object) -> str:
    """``value`` for a message."""
    stream = io.BytesIO()
    pickler = pickle.Pickler(stream, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = copyreg.dispatch_table | {MappingProxyType: _reduce_proxy}
    pickler.dump(value)
    return base64.b64encode(stream.getvalue()).decode("ascii")


def unpacked(text: str) -> Any:
    """The value of a message from the scheduler's process; nobody else's may come here."""
    return pickle.loads(base64.b64decode(text))


def _reduce_proxy(proxy: MappingProxyType[Any, Any]) -> tuple[Any, tuple[dict[Any, Any]]]:
    return _proxy, (dict(proxy),)


def _proxy(mapping: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(mapping)
