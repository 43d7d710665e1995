"""Listens, and ends its connections in order."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from typing import Any

import grpc

import floodgate._core as _core
from floodgate.wire.rpc.connection import Connection

# One read takes what has arrived of a picture. The loop's library reads up to 32 times a turn from whoever sends fast,
# and everybody else waits that long, 1 to 2 ms.
_ROOM_BYTES = 128 << 10
_BACKLOG = 4096
# A client that vanished without a word is noticed after about 90 s.
_KEEP_ALIVE = {socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 3}
_WILDCARDS = ("0.0.0.0", "::", "")


class RpcServer:
    """``message_bytes``: the longest message that is received. ``receiving_bytes``: of all that was received and no
    handler has taken yet, together; what comes beyond is refused, but a call's first 64 KiB never. ``share_port``:
    other processes may listen there too; the kernel deals connections out among them. Thread rule: the event loop."""

    def __init__(self, *, message_bytes: int, receiving_bytes: int, share_port: bool = False) -> None:
        self._message_bytes = message_bytes
        self._budget = _core.RpcBudget(receiving_bytes)
        self._share_port = share_port
        self._methods: dict[str, grpc.RpcMethodHandler] = {}
        self._room = bytearray(_ROOM_BYTES)
        self._listeners: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        self._alone = asyncio.Event()
        self._alone.set()

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, grpc.RpcMethodHandler]
    ) -> None:
        """Serves ``method_handlers``, by method name, under ``service_name``; named as generated code calls it."""
        for name, handler in method_handlers.items():
            self._methods[f"/{service_name}/{name}"] = handler

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Any) -> None:
        """Generated code gives its handlers both ways; the other one says their names."""

    async def listen(self, address: str) -> int:
        """Listens on ``HOST:PORT`` or ``[IPv6]:PORT``; the port, which of 0 is any that is free. A wildcard host means
        every address, of both families. Raises OSError."""
        loop = asyncio.get_running_loop()
        host, _, text = address.rpartition(":")
        port = int(text)
        for family, found in await _resolved(host.removeprefix("[").removesuffix("]"), port):
            listener = self._bound(family, (found[0], port, *found[2:]))
            port = listener.getsockname()[1]
            self._listeners.append(await loop.create_server(self._connection, sock=listener, backlog=_BACKLOG))
        return port

    async def hang_up(self, patience_s: float) -> bool:
        """Lets no more connections come about and ends those there are after what was written to them; waits until
        their clients have let go too, ``patience_s`` at most. False: some have not, and were cut off."""
        for listener in self._listeners:
            listener.close()
        for connection in list(self._connections):
            connection.hang_up()
        try:
            await asyncio.wait_for(self._alone.wait(), patience_s)
        except TimeoutError:
            for connection in list(self._connections):
                connection.abort()
            return False
        return True

    def _bound(self, family: int, address: tuple[Any, ...]) -> socket.socket:
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self._share_port:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                # The wildcard stands for IPv4 as well; of "localhost" each family has a socket of its own.
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address[0] != "::"))
            # Accepted connections inherit these.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _KEEP_ALIVE.items():
                listener.setsockopt(socket.IPPROTO_TCP, option, value)
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
        return listener

    def _connection(self) -> Connection:
        return Connection(self._methods, self._room, self._message_bytes, self._budget, self._opened, self._closed)

    def _opened(self, connection: Connection) -> None:
        self._connections.add(connection)
        self._alone.clear()

    def _closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._alone.set()


async def _resolved(host: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
    """The families and socket addresses of a host, each once."""
    if host in _WILDCARDS:
        return [(socket.AF_INET6, ("::", port, 0, 0)) if _has_ipv6() else (socket.AF_INET, ("0.0.0.0", port))]
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _has_ipv6() -> bool:
    return socket.has_ipv6 and os.path.exists("/proc/net/if_inet6")
