"""Reading the numbers out of a joblib file without running anything that is in it.

A pickle is a program: its opcodes import names and call them. Here every name resolves to an inert
``Record`` that keeps what it was given, and only names on the caller's list resolve at all; no class of the
file's is ever imported. Arrays follow joblib's layout (>= 1.2): the pickle stops after an array's
description, then come one byte with the length of the padding, the padding, and the array's bytes in the
declared order; then the pickle goes on.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Set
from typing import Any, ClassVar

import numpy as np

from floodgate.errors import ModelError

_NUMBERS = {"f8": np.float64, "f4": np.float32, "i8": np.int64, "i4": np.int32}
_MAX_ELEMENTS = 1 << 28

_NUMPY_NAMES = frozenset(
    {
        "numpy.ndarray",
        "numpy.dtype",
        "numpy.float64",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "joblib.numpy_pickle.NumpyArrayWrapper",
    }
)


class Record:
    """An object of the pickle: the class that it claims to be of (``origin``), and its attributes."""

    origin = ""
    fields: dict[str, Any]

    def __new__(cls, *_arguments: Any) -> Record:
        record = super().__new__(cls)
        record.fields = {}
        return record

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.fields.update(state)
        else:
            self.fields["__state__"] = state

    def __getitem__(self, field: str) -> Any:
        """The attribute ``field``. Raises ModelError when the record has none of that name."""
        try:
            return self.fields[field]
        except KeyError:
            raise ModelError(f"the pickled {self.origin} has no {field!r}") from None


def load(data: bytes, classes: Set[str]) -> Any:
    """The object in a joblib file: Python literals, numpy arrays and scalars, and ``Record`` for instances.

    ``classes`` are the dotted names of the classes that may occur, beyond numpy's own. Raises ModelError for
    any other name (before anything is done with it), for dtypes other than 32- and 64-bit floats and signed
    integers, and for a damaged or truncated file.
    """
    try:
        return _RecordUnpickler(io.BytesIO(data), classes).load()
    except ModelError:
        raise
    except Exception as error:  # the opcodes of a damaged pickle can raise nearly anything
        raise ModelError(f"not a readable joblib file: {type(error).__name__}: {error}") from error


class _RecordUnpickler(pickle._Unpickler):
    # The pure-Python unpickler: the C one reads ahead and would swallow the raw bytes between the opcodes.
    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, stream: io.BytesIO, classes: Set[str]) -> None:
        super().__init__(stream)
        self._stream = stream
        self._allowed = _NUMPY_NAMES | classes
        self._made: dict[str, Any] = {}

    def find_class(self, module: str, name: str) -> Any:
        origin = f"{module}.{name}"
        if origin not in self._allowed:
            raise ModelError(f"the pickle asks for {origin}, which is not on the list of what it may hold")
        if origin == "numpy.dtype":
            return _DType
        if origin.endswith("multiarray.scalar"):
            return _scalar
        if origin not in self._made:
            self._made[origin] = type(name, (Record,), {"origin": origin})
        return self._made[origin]

    def persistent_load(self, pid: Any) -> Any:
        raise ModelError(f"the pickle refers to something outside itself: {pid!r}")

    def get_extension(self, code: int) -> None:
        raise ModelError(f"the pickle uses extension code {code}")

    def load_build(self) -> None:
        pickle._Unpickler.load_build(self)  # type: ignore[attr-defined]
        made = self.stack[-1]  # type: ignore[attr-defined]
        if isinstance(made, Record) and made.origin == "joblib.numpy_pickle.NumpyArrayWrapper":
            self.stack[-1] = self._read_array(made)  # type: ignore[attr-defined]

    dispatch[pickle.BUILD[0]] = load_build

    def _read_array(self, description: Record) -> np.ndarray[Any, Any]:
        shape = description["shape"]
        dtype = description["dtype"]
        order = description["order"]
        if not isinstance(dtype, _DType) or order not in ("C", "F"):
            raise ModelError("an array of the pickle has no usable dtype or order")
        if not all(type(side) is int and side >= 0 for side in shape):
            raise ModelError(f"an array of the pickle has the shape {shape!r}")
        count = int(np.prod(shape, dtype=object)) if shape else 1
        if count > _MAX_ELEMENTS:
            raise ModelError(f"an array of the pickle has {count} elements, more than {_MAX_ELEMENTS}")
        if description.fields.get("numpy_array_alignment_bytes") is not None:
            self._read_exactly(self._read_exactly(1)[0])
        number = dtype.number()
        array = np.frombuffer(self._read_exactly(count * number.itemsize), dtype=number)
        return array.reshape(shape, order=order).astype(number.newbyteorder("="))

    def _read_exactly(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) != size:
            raise ModelError(f"the joblib file ends early: {size} bytes expected, {len(data)} left")
        return data


class _DType:
    """Stands for ``numpy.dtype`` while the pickle is read; knows four number formats and nothing else."""

    def __init__(self, code: Any, *_flags: Any) -> None:
        if code not in _NUMBERS:
            raise ModelError(f"the pickle holds an array of {code!r}; only {', '.join(_NUMBERS)} are read")
        self._number: np.dtype[Any] = np.dtype(_NUMBERS[code])

    def __setstate__(self, state: Any) -> None:
        self._number = self._number.newbyteorder(">" if state[1] == ">" else "<")

    def number(self) -> np.dtype[Any]:
        return self._number


def _scalar(dtype: Any, data: Any) -> float | int:
    if not isinstance(dtype, _DType) or not isinstance(data, bytes):
        raise ModelError("a numpy scalar of the pickle is malformed")
    value: float | int = np.frombuffer(data, dtype=dtype.number(), count=1)[0].item()
    return value
