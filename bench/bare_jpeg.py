"""libjpeg-turbo by itself: a small C program around the very library that the core links, compiled when first used."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_SOURCE = Path(__file__).with_name("bare_jpeg.c")


class BareJpeg:
    """Decodes into one buffer that is kept, so that what is measured is decoding and not the memory's first touch."""

    def __init__(self, largest_bytes: int) -> None:
        """``largest_bytes``: 3 * width * height of the largest picture to come. Raises CalledProcessError when the
        compiler or the library is missing."""
        self._folder = tempfile.TemporaryDirectory()
        library = Path(self._folder.name) / "bare_jpeg.so"
        command = ["cc", "-O3", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ljpeg"]
        subprocess.run(command, check=True)
        self._decode = ctypes.CDLL(str(library)).bare_decode
        self._decode.restype = ctypes.c_ulonglong
        self._decode.argtypes = [
            ctypes.c_char_p,
            ctypes.c_ulong,
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_ulonglong,
        ]
        self._buffer = np.zeros(largest_bytes, dtype=np.uint8)

    def decode(self, data: bytes, denominator: int) -> NDArray[np.uint8]:
        """(height, width, 3) at 1/``denominator``; valid until the next call. Raises ValueError when it fails."""
        size = self._decode(data, len(data), denominator, self._buffer.ctypes.data, self._buffer.size)
        if not size:
            raise ValueError("libjpeg-turbo cannot decode the picture")
        width, height = size >> 32, size & 0xFFFFFFFF
        return self._buffer[: 3 * width * height].reshape(height, width, 3)
