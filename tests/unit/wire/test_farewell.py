"""Ending a port's connections."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from floodgate.wire.farewell import hang_up

_SO_LOCK_FILTER = 44  # asm-generic/socket.h


@contextmanager
def connection() -> Iterator[tuple[int, socket.socket, socket.socket]]:
    """A port, and the server's and the client's end of a connection to it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.settimeout(10)
            accepted, _ = listener.accept()
            with accepted:
                yield port, accepted, client


async def test_what_was_written_arrives_and_then_the_end() -> None:
    with connection() as (port, accepted, client):
        accepted.sendall(b"answer")
        leaving = asyncio.create_task(hang_up(port, 10))
        received = await asyncio.to_thread(client.recv, 100)
        assert (received, await asyncio.to_thread(client.recv, 100)) == (b"answer", b"")
        accepted.close()
        assert await leaving


async def test_nobody_can_connect_any_more() -> None:
    with connection() as (port, accepted, _):
        accepted.close()
        await hang_up(port, 10)
        with pytest.raises(TimeoutError):
            socket.create_connection(("127.0.0.1", port), timeout=0.3)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


async def test_clients_who_hold_on_are_not_waited_for_beyond_patience() -> None:
    with connection() as (port, *_):
        assert not await hang_up(port, 0.05)


async def test_other_connections_stay_and_no_descriptor_is_left() -> None:
    with connection() as (port, accepted, _), connection() as (_, other, client):
        before = len(os.listdir("/proc/self/fd"))
        await hang_up(port, 0.0)
        assert len(os.listdir("/proc/self/fd")) == before
        other.sendall(b"still here")
        assert client.recv(100) == b"still here"
        assert accepted.fileno() >= 0


async def test_where_the_kernel_takes_no_filter_connections_end_all_the_same() -> None:
    """Some give EPERM to all but root; a listener whose filters are locked gets it always."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, _SO_LOCK_FILTER, 1)
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = listener.accept()
            leaving = asyncio.create_task(hang_up(port, 10))
            assert await asyncio.to_thread(client.recv, 100) == b""
            accepted.close()
            assert await leaving
