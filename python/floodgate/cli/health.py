"""``floodgate health``: whether a server takes requests, for health checks and start-up scripts."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from floodgate.cli import settings
from floodgate.client import SERVICE, health
from floodgate.config import check_address
from floodgate.errors import ConfigError

_ANY = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
_AGAIN_S = 0.25


def command(
    target: Annotated[
        str | None, typer.Option(help="HOST:PORT of the server; default: the configured address.")
    ] = None,
    service: Annotated[str, typer.Option(help='Service to ask for; "" for a Triton.')] = SERVICE,
    wait_s: Annotated[float, typer.Option("--wait", min=0, max=86_400, help="Keep asking for so long, s.")] = 0.0,
    config: settings.ConfigOption = None,
) -> None:
    """Says SERVING, NOT_SERVING (starting, draining, or the inference server is away) or UNREACHABLE, or the
    gRPC status code of a server that says something else (NOT_FOUND: it has no such service). Exit code 0 for SERVING
    only."""
    asked = reachable(settings.read(config).address) if target is None else target
    try:
        check_address(asked, 1)
    except ValueError as error:
        where = "the configured address" if target is None else "--target"
        raise ConfigError(f"{where}: {error}") from None
    until = time.monotonic() + wait_s
    while (state := health(asked, service=service)) != "SERVING" and time.monotonic() < until:
        time.sleep(_AGAIN_S)
    print(state)
    if state != "SERVING":
        raise typer.Exit(1)


def reachable(address: str) -> str:
    """Where to call a server that listens on ``address``, from the same machine."""
    host, _, port = address.rpartition(":")
    return f"{_ANY.get(host, host)}:{port}"
