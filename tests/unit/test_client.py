"""What a file is sent as: its bytes decide, not its name. What a server says of its health, in words that tell apart
who is not there and who says something else."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer

from floodgate.client import SERVICE, health, looks_like_video, media_part


def box(kind: bytes, brand: bytes = b"") -> bytes:
    return b"\0\0\0\x18" + kind + brand + bytes(40)


VIDEOS = {
    "mp4": box(b"ftyp", b"isom"),
    "mov": box(b"ftyp", b"qt  "),
    "mov_of_old": box(b"moov"),
    "fragment": box(b"styp", b"msdh"),
    "matroska": b"\x1aE\xdf\xa3" + bytes(40),
    "flv": b"FLV\x01\x05" + bytes(40),
    "avi": b"RIFF\0\0\0\0AVI LIST" + bytes(40),
    "transport_stream": (b"G" + bytes(187)) * 3,
    "transport_stream_with_times": (bytes(4) + b"G" + bytes(187)) * 3,
}
PICTURES = {
    "nothing": b"",
    "jpeg": b"\xff\xd8\xff\xe0" + bytes(40),
    "png": b"\x89PNG\r\n\x1a\n" + bytes(40),
    "gif": b"GIF89a" + bytes(400),
    "webp": b"RIFF\0\0\0\0WEBPVP8 " + bytes(40),
    "heic": box(b"ftyp", b"heic"),
    "avif": box(b"ftyp", b"avif"),
    "heif_sequence": box(b"ftyp", b"msf1"),
    "one_g": b"G",
}


@pytest.mark.parametrize("name", VIDEOS)
def test_a_video_is_sent_as_a_video(name: str) -> None:
    assert looks_like_video(VIDEOS[name])
    part = media_part(VIDEOS[name], max_frames=4)
    assert (part.WhichOneof("media"), part.video.sampling.max_frames) == ("video", 4)


@pytest.mark.parametrize("name", PICTURES)
def test_everything_else_is_sent_as_a_picture(name: str) -> None:
    assert not looks_like_video(PICTURES[name])
    part = media_part(PICTURES[name])
    assert part.WhichOneof("media") == "image"
    assert not part.image.HasField("sampling")


@contextmanager
def listening(servicer: HealthServicer | None) -> Iterator[str]:
    """The address of a gRPC server that tells its health, or does not."""
    server = grpc.server(ThreadPoolExecutor(1))
    if servicer is not None:
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def test_a_server_that_answers_otherwise_is_not_called_unreachable() -> None:
    servicer = HealthServicer()
    servicer.set(SERVICE, health_pb2.HealthCheckResponse.NOT_SERVING)
    with listening(servicer) as address:
        assert health(address) == "NOT_SERVING"
        assert health(address, service="some.other.Service") == "NOT_FOUND"
    with listening(None) as address:
        assert health(address) == "UNIMPLEMENTED"


def test_who_does_not_answer_is_unreachable() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        assert health(address) == "UNREACHABLE"
        mute.listen()
        assert health(address, timeout=0.2) == "UNREACHABLE"
