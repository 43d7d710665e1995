"""What the core refuses of whoever starts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from floodgate.cli.media import media_options
from floodgate.cli.serve import core_options
from floodgate.cli.served import served_heads
from floodgate.config import Config
from floodgate.core import Core, ensemble_config
from floodgate.cores import CoreSplit
from floodgate.errors import InvalidRequest
from floodgate.triton.ensemble import build_ensembles
from floodgate.types import Batch, BatchOutcome, EnsembleSpec


class Idle:
    """A backend that is asked for nothing; ``loaded``: the generations it was told of."""

    def __init__(self) -> None:
        self.loaded: list[int] = []

    async def load(self, generation: int, ensembles: Sequence[EnsembleSpec]) -> None:
        self.loaded.append(generation)

    async def infer(self, batch: Batch) -> BatchOutcome:
        raise AssertionError(batch)

    def ready(self) -> bool:
        return True

    async def close(self) -> None:
        pass

    def describe(self) -> Mapping[str, Any]:
        return {}


@pytest.mark.parametrize("acceptors", [0, 2])
async def test_behind_acceptors_what_is_served_is_said_once(acceptors: int) -> None:
    config = Config(acceptors=acceptors)
    ensembles = build_ensembles(served_heads(config))
    backend = Idle()
    core = Core(core_options(config, CoreSplit(2, acceptors, 1, 1), media_options(config)), backend)
    try:
        await core.configure(ensembles)
        if acceptors:
            with pytest.raises(InvalidRequest, match="another set needs another start"):
                await core.configure(ensembles)
        else:
            await core.configure(ensembles)
        assert backend.loaded == ([1] if acceptors else [1, 2])
    finally:
        await core.close()


@pytest.mark.parametrize(("cores", "triton", "shares"), [(1, "", True), (2, "", False), (1, "127.0.0.1:8001", False)])
@pytest.mark.parametrize("device", ["cpu", "cpu gpu", "gpu:0", ""])
def test_only_what_runs_here_on_the_cpu_alone_can_share_cores_with_decoding(
    device: str, cores: int, triton: str, *, shares: bool
) -> None:
    config = Config.model_validate({"triton": {"address": triton}})
    options = core_options(config, CoreSplit(cores, 0, 1, 1), media_options(config))
    for spec in build_ensembles(served_heads(config)):
        compiled = ensemble_config(replace(spec, device=device), options)
        assert compiled.shares_cores is (shares and device == "cpu")
