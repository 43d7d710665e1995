"""What gRPC puts into HTTP/2 headers: timeouts, status, trailers, encodings
(https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md)."""

from __future__ import annotations

import zlib
from base64 import b64encode
from collections.abc import Sequence
from urllib.parse import quote_from_bytes

import grpc

ENCODINGS = "identity,deflate,gzip"

Trailers = Sequence[tuple[str, str | bytes]]

_UNIT_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_MOST_DIGITS = 8
# Of printable ASCII everything but the percent sign stands for itself.
_SAFE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class BadMessage(Exception):
    """A message that cannot be decompressed, and the status that says so."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def timeout_s(text: str) -> float | None:
    """The seconds that a ``grpc-timeout`` allows; None when it is malformed."""
    digits, unit = text[:-1], text[-1:]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS and unit in _UNIT_S):
        return None
    return int(digits) * _UNIT_S[unit]


def status_trailers(code: grpc.StatusCode, message: str = "", more: Trailers = ()) -> list[tuple[str, str]]:
    """The headers that end a call."""
    trailers = [("grpc-status", str(code.value[0]))]
    if message:
        trailers.append(("grpc-message", quote_from_bytes(message.encode(), safe=_SAFE)))
    for name, value in more:
        trailers.append((name, value if isinstance(value, str) else b64encode(value).rstrip(b"=").decode()))
    return trailers


def decompress(encoding: str, raw: bytes, most_bytes: int) -> bytes:
    """A compressed message's bytes. Raises BadMessage: an unknown encoding, damaged, or more than ``most_bytes``."""
    if encoding in ("", "identity"):
        raise BadMessage(grpc.StatusCode.INTERNAL, "a message is marked compressed, and the call names no encoding")
    if encoding not in _WINDOW_BITS:
        raise BadMessage(
            grpc.StatusCode.UNIMPLEMENTED, f"messages cannot be read in encoding {encoding!r}; known are {ENCODINGS}"
        )
    decoder = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        whole = decoder.decompress(raw, most_bytes + 1)
    except zlib.error:
        raise BadMessage(grpc.StatusCode.INTERNAL, f"a message is damaged: it is no {encoding}") from None
    if len(whole) > most_bytes:
        raise BadMessage(
            grpc.StatusCode.RESOURCE_EXHAUSTED, f"a message is longer than {most_bytes} bytes once decompressed"
        )
    if not decoder.eof:
        raise BadMessage(grpc.StatusCode.INTERNAL, f"a message is damaged: its {encoding} ends early")
    return whole
