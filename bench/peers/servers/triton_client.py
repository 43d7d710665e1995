"""The client side of raw Triton: decodes and resizes pictures itself and sends pixels over gRPC.

In life this is the caller's own process, which has the pictures already. Here it gets them through the cheapest
protocol there is (a length and the bytes; the answer is a float), on the server's core, so that its CPU is counted as
that of the peers which decode in the server. It starts its Triton as a child. With ``fast_transport`` pixels go through
system shared memory.
"""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from classifier import CROP_PX, decoder, port, setup
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.grpc.aio import InferenceServerClient

_ROW_BYTES = CROP_PX * CROP_PX * 3
_SLOTS = 64


class Uploader:
    """One gRPC channel, a pool of decoding threads, and shared memory for as many rows as may be under way."""

    def __init__(self, address: str) -> None:
        wanted = setup()
        self._decode = decoder(wanted.decode)
        self._threads = ThreadPoolExecutor(wanted.workers)
        self._client = InferenceServerClient(address)
        self._outputs = [InferRequestedOutput("scores")]
        self._memory: shared_memory.SharedMemory | None = None
        self._free: asyncio.Queue[int] = asyncio.Queue()
        self._shared = wanted.fast_transport

    async def start(self) -> None:
        """Until Triton is ready."""
        while True:
            try:
                if await self._client.is_model_ready("nsfw"):
                    break
            except Exception:
                pass
            await asyncio.sleep(0.1)
        if self._shared:
            self._memory = shared_memory.SharedMemory(create=True, size=_SLOTS * _ROW_BYTES)
            await self._client.register_system_shared_memory("rows", f"/{self._memory.name}", _SLOTS * _ROW_BYTES)
            for slot in range(_SLOTS):
                self._free.put_nowait(slot)

    async def score(self, data: bytes) -> float:
        """The head's score of an encoded picture."""
        loop = asyncio.get_running_loop()
        image = InferInput("image", [1, CROP_PX, CROP_PX, 3], "UINT8")
        if self._memory is None:
            pixels = await loop.run_in_executor(self._threads, self._decode, data)
            image.set_data_from_numpy(pixels[None])
            return await self._infer(image)
        slot = await self._free.get()
        try:
            await loop.run_in_executor(self._threads, self._write, slot, data)
            image.set_shared_memory("rows", _ROW_BYTES, slot * _ROW_BYTES)
            return await self._infer(image)
        finally:
            self._free.put_nowait(slot)

    def _write(self, slot: int, data: bytes) -> None:
        assert self._memory is not None
        row: Any = np.frombuffer(self._memory.buf, np.uint8, _ROW_BYTES, slot * _ROW_BYTES)
        row[:] = self._decode(data).reshape(-1)

    async def _infer(self, image: InferInput) -> float:
        result = await self._client.infer("nsfw", [image], outputs=self._outputs)
        return float(result.as_numpy("scores")[0, 0])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one picture at a time."""
        try:
            while True:
                (size,) = struct.unpack("<I", await reader.readexactly(4))
                writer.write(struct.pack("<f", await self.score(await reader.readexactly(size))))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def close(self) -> None:
        if self._memory is not None:
            self._memory.unlink()


async def _main() -> None:
    environment = {**os.environ, "PEER_PORT": str(port() + 1)}
    program = str(Path(__file__).with_name("triton_server.py"))
    triton = subprocess.Popen([sys.executable, program], env=environment)  # noqa: ASYNC220
    uploader = Uploader(f"127.0.0.1:{port() + 2}")
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    try:
        await uploader.start()
        server = await asyncio.start_server(uploader.serve, "127.0.0.1", port(), limit=1 << 20)
        async with server:
            await stop.wait()
    finally:
        uploader.close()
        triton.terminate()
        triton.wait()


if __name__ == "__main__":
    uvloop.run(_main())
