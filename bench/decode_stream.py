"""A scheduler with one decode worker, fed pictures as fast as it takes them."""

from __future__ import annotations

import mmap
import os
import select
import time
from pathlib import Path

import numpy as np

import floodgate
from floodgate import _core

PICTURES = 60
_BATCH = 4


def decoder_program() -> str | None:
    """Path of the installed floodgate-decoder; None when there is none."""
    for folder in (Path(_core.__file__ or "").parent, *(Path(path) for path in floodgate.__path__)):
        program = folder / "bin" / "floodgate-decoder"
        if os.access(program, os.X_OK):
            return str(program)
    return None


class DecodeStream:
    def __init__(self, view_side: int, program: str) -> None:
        """``program``: the sandboxed decoder's path; "": decode on a thread. Raises Unavailable when no worker can be
        started."""
        self._scheduler = _core.Scheduler(decode_workers=1, decoder_program=program)
        view = _core.ImageView(view_side, view_side)
        outputs = [("mean__rgb", "mean", 3)]
        ensemble = _core.EnsembleConfig("image@bench", "image", [("image", view)], outputs, ["mean"], max_batch=_BATCH)
        self._scheduler.configure(1, [ensemble])
        self._next_ticket = 0

    def seconds_a_picture(self, photo: bytes, expected: bytes) -> float:
        """Wall time from the first picture's submission to the last one's answer, over their number. Raises
        RuntimeError when a row is not ``expected``."""
        before = time.perf_counter()
        for _ in range(PICTURES):
            self._next_ticket += 1
            self._scheduler.submit(self._next_ticket, ["image@bench"], photo, modality="image")
        answered = 0
        while answered < PICTURES:
            readable, _, _ = select.select([self._scheduler.fd], [], [], 60)
            if not readable:
                raise RuntimeError("the scheduler fell silent")
            for batch in self._scheduler.take_batches():
                (tensor,) = batch.tensors
                rows = self._rows(tensor)
                if rows != expected * batch.rows:
                    raise RuntimeError("a decoded row differs from the view")
                outputs = {"mean__rgb": np.zeros((batch.rows, 3), np.float32)}
                self._scheduler.complete(batch.batch_id, outputs)
            answered += len(self._scheduler.poll_done())
        return (time.perf_counter() - before) / PICTURES

    @staticmethod
    def _rows(tensor: _core.TensorRef) -> bytes:
        with (
            open("/dev/shm" + tensor.region, "rb") as region,
            mmap.mmap(region.fileno(), 0, prot=mmap.PROT_READ) as memory,
        ):
            return memory[tensor.offset : tensor.offset + tensor.bytes]
