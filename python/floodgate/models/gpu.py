"""What the driver says about this machine's GPU, asked without any CUDA package: ``libcuda`` comes with the driver."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

# cudaDeviceAttr of cuda.h: CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR.
_MAJOR, _MINOR = 75, 76
_RUNTIMES = ("libnvinfer.so", "libnvinfer.so.11", "libnvinfer.so.10")


@dataclass(frozen=True, slots=True)
class Gpu:
    """``compute_capability``: "9.0" and the like."""

    name: str
    compute_capability: str


def find_gpu() -> Gpu | None:
    """The first GPU, or None where there is no driver or no device."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    # Each returns 0 when it did what it was asked; the first that does not ends the questions.
    answered = (
        cuda.cuInit(0) == 0
        and cuda.cuDeviceGet(ctypes.byref(device), 0) == 0
        and cuda.cuDeviceGetName(name, len(name), device) == 0
        and cuda.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device) == 0
        and cuda.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device) == 0
    )
    if not answered:
        return None
    return Gpu(name.value.decode("utf-8", "replace"), f"{major.value}.{minor.value}")


def find_tensorrt() -> str:
    """Version ("10.3.0") of the TensorRT runtime that the loader finds, or "" where there is none, as when Triton runs
    in a container of its own."""
    for library in _RUNTIMES:
        try:
            number = int(ctypes.CDLL(library).getInferLibVersion())
        except (OSError, AttributeError):
            continue
        return readable_version(number)
    return ""


def readable_version(number: int) -> str:
    """What ``getInferLibVersion`` returns, as "major.minor.patch" (NvInferRuntime.h: NV_TENSORRT_VERSION)."""
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"
