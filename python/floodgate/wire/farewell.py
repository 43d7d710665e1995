"""Ends a port's connections in order, so that what arrives meanwhile fails as unavailable.

gRPC's own server shutdown answers CANCELLED to calls that reach it while it closes
(https://github.com/grpc/grpc/issues/41785), and a client must take CANCELLED for its own doing. A connection that ends
fails such a call with UNAVAILABLE, which is what it is.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
from collections.abc import Iterator
from contextlib import closing, suppress

_LOOK_EVERY_S = 0.01
_SO_ATTACH_FILTER = 26  # asm-generic/socket.h


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


_DROP_ALL = _Instruction(code=0x06)  # BPF_RET | BPF_K: of every packet keep 0 bytes


async def hang_up(port: int, patience_s: float) -> bool:
    """Lets no more connections come about on this process's TCP ``port`` and ends those there are after what was
    written to them, as TCP does (FIN); waits until their clients have let go too, ``patience_s`` at most. False: some
    have not. A client that connects meanwhile waits until the port is closed, and is refused then."""
    for listener in _sockets(port, listening=True):
        # Not shut down: gRPC would take that for an error of its own and say so.
        program = _Program(1, ctypes.pointer(_DROP_ALL))
        # Some kernels let only root do so. Connections that come about then are ended with the others.
        with suppress(PermissionError):
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(program))
    loop = asyncio.get_running_loop()
    until = loop.time() + patience_s
    # Looked at again: a connection that was being accepted shows itself only now.
    while _end_all(port):
        if loop.time() > until:
            return False
        await asyncio.sleep(_LOOK_EVERY_S)
    return True


def _end_all(port: int) -> int:
    """How many connections there are; all of them are told that nothing more comes."""
    found = 0
    for connection in _sockets(port, listening=False):
        try:
            connection.shutdown(socket.SHUT_WR)
        except OSError:  # it is gone already
            continue
        found += 1
    return found


def _sockets(port: int, *, listening: bool) -> Iterator[socket.socket]:
    """This process's sockets bound to ``port``, as duplicates that are closed after use."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                continue
            duplicate = socket.socket(fileno=os.dup(int(name)))
        except OSError:  # closed meanwhile
            continue
        with closing(duplicate):
            if duplicate.family in (socket.AF_INET, socket.AF_INET6) and duplicate.type == socket.SOCK_STREAM:
                listens = duplicate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                if duplicate.getsockname()[1] == port and bool(listens) == listening:
                    yield duplicate
