"""MOSEC: decoding workers and one inference worker behind its Rust batcher, or one worker that does both."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from classifier import Classifier, decoder, port, setup
from mosec import Server, Worker

_SETUP = setup()


class _Bytes(Worker):
    def deserialize(self, data: bytes) -> bytes:
        return data


class Decode(_Bytes):
    def __init__(self) -> None:
        super().__init__()
        self.decode = decoder(_SETUP.decode)

    def forward(self, data: bytes) -> Any:
        return self.decode(data)


class Infer(Worker):
    def __init__(self) -> None:
        super().__init__()
        self.model = Classifier(_SETUP.batch)

    def forward(self, data: Any) -> Any:
        if _SETUP.batch == 1:
            return {"score": self.model.scores(data[None])[0]}
        return [{"score": score} for score in self.model.scores(np.stack(data))]


class DecodeAndInfer(_Bytes):
    def __init__(self) -> None:
        super().__init__()
        self.decode = decoder(_SETUP.decode)
        self.model = Classifier(_SETUP.batch)

    def forward(self, data: Any) -> Any:
        if _SETUP.batch == 1:
            return {"score": self.model.scores(self.decode(data)[None])[0]}
        return [{"score": score} for score in self.model.scores(np.stack([self.decode(each) for each in data]))]


if __name__ == "__main__":
    sys.argv = [
        sys.argv[0],
        "--address",
        "127.0.0.1",
        "--port",
        str(port()),
        "--timeout",
        "60000",
        "--log-level",
        "error",
    ]
    server = Server()
    wait_ms = max(1, round(_SETUP.wait_ms))
    if _SETUP.fast_transport:
        server.append_worker(DecodeAndInfer, num=_SETUP.workers, max_batch_size=_SETUP.batch, max_wait_time=wait_ms)
    else:
        server.append_worker(Decode, num=_SETUP.workers)
        server.append_worker(Infer, num=1, max_batch_size=_SETUP.batch, max_wait_time=wait_ms)
    server.run()
