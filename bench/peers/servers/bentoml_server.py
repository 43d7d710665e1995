"""BentoML: a service whose batchable endpoint gets lists of uploaded pictures."""

# Annotations must not become text here (no "from __future__ import annotations"): the framework reads them.
from pathlib import Path

import bentoml
import numpy as np
from classifier import Classifier, decoder, setup

_SETUP = setup()


@bentoml.service(workers=_SETUP.workers, traffic={"timeout": 60, "max_concurrency": 4096})
class ImageService:
    """One process a worker, each with the model."""

    def __init__(self) -> None:
        self.decode = decoder(_SETUP.decode)
        self.model = Classifier(_SETUP.batch)

    @bentoml.api(batchable=True, max_batch_size=_SETUP.batch, max_latency_ms=60_000)
    def classify(self, images: list[Path]) -> list[float]:
        """Scores of uploaded files, as many as the framework put together."""
        rows = np.stack([self.decode(image.read_bytes()) for image in images])
        return self.model.scores(rows)
