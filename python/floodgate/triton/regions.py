"""The client's memory as the server knows it: which regions are registered, under which names.

A registration name carries the process epoch and a counter and is never used twice, so a late answer of an
old process can never be taken for one about today's memory. Regions are registered when first met.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import fcntl
import logging
import mmap
import os
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from floodgate.triton.answers import is_answer
from floodgate.types import TensorRef

log = logging.getLogger(__name__)

_PROBE_BYTES = 4096
_ANCHOR_PREFIX = "/floodgate_anchor_"


class RegionRegistry:
    """Registrations with one server process. Thread rule: one event loop."""

    def __init__(self, client: InferenceServerClient, epoch: int) -> None:
        self._client = client
        self._stem = f"floodgate_{os.getpid()}_{secrets.token_hex(4)}_{epoch}"
        self._names: dict[str | bytes, asyncio.Task[str]] = {}  # by POSIX key or CUDA handle
        self._count = 0
        self._cuda_refused = False

    async def name_of(self, tensor: TensorRef) -> str:
        """The server's name for the region that ``tensor`` lies in: POSIX shared memory or, by its handle, CUDA memory.

        Raises InferenceServerException when the server refuses it; the next call then tries again.
        """
        if tensor.kind == "cuda" and not self._cuda_refused:
            try:
                return await self._name_of(tensor.handle, lambda name: self._register_cuda(name, tensor))
            except InferenceServerException as error:
                if not is_answer(error):
                    raise
                # What lies on the device lies on the host as well.
                self._cuda_refused = True
                log.warning("Triton reads batches from host memory, for it takes no CUDA memory: %s", error)
        return await self.name_of_system(tensor.region, tensor.region_bytes)

    async def _register_cuda(self, name: str, tensor: TensorRef) -> None:
        # tritonclient wants base64 of what travels raw in the request.
        handle = base64.b64encode(tensor.handle)
        await self._client.register_cuda_shared_memory(name, handle, tensor.device, tensor.region_bytes)

    async def name_of_system(self, region: str, size_bytes: int) -> str:
        """Likewise for the POSIX region ``region`` ("/…"), which is ``size_bytes`` long."""
        return await self._name_of(
            region, lambda name: self._client.register_system_shared_memory(name, region, size_bytes)
        )

    async def _name_of(self, region: str | bytes, register: Callable[[str], Awaitable[None]]) -> str:
        task = self._names.get(region)
        if task is None:
            self._count += 1
            name = f"{self._stem}_{self._count}"
            task = self._names[region] = asyncio.create_task(_named(name, register))
        try:
            # Shielded: batches that wait for the same registration must not cancel each other's.
            return await asyncio.shield(task)
        except InferenceServerException:
            if self._names.get(region) is task:
                del self._names[region]
            raise

    def forget(self, name: str) -> None:
        """The server does not know ``name`` any more: its region is registered anew, under another name, when it is
        next met."""
        for region, task in self._names.items():
            if task.done() and not task.cancelled() and task.exception() is None and task.result() == name:
                del self._names[region]
                return


async def _named(name: str, register: Callable[[str], Awaitable[None]]) -> str:
    await register(name)
    return name


class AnchorRegion:
    """A small region of our own. Registering it shows that the server accepts shared memory; finding it
    missing later proves that the server process is another one, because only a new process forgets
    registrations. Locked while it is in use, so that ``sweep_anchors`` can tell a dead server's."""

    def __init__(self) -> None:
        self.key = f"{_ANCHOR_PREFIX}{os.getpid()}_{secrets.token_hex(6)}"
        self._descriptor = os.open(_path(self.key), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(self._descriptor, _PROBE_BYTES)
        self.name = ""

    async def register(self, client: InferenceServerClient, registry: RegionRegistry) -> None:
        """Raises InferenceServerException when the server takes no shared memory of ours."""
        self.name = await registry.name_of_system(self.key, _PROBE_BYTES)

    async def known_to(self, client: InferenceServerClient) -> bool:
        """Whether the server that answers now is the one the anchor was registered with."""
        status = await client.get_system_shared_memory_status(client_timeout=2.0)
        return self.name in status.regions

    def remove(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            _path(self.key).unlink()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def sweep_anchors() -> None:
    """Removes the anchors of servers that died without doing so: their process is gone and their lock is free."""
    for path in _path("/").glob(f"{_ANCHOR_PREFIX[1:]}*"):
        pid = path.name[len(_ANCHOR_PREFIX) - 1 :].partition("_")[0]
        if Path(f"/proc/{pid}").exists():
            continue
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(descriptor)


def read_region(region: str, offset: int, size_bytes: int) -> bytes:
    """A copy of ``size_bytes`` at ``offset`` of a POSIX region, for servers that cannot map it.

    Raises OSError when there is no such region and ValueError when it is too short.
    """
    with _path(region).open("rb") as stream:
        length = os.fstat(stream.fileno()).st_size
        if offset < 0 or offset + size_bytes > length:
            raise ValueError(f"region {region} has {length} bytes, not {offset} + {size_bytes}")
        if size_bytes == 0:
            return b""
        with mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as view:
            return view[offset : offset + size_bytes]


def _path(region: str) -> Path:
    return Path("/dev/shm") / region.removeprefix("/")
