"""The reader of joblib files gives numbers and runs nothing."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from floodgate.errors import ModelError
from floodgate.models.pickled import Record, load

joblib = pytest.importorskip("joblib", reason="joblib writes the files that these tests read")


class Model:
    """Stands for a class of the file's; reading must never make one."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def __setstate__(self, state: dict[str, Any]) -> None:
        raise AssertionError("a class of the file was brought to life")


MODEL = f"{Model.__module__}.Model"


def dumped(value: Any) -> bytes:
    stream = io.BytesIO()
    joblib.dump(value, stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(7, dtype=np.int64),
        np.linspace(0, 1, 12).reshape(3, 4),
        np.asfortranarray(np.linspace(0, 1, 12).reshape(3, 4)),
        np.array([1.5, 2.5], dtype=">f8"),
        np.array(3.25),
        np.zeros((0, 3)),
        np.float32([1, 2, 3]),
    ],
    ids=["int64", "C order", "Fortran order", "big-endian", "no dimension", "empty", "float32"],
)
def test_arrays_are_read_as_joblib_wrote_them(array: np.ndarray[Any, Any]) -> None:
    record = load(dumped(Model(before="x", array=array, after=array * 2)), {MODEL})
    np.testing.assert_array_equal(record["array"], array)
    np.testing.assert_array_equal(record["after"], array * 2)
    assert record["array"].shape == array.shape


def test_instances_become_records_and_scalars_numbers() -> None:
    record = load(dumped(Model(inner=[Model(slope=np.float64(-2.5))], words={"a": 1})), {MODEL})
    assert isinstance(record, Record)
    assert record.origin == MODEL
    assert record["inner"][0]["slope"] == -2.5
    assert record["words"] == {"a": 1}
    with pytest.raises(ModelError, match="has no 'missing'"):
        record["missing"]


class Evil:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> Any:
        return self._call


@pytest.mark.parametrize(
    ("function", "arguments", "asked"),
    [
        (os.system, ("true",), "system"),
        (eval, ("1 + 1",), "builtins.eval"),
        (getattr, (str, "join"), "builtins.getattr"),
        (np.load, ("x",), "numpy"),
        (np.memmap, ("x",), "memmap"),
    ],
    ids=["os.system", "eval", "getattr", "numpy.load", "memmap"],
)
def test_a_foreign_name_is_refused_before_it_is_called(function: Any, arguments: Any, asked: str) -> None:
    with pytest.raises(ModelError, match=rf"the pickle asks for .*{asked}.*, which is not on the list"):
        load(pickle.dumps(Evil(function, *arguments)), {MODEL})


def test_a_foreign_name_inside_an_array_of_objects_is_refused(tmp_path: Path) -> None:
    mark = tmp_path / "was-run"
    with pytest.raises(ModelError):
        load(dumped(np.array([Evil(os.mkdir, str(mark))], dtype=object)), {MODEL})
    assert not mark.exists()


def test_a_class_that_was_not_expected_is_refused() -> None:
    with pytest.raises(ModelError, match=r"asks for .*\.Model"):
        load(dumped(Model()), frozenset())


def test_a_file_cut_anywhere_is_refused_with_a_sentence() -> None:
    whole = dumped(Model(array=np.arange(100.0), words={"a": 1}))
    for length in range(0, len(whole), 7):
        with pytest.raises(ModelError):
            load(whole[:length], {MODEL})


def test_a_flipped_byte_is_either_read_or_refused_and_never_anything_else() -> None:
    whole = bytearray(dumped(Model(array=np.arange(10.0), words={"a": 1})))
    for place in range(len(whole)):
        damaged = bytes(whole[:place]) + bytes([whole[place] ^ 0x15]) + bytes(whole[place + 1 :])
        with contextlib.suppress(ModelError):
            load(damaged, {MODEL})
