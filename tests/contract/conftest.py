"""Fixtures of the contract: one stage per test, fake and real."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from stages import FakeStage, Stage, TritonStage

from floodgate.triton.install import TritonInstall, locate

STATE_DIR = Path(os.environ.get("FLOODGATE_STATE_DIR", Path(__file__).parents[2] / "var"))


@pytest.fixture(scope="session")
def triton_install() -> TritonInstall:
    found = locate(STATE_DIR)
    if found is None:
        pytest.skip(f"Triton is not installed under {STATE_DIR}; `floodgate triton install` or `make test` does it")
    return found


@pytest.fixture(
    params=[
        "fake",
        pytest.param("shm", marks=pytest.mark.triton),
        pytest.param("inline", marks=pytest.mark.triton),
    ]
)
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    made: Stage
    if request.param == "fake":
        made = FakeStage(tmp_path)
    else:
        made = TritonStage(tmp_path, request.getfixturevalue("triton_install"), request.param)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def triton_stage(triton_install: TritonInstall, tmp_path: Path) -> AsyncIterator[TritonStage]:
    made = TritonStage(tmp_path, triton_install, "shm")
    await made.open()
    yield made
    await made.close()
