"""What ``floodgate doctor`` says of the GPU: the truth, and the next step."""

from __future__ import annotations

from typing import Any

import pytest

from floodgate.cli.doctor import gpu_findings

NO_DRIVER = "there is no NVIDIA driver"


def facts(**others: Any) -> dict[str, Any]:
    return {
        "built": True,
        "toolkit": 13000,
        "driver": 13020,
        "problem": "",
        "name": "NVIDIA H200",
        "compute_capability": (9, 0),
        "memory_bytes": 141 << 30,
        "jpeg": "13.0.1",
        "jpeg_problem": "",
        **others,
    }


def test_without_cuda_all_is_well_on_the_cpu() -> None:
    (finding,) = gpu_findings(None, facts(built=False, problem="this was built without CUDA"), "cpu")
    assert (finding.state, finding.fact) == ("ok", "none: everything runs on the CPU")


def test_a_compiler_that_was_not_used_is_worth_a_note() -> None:
    (finding,) = gpu_findings("/usr/bin/nvcc", facts(built=False), "cpu")
    assert finding.state == "note"
    assert "built without CUDA" in finding.fact
    assert "FLOODGATE_CUDA=ON" in finding.advice


@pytest.mark.parametrize(("device", "state"), [("cpu", "note"), ("auto", "note"), ("cuda", "bad")])
def test_a_missing_driver_is_bad_only_where_a_gpu_is_required(device: str, state: str) -> None:
    (finding,) = gpu_findings("/usr/bin/nvcc", facts(driver=0, problem=NO_DRIVER), device)
    assert finding.state == state
    assert finding.fact == f"CUDA 13.0 is built in, but {NO_DRIVER}"
    assert "install NVIDIA's driver" in finding.advice
    assert ("media.device to cpu" in finding.advice) == (device != "cpu")


def test_a_gpu_that_is_not_used_says_how_to_use_it() -> None:
    gpu, jpeg = gpu_findings(None, facts(), "cpu")
    assert gpu.state == "note"
    assert "NVIDIA H200, compute capability 9.0, 144384 MiB, driver for CUDA 13.2; not used" in gpu.fact
    assert (jpeg.state, jpeg.fact) == ("ok", "13.0.1")


def test_a_gpu_without_nvjpeg_cannot_serve() -> None:
    gpu, jpeg = gpu_findings(None, facts(jpeg="", jpeg_problem="nvJPEG is not there: …"), "cuda")
    assert gpu.state == "ok"
    assert (jpeg.state, jpeg.advice) == ("bad", "pip install nvidia-nvjpeg")


def test_the_nvjpeg_that_is_advised_runs_on_the_driver() -> None:
    _, jpeg = gpu_findings(None, facts(driver=12090, jpeg="", jpeg_problem="nvJPEG is not there: …"), "auto")
    assert (jpeg.state, jpeg.advice) == ("note", "pip install nvidia-nvjpeg-cu12")
