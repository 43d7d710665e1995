"""The GPU path on a GPU: kernels against the reference and under compute-sanitizer, times, memory shared, an engine.

On a machine without a GPU it says so and measures nothing. With one it builds the ``cuda`` preset and needs nvJPEG
(``pip install nvidia-nvjpeg``); compute-sanitizer and trtexec are used where they are installed, and what could not be
run is named in the table. Batches are 64 JPEGs of 1920 x 1080 px and two views each.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sklearn.datasets
from PIL import Image
from rich.console import Console
from rich.table import Table

from bench.report import ROOT, NothingToMeasure, Report
from floodgate.media import jpeg_library, look_for_device

BUILD = ROOT / "build" / "cuda"
REPEATS = 50
SANITIZERS = ("memcheck", "racecheck", "initcheck")
KERNEL_TESTS = "--gtest_filter=OnADevice/*"
_NO_DEVICE = 3


@dataclass(frozen=True)
class Line:
    """One line of the table. ``value`` None: it was not run, and ``note`` says why."""

    name: str
    value: float | None
    unit: str
    note: str = ""


def run() -> Report:
    facts = look_for_device(0)
    if facts["built"] and facts["problem"]:
        raise NothingToMeasure(f"{facts['problem']}: nothing was measured")
    if not facts["built"] and not (shutil.which("nvcc") and Path("/dev/nvidiactl").exists()):
        raise NothingToMeasure("there is no GPU that this build can use: nothing was measured")
    _build()
    lines = [*_kernel_tests(), *_device_bench(), *_engine()]
    _show(lines)
    report = Report()
    for line in lines:
        if line.value is not None:
            report.add(line.name, line.value, line.unit)
    return report


def _build() -> None:
    for command in (
        ["cmake", "--preset", "cuda"],
        ["cmake", "--build", "--preset", "cuda", "--target", "floodgate_tests", "device_bench"],
    ):
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def _kernel_tests() -> Iterator[Line]:
    """The tests that hold the kernel to the reference, as they are and under each sanitizer."""
    tests = BUILD / "floodgate_tests"
    yield _passed("kernel_equals_reference", [str(tests), KERNEL_TESTS])
    sanitizer = shutil.which("compute-sanitizer")
    for tool in SANITIZERS:
        name = f"sanitizer_{tool}_clean"
        if sanitizer is None:
            yield Line(name, None, "bool", "compute-sanitizer is not installed")
        else:
            yield _passed(name, [sanitizer, "--tool", tool, "--error-exitcode", "1", str(tests), KERNEL_TESTS])


def _passed(name: str, command: list[str]) -> Line:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0 and "SKIPPED" in done.stdout:
        return Line(name, None, "bool", "the tests found no device")
    if done.returncode != 0:
        print(done.stdout[-4000:] + done.stderr[-4000:])
    return Line(name, float(done.returncode == 0), "bool")


def _device_bench() -> Iterator[Line]:
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.jpg"
        photo.write_bytes(_photo(1920, 1080))
        done = subprocess.run(
            [str(BUILD / "device_bench"), str(photo), str(REPEATS)],
            env={**os.environ, "FLOODGATE_NVJPEG": jpeg_library()},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode == _NO_DEVICE:
        raise NothingToMeasure(done.stderr.strip())
    for text in done.stdout.splitlines():
        name, value, unit = text.split(maxsplit=2)
        yield Line(name, float(value), unit)
    if done.returncode != 0:
        yield Line("device_bench", None, "", done.stderr.strip())


def _photo(width: int, height: int) -> bytes:
    source = Path(sklearn.datasets.__file__).parent / "images" / "china.jpg"
    out = io.BytesIO()
    Image.open(source).resize((width, height), Image.Resampling.LANCZOS).save(out, "JPEG", quality=88)
    return out.getvalue()


def _engine() -> Iterator[Line]:
    """One engine from nsfw's ONNX, built and run by TensorRT's own program."""
    program = shutil.which("trtexec") or shutil.which("/usr/src/tensorrt/bin/trtexec")
    model = ROOT / "model_repository" / "nsfw" / "1" / "model.onnx"
    if program is None or not model.is_file():
        missing = "trtexec is not installed" if program is None else "models are not pulled"
        yield Line("engine_batches_per_s", None, "1/s", missing)
        return
    done = subprocess.run(
        [program, f"--onnx={model}", "--fp16", "--noDataTransfers"], capture_output=True, text=True, check=False
    )
    found = re.search(r"Throughput: ([0-9.]+) qps", done.stdout)
    if done.returncode != 0 or found is None:
        yield Line("engine_batches_per_s", None, "1/s", f"trtexec failed: {done.stdout.strip().splitlines()[-1:]}")
    else:
        yield Line("engine_batches_per_s", float(found[1]), "1/s")


def _show(lines: list[Line]) -> None:
    table = Table("what", "value", "unit", "note")
    for line in lines:
        table.add_row(line.name, "not run" if line.value is None else f"{line.value:g}", line.unit, line.note)
    Console(width=120).print(table)
