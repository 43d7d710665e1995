"""A real server over the real Triton, in a process of its own, shared by the tests that do not hurt it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from observed import metric

from bench.report import ROOT
from bench.server import Server, serving
from floodgate import Client

# Several servers share the cores with all other tests here, which are not to wait for them.
os.environ.setdefault("FLOODGATE_GO_FIRST", "false")


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """f32, so that scores can be held to the packages' own."""
    with serving({"FLOODGATE_PRECISION": "f32"}) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.target) as one:
        yield one


@pytest.fixture
def photo() -> bytes:
    return (ROOT / "examples" / "astronaut.jpg").read_bytes()


@pytest.fixture
def counter(server: Server) -> Callable[..., float]:
    return lambda name, **labels: metric(server, name, **labels)
