"""How the load reaches each peer: one picture goes out, its score comes back.

HTTP/1.1 connections are kept and used for one request at a time, as many as are needed; a small parser of our own keeps
the generator light.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Callable, Sequence
from typing import Protocol, cast

import grpc

from floodgate.client import build_request
from floodgate.v1 import moderation_pb2 as pb

_METHOD = "/floodgate.v1.Moderation/Moderate"


class Refused(Exception):
    """The server answered, but with no score."""


class Wire(Protocol):
    """``send`` posts picture ``which`` and returns its score; Refused, OSError or EOFError when it gets none."""

    async def send(self, which: int, budget_ms: float | None = None) -> float: ...

    async def close(self) -> None: ...


class _Exchange(asyncio.Protocol):
    """One connection, one exchange at a time. ``is_whole`` says where an answer ends: the size of it, 0 if not yet."""

    def __init__(self, size_of: Callable[[bytearray], int]) -> None:
        self._size_of = size_of
        self._got = bytearray()
        self._answer: asyncio.Future[bytes] | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self._got += data
        size = self._size_of(self._got)
        if size and self._answer is not None and not self._answer.done():
            self._answer.set_result(bytes(self._got[:size]))
            self._got.clear()

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(EOFError("the server closed the connection"))

    async def exchange(self, request: Sequence[bytes]) -> bytes:
        if self.transport is None:
            raise EOFError("the connection is closed")
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.writelines(request)
        return await self._answer


def _http_size(got: bytearray) -> int:
    end = got.find(b"\r\n\r\n")
    if end < 0:
        return 0
    head = bytes(got[:end]).lower()
    _, found, rest = head.partition(b"\r\ncontent-length:")
    if found:
        size = end + 4 + int(rest.partition(b"\r\n")[0])
        return size if len(got) >= size else 0
    return len(got) if got.endswith(b"\r\n0\r\n\r\n") else 0  # chunked


class _Pool:
    """Connections of which each is with one request at a time."""

    def __init__(self, port: int, size_of: Callable[[bytearray], int]) -> None:
        self._port = port
        self._size_of = size_of
        self._all: set[_Exchange] = set()
        self._idle: list[_Exchange] = []

    async def exchange(self, request: Sequence[bytes]) -> bytes:
        connection = None
        while self._idle and connection is None:
            candidate = self._idle.pop()
            connection = candidate if candidate.transport is not None else None
        if connection is None:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(lambda: _Exchange(self._size_of), "127.0.0.1", self._port)
            self._all.add(connection)
        try:
            answer = await connection.exchange(request)
        except BaseException:
            if connection.transport is not None:
                connection.transport.abort()
            self._all.discard(connection)
            raise
        self._idle.append(connection)
        return answer

    async def close(self) -> None:
        for connection in self._all:
            if connection.transport is not None:
                connection.transport.abort()


class HttpWire:
    """POSTs ``bodies`` to ``path``; ``read`` takes the score from the answer's body."""

    def __init__(
        self, port: int, path: str, bodies: Sequence[bytes], headers: str, read: Callable[[bytes], float]
    ) -> None:
        self._pool = _Pool(port, _http_size)
        self._read = read
        start = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}"
        self._requests = [(f"{start}Content-Length: {len(body)}\r\n\r\n".encode(), body) for body in bodies]

    async def send(self, which: int, budget_ms: float | None = None) -> float:
        answer = await self._pool.exchange(self._requests[which])
        head, _, body = answer.partition(b"\r\n\r\n")
        if head.split(b" ", 2)[1] != b"200":
            raise Refused(head.partition(b"\r\n")[0].decode())
        if b"chunked" in head.lower():
            body = body.partition(b"\r\n")[2].partition(b"\r\n")[0]
        return self._read(body)

    async def close(self) -> None:
        await self._pool.close()


def raw_http(port: int, path: str, images: Sequence[bytes]) -> HttpWire:
    """The picture is the body; the answer is {"score": s}."""
    header = "Content-Type: application/octet-stream\r\n"
    return HttpWire(port, path, images, header, lambda body: float(json.loads(body)["score"]))


def upload_http(port: int, path: str, images: Sequence[bytes], field: str) -> HttpWire:
    """The picture is a file of a multipart form; the answer is [s]."""
    mark = "floodgate-peers"
    head = (
        f'--{mark}\r\nContent-Disposition: form-data; name="{field}"; filename="a.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    ).encode()
    bodies = [head + image + f"\r\n--{mark}--\r\n".encode() for image in images]
    header = f"Content-Type: multipart/form-data; boundary={mark}\r\n"
    return HttpWire(port, path, bodies, header, lambda body: float(json.loads(body)[0]))


def triton_http(port: int, model: str, images: Sequence[bytes]) -> HttpWire:
    """Triton's HTTP protocol with the picture as binary data behind its JSON."""
    heads = [
        json.dumps(
            {
                "inputs": [
                    {
                        "name": "encoded",
                        "shape": [len(image)],
                        "datatype": "UINT8",
                        "parameters": {"binary_data_size": len(image)},
                    }
                ],
                "outputs": [{"name": "scores", "parameters": {"binary_data": False}}],
            }
        ).encode()
        for image in images
    ]
    size = max(map(len, heads))
    bodies = [head.ljust(size) + image for head, image in zip(heads, images, strict=True)]
    header = f"Content-Type: application/octet-stream\r\nInference-Header-Content-Length: {size}\r\n"
    return HttpWire(
        port,
        f"/v2/models/{model}/infer",
        bodies,
        header,
        lambda body: float(json.loads(body)["outputs"][0]["data"][0]),
    )


class FramedWire:
    """A length and the picture; the answer is a float (``servers/triton_client.py``)."""

    def __init__(self, port: int, images: Sequence[bytes]) -> None:
        self._pool = _Pool(port, lambda got: 4 if len(got) >= 4 else 0)
        self._requests = [(struct.pack("<I", len(image)), image) for image in images]

    async def send(self, which: int, budget_ms: float | None = None) -> float:
        (score,) = struct.unpack("<f", await self._pool.exchange(self._requests[which]))
        return float(score)

    async def close(self) -> None:
        await self._pool.close()


class FloodgateWire:
    """Our own gRPC. Requests are serialised beforehand, with a budget and without."""

    def __init__(self, target: str, images: Sequence[bytes], budget_ms: float) -> None:
        options = [("grpc.max_send_message_length", -1)]
        self._channel = grpc.aio.insecure_channel(target, options=options)
        self._call = self._channel.unary_unary(_METHOD, response_deserializer=pb.ModerateResponse.FromString)
        self._requests = {
            budget: [
                build_request(
                    image=image, content_id=f"picture-{number}", request_id="peers", trace=True, budget_ms=budget
                ).SerializeToString()
                for number, image in enumerate(images)
            ]
            for budget in (None, budget_ms)
        }

    async def send(self, which: int, budget_ms: float | None = None) -> float:
        try:
            response = await self._call(self._requests[budget_ms][which])
        except grpc.RpcError as error:
            raise Refused(error.code().name) from None
        scores = response.decision.scores
        if len(scores) != 1:
            raise Refused("no score")
        return float(scores[0].score)

    async def close(self) -> None:
        await self._channel.close()
