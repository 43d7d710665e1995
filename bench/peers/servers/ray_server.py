"""Ray Serve: decode in ``__call__``, ``@serve.batch`` in front of the model."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
import ray
from classifier import Classifier, decoder, port, setup
from ray import serve
from starlette.requests import Request

_SETUP = setup()


@serve.deployment(
    num_replicas=_SETUP.workers, max_ongoing_requests=4 * _SETUP.batch + 8, ray_actor_options={"num_cpus": 1}
)
class Image:
    def __init__(self) -> None:
        self.decode = decoder(_SETUP.decode)
        self.model = Classifier(_SETUP.batch)

    @serve.batch(max_batch_size=_SETUP.batch, batch_wait_timeout_s=_SETUP.wait_ms / 1000)
    async def infer(self, rows: list[Any]) -> list[float]:
        return self.model.scores(np.stack(rows))

    async def __call__(self, request: Request) -> dict[str, float]:
        pixels = self.decode(await request.body())
        return {"score": await self.infer(pixels)}


if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    ray.init(
        num_cpus=_SETUP.workers + 1,
        include_dashboard=False,
        object_store_memory=128 << 20,
        log_to_driver=False,
        logging_level="error",
        runtime_env={"env_vars": {"PYTHONPATH": here}},
    )
    serve.start(
        http_options={"host": "127.0.0.1", "port": port()},
        logging_config={"log_level": "ERROR", "enable_access_log": False},
    )
    serve.run(Image.bind())
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
