"""A bare ``grpc.aio`` unary echo server in a process of its own: what gRPC alone costs for a request of so many bytes
and an answer of so many. Run as ``python -m bench.echo ANSWER_BYTES``; prints its port and serves until its stdin ends.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
import uvloop

from bench.report import ROOT

METHOD = "/bench.Echo/Call"


@dataclass(frozen=True)
class Echo:
    """``target`` is HOST:PORT, ``pid`` the process."""

    target: str
    pid: int


@contextmanager
def echoing(answer_bytes: int) -> Iterator[Echo]:
    """An echo server that answers every request with ``answer_bytes`` bytes; it ends with the block."""
    command = [sys.executable, "-m", "bench.echo", str(answer_bytes)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Echo(f"127.0.0.1:{int(process.stdout.readline())}", process.pid)
        process.stdin.close()


async def _serve(answer: bytes) -> None:
    async def call(_: bytes, __: grpc.aio.ServicerContext) -> bytes:
        return answer

    service, method = METHOD.strip("/").split("/")
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)])
    handlers = {method: grpc.unary_unary_rpc_method_handler(call)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(bytes(int(sys.argv[1]))))
