"""Building: heads of TensorRT build with TensorRT-RTX where there is no GPU, and what cannot be built is named."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import REPOSITORY, ROOT, pulled_head
from onnx import helper
from small_graph import SIDE, graph, write_head

from floodgate.cli.models import build_command
from floodgate.errors import ModelError
from floodgate.models import BuildOptions, build, tensorrt
from floodgate.models.calibration import views_of
from floodgate.models.edits.precision import parse_model, to_16_bits
from floodgate.models.gpu import Gpu, find_gpu, readable_version
from floodgate.models.quantization import quantize, subsample_first
from floodgate.models.record import read_record, record_path
from floodgate.models.tensorrt import Profile, build_plan, load_builder
from floodgate.triton.repository import load_head
from floodgate.types import ImageViewSpec

HEADS = sorted(path.parents[1].name for path in REPOSITORY.glob("*/configs/tensorrt.pbtxt"))
RTX = "tensorrt-rtx"


def quiet(_line: str) -> None:
    pass


@pytest.fixture
def rtx() -> tensorrt.TensorRT:
    return pytest.importorskip("tensorrt_rtx", reason="plans are built with it (floodgate[tensorrt-rtx])")


@pytest.fixture(scope="module")
def pulled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    for name in HEADS:
        pulled_head(name, folder)
    return folder


def test_the_command_builds_every_head_whose_weights_are_here(
    rtx: tensorrt.TensorRT, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("nsfw", "toxicity"):
        pulled_head(name, tmp_path)
    shutil.copytree(REPOSITORY / "nudity", tmp_path / "nudity", ignore=shutil.ignore_patterns("*.onnx", "*.plan"))
    shutil.copy(REPOSITORY / "models.lock", tmp_path)
    monkeypatch.setenv("FLOODGATE_MODEL_REPOSITORY", str(tmp_path))
    build_command(RTX)
    said = capsys.readouterr().out
    assert "nudity: not built, its weights are not here (floodgate models pull nudity)" in said
    assert "toxicity: stays on the CPU" in said
    assert (tmp_path / "nsfw" / "1" / "model.rtx.plan").is_file()
    shutil.rmtree(tmp_path / "nudity")
    pulled_head("nudity", tmp_path)
    build_command(RTX)
    assert {path.parents[1].name for path in tmp_path.glob("*/1/model.rtx.plan")} == set(HEADS)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("head", HEADS)
def test_every_head_of_tensorrt_builds_without_a_gpu(
    rtx: tensorrt.TensorRT, pulled: Path, head: str, precision: str
) -> None:
    spec = load_head(pulled, head)
    (built,) = build(pulled, [spec], BuildOptions(RTX, precision), quiet)
    record = read_record(built.path)
    assert record == built.record
    assert record.sha256 == hashlib.sha256(built.path.read_bytes()).hexdigest()
    assert record.weights_sha256 == hashlib.sha256(built.path.with_name("model.onnx").read_bytes()).hexdigest()
    assert (record.builder, record.builder_version) == ("tensorrt_rtx", rtx.__version__)
    assert (record.gpu, record.profile) == ("ahead of time", (1, spec.max_batch // 2, spec.max_batch))
    assert load_head(pulled, head).digest == spec.digest, "a plan is no part of the head on the CPU"


@pytest.mark.parametrize("kind", ["signed int8", "fp8"])
@pytest.mark.parametrize("head", HEADS)
def test_every_head_of_tensorrt_builds_in_8_bits(rtx: tensorrt.TensorRT, pulled: Path, head: str, kind: str) -> None:
    pytest.importorskip("nncf", reason="int8 is made with it (floodgate[int8])")
    spec = load_head(pulled, head)
    assert isinstance(spec.view, ImageViewSpec)
    weights = (pulled / head / "1" / "model.onnx").read_bytes()
    views = views_of(ROOT / "examples" / "astronaut.jpg", spec.view, crops=2)
    in_8_bits = quantize(weights, views, head, kind)
    nodes = onnx.load_model_from_string(in_8_bits).graph.node
    exact = {name for node in nodes if node.op_type == "DequantizeLinear" for name in node.output}
    layers = [node for node in nodes if node.op_type == "Conv"]
    assert sum(node.input[1] in exact for node in layers) >= 0.9 * len(layers) > 0
    assert build_plan(rtx, in_8_bits, Profile(1, 8, 16)).data


def test_subsampling_first_changes_no_score(pulled: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    spec = load_head(pulled, "nsfw")
    assert isinstance(spec.view, ImageViewSpec)
    model = parse_model((pulled / "nsfw" / "1" / "model.onnx").read_bytes(), "nsfw")
    rows = np.stack(views_of(ROOT / "examples" / "coffee.webp", spec.view, crops=2))
    scores = []
    for change in (lambda _: None, subsample_first):
        change(model)
        runner = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        scores.append(runner.run(None, {"image": rows})[0])
    assert sum(node.op_type == "MaxPool" for node in model.graph.node) == 4, "one was there, three blocks step"
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-6)


@pytest.mark.parametrize("kind", ["int8", "signed int8", "fp8"])
def test_8_bits_keep_the_scores_of_what_they_were_calibrated_with(pulled: Path, kind: str) -> None:
    pytest.importorskip("nncf", reason="int8 is made with it (floodgate[int8])")
    onnxruntime = pytest.importorskip("onnxruntime", reason="runs graphs with QuantizeLinear as they are written")
    spec = load_head(pulled, "nsfw")
    assert isinstance(spec.view, ImageViewSpec)
    weights = (pulled / "nsfw" / "1" / "model.onnx").read_bytes()
    views = views_of(ROOT / "examples" / "astronaut.jpg", spec.view, crops=3)
    in_8_bits = quantize(weights, views, "nsfw", kind)
    options = onnxruntime.SessionOptions()
    # Else it moves Quantize and Dequantize about, to where ONNX has no fp8.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    exact, coarse = (
        onnxruntime.InferenceSession(each, options, providers=["CPUExecutionProvider"]).run(
            None, {"image": np.stack(views)}
        )[0]
        for each in (weights, in_8_bits)
    )
    np.testing.assert_allclose(coarse, exact, atol=0.05)


@pytest.mark.parametrize("head", HEADS)
def test_16_bits_between_the_layers_with_weights_keep_the_scores(pulled: Path, head: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="runs float16 on a CPU")
    spec = load_head(pulled, head)
    assert isinstance(spec.view, ImageViewSpec)
    weights = (pulled / head / "1" / "model.onnx").read_bytes()
    rows = np.stack(views_of(ROOT / "examples" / "portrait.png", spec.view, crops=3))
    narrow = to_16_bits(parse_model(weights, head), "fp16").SerializeToString()
    outputs = [
        onnxruntime.InferenceSession(each, providers=["CPUExecutionProvider"]).run(["scores"], {"image": rows})[0]
        for each in (weights, narrow)
    ]
    assert outputs[1].dtype == np.float32
    np.testing.assert_allclose(outputs[1], outputs[0], atol=5e-3)


def test_profile_capabilities_and_precision_reach_builder_and_record(rtx: tensorrt.TensorRT, tmp_path: Path) -> None:
    spec = write_head(tmp_path)
    options = BuildOptions(RTX, "fp32", Profile(1, 2, 32), ("8.9", "12.0"))
    (built,) = build(tmp_path, [spec], options, quiet)
    assert built.record.profile == (1, 2, 32)
    assert built.record.compute_capabilities == ("8.9", "12.0")
    assert built.record.precision == "fp32"
    assert json.loads(record_path(built.path).read_text())["checksum"]


@pytest.mark.parametrize("platform", ["openvino", RTX])
def test_int8_is_calibrated_with_photos_and_says_with_how_many(
    rtx: tensorrt.TensorRT, tmp_path: Path, platform: str
) -> None:
    pytest.importorskip("nncf", reason="int8 is made with it (floodgate[int8])")
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copy(ROOT / "examples" / "cat.jpg", photos)
    spec = write_head(tmp_path / "heads")
    lines: list[str] = []
    (built,) = build(tmp_path / "heads", [spec], BuildOptions(platform, "int8", photos=photos), lines.append)
    count = int(built.record.calibration.split()[0])
    assert f"calibrating int8 with {count} views of {count // 25} photos" in lines[0]
    assert load_head(tmp_path / "heads", "small").digest == spec.digest


def test_timing_cache_of_nonsense_is_left_aside(rtx: tensorrt.TensorRT) -> None:
    plan = build_plan(rtx, graph(), Profile(1, 4, 8), timing_cache=b"not a timing cache")
    assert plan.data
    assert "TIMING_CACHE" in plan.flags


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (
            helper.make_node("Unique", ["mean"], ["scores"], name="only_once"),
            r"node 'only_once', operator Unique.*not supp",
        ),
        (helper.make_node("Det", ["mean"], ["scores"]), r"node number 8, which has no name, operator Det.*not support"),
        (
            helper.make_node("Fancy", ["mean"], ["scores"], name="odd", domain="acme"),
            r"node 'odd', operator Fancy.*not s",
        ),
    ],
)
def test_operator_that_tensorrt_lacks_is_named_with_its_node(
    rtx: tensorrt.TensorRT, tmp_path: Path, node: object, message: str
) -> None:
    spec = write_head(tmp_path, graph(before_scores=[node], domain="acme"))
    with pytest.raises(ModelError, match=rf"head 'small': {message}"):
        build(tmp_path, [spec], BuildOptions(RTX, "fp32"), quiet)
    assert not list((tmp_path / "small" / "1").glob("*.plan*"))


@pytest.mark.parametrize("weights", [b"", b"no graph at all", graph()[:200]])
def test_what_is_no_onnx_graph_is_refused_by_name(rtx: tensorrt.TensorRT, tmp_path: Path, weights: bytes) -> None:
    spec = write_head(tmp_path, weights)
    with pytest.raises(ModelError, match=r"head 'small': small's model\.onnx is not an ONNX model"):
        build(tmp_path, [spec], BuildOptions(RTX, "fp16"), quiet)


def test_head_without_an_onnx_graph_is_refused(rtx: tensorrt.TensorRT, tmp_path: Path) -> None:
    spec = write_head(tmp_path)
    (tmp_path / "small" / "1" / "model.onnx").rename(tmp_path / "small" / "1" / "model.py")
    with pytest.raises(ModelError, match="is not an ONNX graph"):
        build(tmp_path, [spec], BuildOptions(RTX, "fp16"), quiet)


def test_weights_that_are_not_the_locks_are_not_built(rtx: tensorrt.TensorRT, tmp_path: Path) -> None:
    folder = pulled_head("nsfw", tmp_path)
    spec = load_head(tmp_path, "nsfw")
    (folder / "1" / "model.onnx").write_bytes(graph())
    with pytest.raises(ModelError, match="is not what the lock names"):
        build(tmp_path, [spec], BuildOptions(RTX, "fp16"), quiet)


def test_missing_builder_is_named_with_the_extra_that_brings_it(tmp_path: Path) -> None:
    without = "import sys; sys.modules['tensorrt_rtx'] = sys.modules['tensorrt'] = None\n"
    code = (
        without + "from floodgate.models.tensorrt import load_builder\n"
        "from floodgate.errors import ModelError\n"
        "for name in ('tensorrt', 'tensorrt_rtx'):\n"
        "    try: load_builder(name)\n"
        "    except ModelError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert "'tensorrt', which is not installed; install floodgate[tensorrt-cu12] or floodgate[tensorrt-cu13]" in first
    assert "'tensorrt_rtx', which is not installed; install floodgate[tensorrt-rtx]" in second


@pytest.mark.skipif(find_gpu() is not None, reason="this machine has a GPU, on which TensorRT could build")
def test_tensorrt_without_a_gpu_is_refused_with_the_way_out() -> None:
    with pytest.raises(ModelError, match=r"on the GPU that will run it, and here is none.*tensorrt-rtx"):
        tensorrt.require_gpu(find_gpu(), "fp16")


def test_fp8_on_a_gpu_that_lacks_it_is_refused() -> None:
    with pytest.raises(ModelError, match=r"fp8 needs compute capability 8\.9, and NVIDIA A100 has 8\.0"):
        tensorrt.require_gpu(Gpu("NVIDIA A100", "8.0"), "fp8")


@pytest.mark.parametrize(
    ("platform", "precision", "message"),
    [
        ("cuda", "fp16", "unknown platform 'cuda'"),
        (RTX, "int4", "not built in 'int4'; it is in fp16"),
        ("openvino", "bf16", "not built in 'bf16'; it is in int8"),
    ],
)
def test_platform_or_precision_that_is_not_built_is_refused(platform: str, precision: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        BuildOptions(platform, precision)


@pytest.mark.parametrize("text", ["", "1", "1,2", "a,b,c", "0,1,2", "4,2,8", "1,16,8", "1,8,99999999999999999999"])
def test_profile_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match=r"a profile (is min,opt,max|has at most 1024 rows)"):
        Profile.parse(text)


def test_photos_that_would_calibrate_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="photos are to calibrate int8 or fp8 with, not fp16"):
        BuildOptions(RTX, "fp16", photos=tmp_path)


def test_profile_that_is_not_enough_for_the_head_is_refused(rtx: tensorrt.TensorRT, tmp_path: Path) -> None:
    spec = write_head(tmp_path)
    with pytest.raises(ModelError, match="served 1 to 8 rows; the profile 1,2,4 is not enough"):
        build(tmp_path, [spec], BuildOptions(RTX, "fp16", Profile(1, 2, 4)), quiet)


def test_compute_capability_that_the_builder_lacks_is_refused(rtx: tensorrt.TensorRT) -> None:
    with pytest.raises(ModelError, match=r"compute capability '5\.0'; this builder knows .*8\.9, 12\.0"):
        build_plan(rtx, graph(), Profile(1, 4, 8), compute_capabilities=("5.0",))


def test_int8_without_a_photo_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = write_head(tmp_path / "heads")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    with pytest.raises(ModelError, match=r"--photos .*photos: has no picture that can be read"):
        build(tmp_path / "heads", [spec], BuildOptions("openvino", "int8", photos=tmp_path / "photos"), quiet)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ModelError, match=r"no picture in any package here .*; name a folder with --photos"):
        build(tmp_path / "heads", [spec], BuildOptions("openvino", "int8"), quiet)


def test_folder_of_photos_that_is_not_there_is_named(tmp_path: Path) -> None:
    spec = write_head(tmp_path / "heads")
    with pytest.raises(ModelError, match=r"head 'small': .*nowhere: cannot be read: No such file"):
        build(tmp_path / "heads", [spec], BuildOptions("openvino", "int8", photos=tmp_path / "nowhere"), quiet)


def test_the_loaders_version_number_reads_as_a_version(rtx: tensorrt.TensorRT) -> None:
    assert readable_version(100300) == "10.3.0"
    assert readable_version(10701) == "1.7.1"
    assert load_builder("tensorrt_rtx") is rtx


def test_views_are_the_heads_own_and_the_same_each_time() -> None:
    spec = ImageViewSpec(width=SIDE * 2, height=SIDE, crop_width=SIDE, crop_height=SIDE)
    first, again = (views_of(ROOT / "examples" / "rocket.jpg", spec, crops=4) for _ in range(2))
    assert [view.shape for view in first] == [(SIDE, SIDE, 3)] * 5
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
