"""The only translation from a FloodgateError to gRPC: unary calls end with it, stream answers carry it.

Details follow google.rpc: BadRequest for INVALID_ARGUMENT, RetryInfo for RESOURCE_EXHAUSTED and UNAVAILABLE,
RequestInfo with the request id on all. What is INTERNAL says a fixed text; the detail goes to the log only.
"""

from __future__ import annotations

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from floodgate.errors import (
    Cancelled,
    ContentError,
    DeadlineExceeded,
    FloodgateError,
    InternalError,
    InvalidRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    StartupError,
    Unavailable,
)

STATUS_OF: dict[type[FloodgateError], grpc.StatusCode] = {
    InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    Cancelled: grpc.StatusCode.CANCELLED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    InternalError: grpc.StatusCode.INTERNAL,
    # These never reach a caller: content errors become part states, start-up errors end the process. Should one
    # slip through it is a defect here.
    ContentError: grpc.StatusCode.INTERNAL,
    StartupError: grpc.StatusCode.INTERNAL,
}

INTERNAL_TEXT = "internal error"
# A unary error travels in trailers, twice, and gRPC refuses trailers of more than 16 KiB: what a caller wrote is quoted
# up to here.
_LONGEST_MESSAGE_BYTES = 1024
_LONGEST_FIELD_BYTES = 256
_LONGEST_ID_BYTES = 128
UNAVAILABLE_RETRY_MS = 1000


def status_code(error: BaseException) -> grpc.StatusCode:
    """The gRPC code for an error; INTERNAL for anything that is no FloodgateError."""
    for cls in type(error).__mro__:
        if cls in STATUS_OF:
            return STATUS_OF[cls]
    return grpc.StatusCode.INTERNAL


def to_status(error: BaseException, request_id: str) -> status_pb2.Status:
    """google.rpc.Status with details. ``request_id`` may be empty when it is not known."""
    code = status_code(error)
    details: list[Message] = []
    if code is grpc.StatusCode.INTERNAL or not isinstance(error, FloodgateError):
        message = _clipped(INTERNAL_TEXT + (f" (request {request_id})" if request_id else ""), _LONGEST_MESSAGE_BYTES)
    else:
        message = _clipped(error.message, _LONGEST_MESSAGE_BYTES)
    if isinstance(error, InvalidRequest):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_clipped(error.field, _LONGEST_FIELD_BYTES), description=message
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, Overloaded):
        details.append(_retry(error.retry_after_ms))
    elif isinstance(error, Unavailable):
        details.append(_retry(UNAVAILABLE_RETRY_MS))
    if request_id and len(request_id.encode()) <= _LONGEST_ID_BYTES:
        details.append(error_details_pb2.RequestInfo(request_id=request_id))
    packed = []
    for detail in details:
        box = any_pb2.Any()
        box.Pack(detail)
        packed.append(box)
    number = code_pb2.Code.Value(code.name)
    return status_pb2.Status(code=number, message=message, details=packed)


def _clipped(text: str, limit_bytes: int) -> str:
    encoded = text.encode()
    if len(encoded) <= limit_bytes:
        return text
    return encoded[:limit_bytes].decode(errors="ignore") + "…"


def _retry(delay_ms: int) -> error_details_pb2.RetryInfo:
    delay = duration_pb2.Duration()
    delay.FromMilliseconds(delay_ms)
    return error_details_pb2.RetryInfo(retry_delay=delay)


def from_status(status: status_pb2.Status) -> FloodgateError:
    """The error that a client raises for a status; the inverse of ``to_status`` as far as the details allow."""
    retry_ms = 0
    field = ""
    for detail in status.details:
        retry = error_details_pb2.RetryInfo()
        bad = error_details_pb2.BadRequest()
        if detail.Is(retry.DESCRIPTOR) and detail.Unpack(retry):
            retry_ms = retry.retry_delay.ToMilliseconds()
        elif detail.Is(bad.DESCRIPTOR) and detail.Unpack(bad) and bad.field_violations:
            field = bad.field_violations[0].field
    name = code_pb2.Code.Name(status.code)
    if name == "INVALID_ARGUMENT":
        return InvalidRequest(status.message, field=field)
    if name == "RESOURCE_EXHAUSTED":
        return Overloaded(status.message, retry_after_ms=retry_ms)
    for cls, code in STATUS_OF.items():
        if code.name == name and cls not in (ContentError, StartupError):
            return cls(status.message)
    return InternalError(f"{name}: {status.message}")
