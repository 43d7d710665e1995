"""What is served must be what its record says, of the weights that are locked, for the machine that is here."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT
from small_graph import graph, write_head

from floodgate.cli.doctor import examine
from floodgate.config import load_config
from floodgate.models import BuildOptions, Finding, Machine, State, build, verify_built
from floodgate.models.gpu import Gpu
from floodgate.models.record import BuildRecord, read_record, record_path, serialize
from floodgate.types import HeadSpec

A100 = Gpu("NVIDIA A100-SXM4-80GB", "8.0")
H200 = Gpu("NVIDIA H200", "9.0")
HERE = Machine(A100, "10.3.0")


class Served:
    """The head ``small`` with a real plan, whose record says that TensorRT 10.3 built it on an A100."""

    def __init__(self, repository: Path) -> None:
        pytest.importorskip("tensorrt_rtx", reason="plans are built with it (floodgate[tensorrt-rtx])")
        self.repository = repository
        spec = write_head(repository)
        (built,) = build(repository, [spec], BuildOptions("tensorrt-rtx", "fp16"), lambda _line: None)
        self.plan = built.path.rename(built.path.with_name("model.plan"))
        record_path(built.path).unlink()
        self.head: HeadSpec = replace(spec, model_file="model.plan")
        self.rewrite(
            lambda _: replace(
                built.record,
                file="model.plan",
                platform="tensorrt",
                builder="tensorrt",
                builder_version="10.3.0.26",
                gpu=A100.name,
                compute_capabilities=(A100.compute_capability,),
            )
        )

    def rewrite(self, change: Callable[[BuildRecord | None], BuildRecord]) -> None:
        path = record_path(self.plan)
        path.write_bytes(serialize(change(read_record(self.plan) if path.exists() else None)))

    def finding(self, machine: Machine = HERE) -> Finding:
        (found,) = verify_built(self.repository, [self.head], machine)
        return found


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path)


def test_plan_of_this_machine_and_these_weights_is_served(served: Served) -> None:
    assert served.finding().state is State.OK
    assert served.finding(Machine()).state is State.OK, "nothing is known of a remote machine"


def test_plan_of_another_gpu_is_foreign(served: Served) -> None:
    found = served.finding(Machine(H200, "10.3.0"))
    assert found.state is State.FOREIGN
    assert not found.servable
    assert f"built for {A100.name} (compute capability 8.0), and this machine has NVIDIA H200 (9.0)" in found.message
    assert "floodgate models build --platform tensorrt small" in found.message


def test_plan_of_another_tensorrt_is_foreign(served: Served) -> None:
    found = served.finding(Machine(A100, "10.4.0"))
    assert found.state is State.FOREIGN
    assert "built by TensorRT 10.3.0.26, and TensorRT 10.4.0 is here" in found.message


def test_plan_that_was_built_ahead_of_time_is_foreign_to_triton(served: Served) -> None:
    served.rewrite(lambda record: replace(record, platform="tensorrt-rtx", builder="tensorrt_rtx"))
    assert "built by tensorrt_rtx for tensorrt-rtx, which tensorrt cannot load" in served.finding().message
    served.rewrite(lambda record: replace(record, platform="tensorrt", gpu="ahead of time"))
    assert "built ahead of time" in served.finding().message
    assert served.finding().state is State.FOREIGN


def test_truncated_plan_is_refused(served: Served) -> None:
    size = served.plan.stat().st_size
    served.plan.write_bytes(served.plan.read_bytes()[:1000])
    found = served.finding()
    assert found.state is State.DIFFERENT
    assert f"truncated: 1000 of {size} bytes" in found.message


def test_tampered_plan_is_refused(served: Served) -> None:
    data = bytearray(served.plan.read_bytes())
    data[len(data) // 2] ^= 1
    served.plan.write_bytes(data)
    assert "is not the file of its record: expected SHA-256" in served.finding().message


def test_tampered_record_is_refused(served: Served) -> None:
    path = record_path(served.plan)
    path.write_text(path.read_text().replace(A100.name, H200.name))
    found = served.finding(Machine(H200, "10.3.0"))
    assert found.state is State.DIFFERENT
    assert "was changed after it was written" in found.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"small/1/model\.plan\.build\.json is missing"),
        ("", "is not JSON"),
        ('{"head": "sm', "is not JSON, as if it had been cut off"),
        ("[]", "is not a JSON object"),
        ('{"format": 2}', "format is 2, this version reads 1"),
        ('{"format": 1}', "was changed after it was written"),
    ],
)
def test_record_that_cannot_be_read_is_named(served: Served, content: str | None, message: str) -> None:
    path = record_path(served.plan)
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    found = served.finding()
    assert found.state is State.DIFFERENT
    assert re.search(message, found.message)


def test_plan_of_other_weights_is_stale(served: Served) -> None:
    (served.plan.parent / "model.onnx").write_bytes(graph() + b" ")
    found = served.finding()
    assert found.state is State.STALE
    assert "built of weights with SHA-256" in found.message


def test_plan_of_another_head_is_stale(served: Served) -> None:
    served.rewrite(lambda record: replace(record, head="large"))
    assert "built for the head 'large'" in served.finding().message


def test_plan_for_smaller_batches_is_stale(served: Served) -> None:
    served.rewrite(lambda record: replace(record, profile=(1, 2, 4)))
    assert "its profile takes 1 to 4 rows, and the head is served 1 to 8" in served.finding().message


def test_missing_plan_is_named_with_the_command_that_builds_it(served: Served) -> None:
    served.plan.unlink()
    found = served.finding()
    assert found.state is State.MISSING
    assert "run `floodgate models build --platform tensorrt small`" in found.message


@pytest.fixture
def settings(served: Served, tmp_path: Path) -> Path:
    """A configuration by which the plan would be served; its record says that TensorRT-RTX built it."""
    served.rewrite(lambda record: replace(record, platform="tensorrt-rtx", builder="tensorrt_rtx"))
    folder = served.repository / "small"
    (folder / "configs").mkdir()
    text = (folder / "config.pbtxt").read_text()
    gpu = 'platform: "tensorrt_plan"\ndefault_model_filename: "model.plan"'
    (folder / "configs" / "tensorrt.pbtxt").write_text(text.replace('backend: "openvino_runner"', gpu))
    settings = tmp_path / "floodgate.yaml"
    settings.write_text(
        f"model_repository: {served.repository}\nstate_dir: {ROOT / 'var'}\nheads: [small]\n"
        "triton: {platforms: {small: tensorrt}}\n"
    )
    return settings


def said(command: list[str], settings: Path) -> str:
    """The one line with which ``floodgate`` refuses."""
    floodgate = Path(sys.executable).with_name("floodgate")
    done = subprocess.run(
        [floodgate, *command, "--config", settings], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("command", [["serve"], ["triton", "serve"], ["triton", "repository", "out"]])
def test_nothing_starts_with_a_plan_that_is_foreign(served: Served, settings: Path, command: list[str]) -> None:
    words = "is foreign: it was built by tensorrt_rtx for tensorrt-rtx, which tensorrt cannot load"
    assert words in said(command, settings)
    served.plan.unlink()
    words = "model.plan: has not been built; run `floodgate models build --platform tensorrt small`"
    assert words in said(command, settings)


def test_a_triton_without_the_back_end_of_plans_is_refused(served: Served, settings: Path) -> None:
    served.rewrite(lambda record: replace(record, platform="tensorrt", builder="tensorrt"))
    assert "has no TensorRT back end, which small needs" in said(["triton", "serve"], settings)


def test_a_head_is_not_made_to_run_on_what_it_has_no_configuration_for(settings: Path) -> None:
    settings.write_text(settings.read_text().replace("small: tensorrt", "small: openvino-int8"))
    words = "triton.platforms has small run on openvino-int8, but there is no "
    assert words in said(["serve"], settings)


def test_doctor_advises_to_build_what_was_built_anew(served: Served, settings: Path) -> None:
    served.plan.write_bytes(served.plan.read_bytes()[:100])
    config = load_config(settings, {})
    (found,) = (finding for finding in examine(config) if finding.topic == "head small")
    assert (found.state, found.advice) == ("bad", "build it anew, as the message says")
    assert "model.plan is truncated: 100 of " in found.fact
