"""Floodgate: a content-moderation inference server.

The public surface is the client and the errors; everything else belongs to the server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from floodgate.errors import FloodgateError

if TYPE_CHECKING:
    from floodgate.client import AsyncClient, Client

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client", "FloodgateError", "__version__"]


def __getattr__(name: str) -> Any:
    # The clients pull in grpc, which the server's tools do not always need.
    if name in ("AsyncClient", "Client"):
        from floodgate import client

        return getattr(client, name)
    raise AttributeError(f"module 'floodgate' has no attribute {name!r}")
