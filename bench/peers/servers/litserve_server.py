"""LitServe: decode in ``decode_request``, the framework's own batching in front of ``predict``."""

# Annotations must not become text here (no "from __future__ import annotations"): the framework reads them.
from typing import Annotated, Any

import litserve
import numpy as np
from classifier import Classifier, Pixels, decoder, port, setup
from fastapi import Body

_SETUP = setup()


class ImageApi(litserve.LitAPI):
    """The body of a request is the picture."""

    def setup(self, device: Any) -> None:
        self.decode = decoder(_SETUP.decode)
        self.model = Classifier(_SETUP.batch)

    def decode_request(self, request: Annotated[bytes, Body(media_type="application/octet-stream")]) -> Pixels:
        return self.decode(request)

    def batch(self, inputs: list[Pixels]) -> Pixels:
        return np.stack(inputs)

    def unbatch(self, output: list[float]) -> list[float]:
        return output

    def predict(self, rows: Pixels) -> Any:
        return self.model.scores(rows[None])[0] if rows.ndim == 3 else self.model.scores(rows)

    def encode_response(self, output: float) -> dict[str, float]:
        return {"score": output}


if __name__ == "__main__":
    api = ImageApi(max_batch_size=_SETUP.batch, batch_timeout=_SETUP.wait_ms / 1000 if _SETUP.batch > 1 else 0)
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=_SETUP.workers, timeout=60, fast_queue=_SETUP.fast_transport
    )
    server.run(host="127.0.0.1", port=port(), num_api_servers=1, log_level="warning", generate_client_file=False)
