"""Every failure Floodgate names.

    FloodgateError
    ├── ContentError            the part is UNREADABLE, the item is still judged
    │   ├── InvalidContent      cannot be read: empty, truncated, corrupt
    │   ├── UnsupportedContent  a format or feature that is not handled
    │   └── ContentTooLarge     over a content limit
    ├── InvalidRequest          INVALID_ARGUMENT
    ├── NotFound                NOT_FOUND (an unknown pinned policy revision)
    ├── PermissionDenied        PERMISSION_DENIED (the caller table forbids it)
    ├── Overloaded              RESOURCE_EXHAUSTED, with retry information
    ├── DeadlineExceeded        a degraded decision, or DEADLINE_EXCEEDED when nothing was scored
    ├── Cancelled               CANCELLED
    ├── Unavailable             UNAVAILABLE (draining, Triton down)
    │   └── BackendLost         the inference server died with this batch: its memory is free for certain
    ├── InternalError           INTERNAL (fixed text; the detail goes to the log only)
    └── StartupError            the server refuses to start; a failed reload keeps the old state
        ├── ConfigError         a configuration file, variable or flag
        ├── PolicyError         a policy or taxonomy file
        └── ModelError          a model repository, lock file or weights file

``code`` equals the core's ``floodgate::Code`` name where the core has one. ``floodgate.wire.status``
is the only place that turns these into gRPC.
"""

from __future__ import annotations


class FloodgateError(Exception):
    """Base of all. ``str(error)`` is a sentence for the person who can act on it."""

    code = "INTERNAL"

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message


class ContentError(FloodgateError):
    """The content of one part cannot be judged; ``code`` says why."""


class InvalidContent(ContentError):
    code = "INVALID_CONTENT"


class UnsupportedContent(ContentError):
    code = "UNSUPPORTED"


class ContentTooLarge(ContentError):
    code = "TOO_LARGE"


class InvalidRequest(FloodgateError):
    """The caller broke the contract. ``field`` is the request's field path when one is to blame."""

    code = "INVALID_ARGUMENT"

    def __init__(self, message: str = "", *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class NotFound(FloodgateError):
    code = "NOT_FOUND"


class PermissionDenied(FloodgateError):
    code = "PERMISSION_DENIED"


class Overloaded(FloodgateError):
    """No room now. ``retry_after_ms`` is the suggested pause, ms, >= 0."""

    code = "OVERLOADED"

    def __init__(self, message: str = "", *, retry_after_ms: int = 100) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms


class DeadlineExceeded(FloodgateError):
    code = "DEADLINE_EXCEEDED"


class Cancelled(FloodgateError):
    code = "CANCELLED"


class Unavailable(FloodgateError):
    code = "UNAVAILABLE"


class BackendLost(Unavailable):
    """The server process that had the batch is certainly gone; it reads the batch's memory no more."""


class InternalError(FloodgateError):
    code = "INTERNAL"


class StartupError(FloodgateError):
    """Something the operator wrote is wrong."""

    code = "STARTUP"


class ConfigError(StartupError):
    code = "CONFIG"


class PolicyError(StartupError):
    code = "POLICY"


class ModelError(StartupError):
    code = "MODEL"


CORE_ERRORS: dict[str, type[FloodgateError]] = {
    cls.code: cls
    for cls in (
        InvalidContent,
        UnsupportedContent,
        ContentTooLarge,
        InvalidRequest,
        Overloaded,
        DeadlineExceeded,
        Cancelled,
        Unavailable,
        InternalError,
    )
}
"""The core's code name -> the exception that stands for it (``floodgate::code_name`` in status.h)."""
