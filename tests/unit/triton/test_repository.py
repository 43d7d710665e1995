"""Reading head directories: what is accepted, and how what is not is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from floodgate.errors import ModelError
from floodgate.triton.ensemble import assemble, build_ensembles, ensemble_config
from floodgate.triton.repository import load_heads
from floodgate.types import HeadSpec, ImageViewSpec, Modality, Role, TextViewSpec

IMAGE = {
    "view": {"kind": "image", "width": 8, "height": 6, "crop_width": 4, "crop_height": 2, "color": "bgr"},
    "labels": ["a.b", "a.c"],
    "competence": {"roles": ["MAIN"], "min_side_px": 32},
    "licence": "MIT",
    "output_kinds": {"scores": "scores", "boxes": "boxes"},
}
IMAGE_TENSORS = """
input { name: "image" data_type: TYPE_UINT8 dims: [2, 4, 3] }
output { name: "scores" data_type: TYPE_FP32 dims: [2] }
output { name: "boxes" data_type: TYPE_FP32 dims: [2, 4] }
"""
TEXT = {
    "view": {"kind": "text", "buckets": [256, 1024]},
    "labels": ["t"],
    "competence": {"languages": ["en"], "min_known_share": 0.5},
    "licence": "MIT",
    "output_kinds": {"scores": "scores", "known_share": "known_share"},
}
TEXT_TENSORS = """
input { name: "text" data_type: TYPE_UINT8 dims: [-1] }
input { name: "length" data_type: TYPE_INT32 dims: [1] }
output { name: "scores" data_type: TYPE_FP32 dims: [1] }
output { name: "known_share" data_type: TYPE_FP32 dims: [1] }
"""


def write_head(
    repository: Path,
    name: str,
    parameters: dict[str, object],
    tensors: str,
    extra: str = "max_batch_size: 4",
) -> Path:
    folder = repository / name
    (folder / "1").mkdir(parents=True, exist_ok=True)
    (folder / "1" / "model.py").write_text("# weights\n")
    text = f'name: "{name}"\nbackend: "python"\n{extra}\n{tensors}'
    for key, value in parameters.items():
        string = value if isinstance(value, str) else json.dumps(value)
        text += f'parameters {{ key: "{key}" value {{ string_value: {json.dumps(string)} }} }}\n'
    (folder / "config.pbtxt").write_text(text)
    return folder


def load_one(repository: Path, name: str = "head") -> HeadSpec:
    return load_heads(repository, [name])[0]


def test_image_head_is_read_whole(tmp_path: Path) -> None:
    write_head(tmp_path, "head", IMAGE, IMAGE_TENSORS)
    head = load_one(tmp_path)
    assert head.modality is Modality.IMAGE
    assert head.view == ImageViewSpec(8, 6, crop_width=4, crop_height=2, color="bgr")
    assert [(o.name, o.kind, o.shape, o.elements) for o in head.outputs] == [
        ("scores", "scores", (2,), 2),
        ("boxes", "boxes", (2, 4), 8),
    ]
    assert head.competence.roles == (Role.MAIN,)
    assert (head.labels, head.max_batch, head.version, head.licence) == (("a.b", "a.c"), 4, 1, "MIT")


def test_a_head_may_ask_for_pictures_as_they_are_stored(tmp_path: Path) -> None:
    view = {**IMAGE["view"], "alpha": "ignored", "orientation": "ignored"}  # type: ignore[dict-item]
    write_head(tmp_path, "head", {**IMAGE, "view": view}, IMAGE_TENSORS)
    head = load_one(tmp_path)
    assert isinstance(head.view, ImageViewSpec)
    assert (head.view.ignore_alpha, head.view.ignore_orientation) == (True, True)


def test_a_head_may_name_what_alpha_is_composited_on(tmp_path: Path) -> None:
    view = {**IMAGE["view"], "background": [1, 2, 3], "alpha": "composited"}  # type: ignore[dict-item]
    write_head(tmp_path, "head", {**IMAGE, "view": view}, IMAGE_TENSORS)
    head = load_one(tmp_path)
    assert isinstance(head.view, ImageViewSpec)
    assert (head.view.background, head.view.ignore_alpha) == ((1, 2, 3), False)


def test_text_head_is_read_whole(tmp_path: Path) -> None:
    write_head(tmp_path, "head", TEXT, TEXT_TENSORS)
    head = load_one(tmp_path)
    assert head.view == TextViewSpec((256, 1024))
    assert (head.competence.languages, head.competence.min_known_share) == (("en",), 0.5)


@pytest.mark.parametrize(
    ("member", "value", "message"),
    [
        ("view", {"kind": "sound"}, "view.kind"),
        ("view", {**IMAGE["view"], "widht": 3}, "view.widht is unknown"),  # type: ignore[dict-item]
        ("view", {"kind": "image", "width": 8}, "view.height is missing"),
        ("view", {**IMAGE["view"], "width": 0}, "view.width must be"),  # type: ignore[dict-item]
        ("view", {**IMAGE["view"], "filter": "cubic"}, "view.filter must be one of"),  # type: ignore[dict-item]
        ("view", {**IMAGE["view"], "crop_width": 9}, "larger than the picture"),  # type: ignore[dict-item]
        ("view", {**IMAGE["view"], "crop_width": 3}, "input image is TYPE_UINT8"),  # type: ignore[dict-item]
        ("view", {**IMAGE["view"], "alpha": "ignore"}, "view.alpha must be one of composited, ignored"),  # type: ignore[dict-item]
        ("view", {**IMAGE["view"], "orientation": True}, "view.orientation must be one of"),  # type: ignore[dict-item]
        ("view", {**IMAGE["view"], "ignore_alpha": True}, "view.ignore_alpha is unknown"),  # type: ignore[dict-item]
        ("view", {**IMAGE["view"], "background": [0, 0, 256]}, "view.background must be"),  # type: ignore[dict-item]
        ("view", {**IMAGE["view"], "background": [0, 0, 0], "alpha": "ignored"}, "has no effect"),  # type: ignore[dict-item]
        ("view", "{", "view is not JSON"),
        ("labels", ["a.b"], "1 labels need"),
        ("labels", ["a.b", "a.b"], "twice"),
        ("competence", {"roles": ["HERO"]}, "'HERO'"),
        ("competence", {"min_side_px": -1}, "min_side_px"),
        ("competence", {"min_known_share": 0.5}, "needs an output of the kind known_share"),
        ("licence", " ", "licence is empty"),
        ("output_kinds", {"scores": "scores"}, "must name exactly the outputs"),
        ("output_kinds", {"scores": "scores", "boxes": "frames"}, "output_kinds.boxes must be one of"),
        ("colour", "blue", "colour is unknown"),
    ],
)
def test_contradiction_is_refused_by_name(tmp_path: Path, member: str, value: object, message: str) -> None:
    write_head(tmp_path, "head", {**IMAGE, member: value}, IMAGE_TENSORS)
    with pytest.raises(ModelError, match=message) as refusal:
        load_one(tmp_path)
    assert "head/config.pbtxt" in str(refusal.value)


@pytest.mark.parametrize("missing", list(IMAGE))
def test_every_declaration_is_required(tmp_path: Path, missing: str) -> None:
    write_head(tmp_path, "head", {k: v for k, v in IMAGE.items() if k != missing}, IMAGE_TENSORS)
    with pytest.raises(ModelError, match=f"parameter {missing} is missing"):
        load_one(tmp_path)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("max_batch_size: 4 dynamic_batching {}", "dynamic_batching must not be set"),
        ("max_batch_size: 0", "max_batch_size"),
        ("max_batch_size: 4 sequence_batching {}", "plain model"),
        ("max_batch_size: 4 version_policy { specific { versions: [2] } }", "names version 2"),
        ("max_batch_size: four", "not a Triton model configuration"),
    ],
)
def test_config_that_breaks_the_rules_is_refused(tmp_path: Path, extra: str, message: str) -> None:
    write_head(tmp_path, "head", IMAGE, IMAGE_TENSORS, extra)
    with pytest.raises(ModelError, match=message):
        load_one(tmp_path)


def test_missing_head_names_those_that_exist(tmp_path: Path) -> None:
    write_head(tmp_path, "head", IMAGE, IMAGE_TENSORS)
    with pytest.raises(ModelError, match="this repository has head"):
        load_one(tmp_path, "hat")


def test_unpulled_weights_are_said_to_be_missing(tmp_path: Path) -> None:
    folder = write_head(tmp_path, "head", IMAGE, IMAGE_TENSORS)
    (folder / "1" / "model.py").unlink()
    with pytest.raises(ModelError, match="pull the weights"):
        load_one(tmp_path)


def test_digest_changes_with_config_and_weights_but_not_with_caches(tmp_path: Path) -> None:
    folder = write_head(tmp_path, "head", IMAGE, IMAGE_TENSORS)
    before = load_one(tmp_path).digest
    (folder / "1" / "__pycache__").mkdir()
    (folder / "1" / "__pycache__" / "model.pyc").write_bytes(b"cache")
    assert load_one(tmp_path).digest == before
    (folder / "1" / "model.py").write_text("# other weights\n")
    assert load_one(tmp_path).digest != before


def test_ensembles_share_equal_views_and_pin_versions(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_head(tmp_path, name, IMAGE, IMAGE_TENSORS)
    other = {**IMAGE, "view": {"kind": "image", "width": 4, "height": 2, "color": "bgr"}}
    write_head(tmp_path, "three", other, IMAGE_TENSORS, "max_batch_size: 2")
    write_head(tmp_path, "words", TEXT, TEXT_TENSORS)
    image, text = build_ensembles(load_heads(tmp_path, ["one", "two", "three", "words"]))
    assert (image.modality, image.max_batch, len(image.tensors)) == (Modality.IMAGE, 2, 2)
    assert len({tensor.name for tensor in image.tensors}) == 2
    config = text_format.Parse(ensemble_config(image), model_config_pb2.ModelConfig())
    assert config.name == image.name == f"image@{image.digest[:8]}"
    assert {(s.model_name, s.model_version) for s in config.ensemble_scheduling.step} == {
        ("one", 1),
        ("two", 1),
        ("three", 1),
    }
    words = text_format.Parse(ensemble_config(text), model_config_pb2.ModelConfig())
    assert [tensor.name for tensor in words.input] == ["text", "text_length"]


def test_ensemble_name_does_not_depend_on_the_order_of_heads(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_head(tmp_path, name, IMAGE, IMAGE_TENSORS)
    there, back = (build_ensembles(load_heads(tmp_path, names)) for names in (["one", "two"], ["two", "one"]))
    assert there[0].name == back[0].name


CPU, GPU_0, GPU_1 = "kind: KIND_CPU", "kind: KIND_GPU gpus: [0]", "kind: KIND_GPU gpus: [1]"


@pytest.mark.parametrize(
    ("image_groups", "text_groups", "devices"),
    [
        ([CPU, CPU], [CPU], ["cpu", "cpu"]),
        ([GPU_0, GPU_0], [CPU], ["gpu:0", "cpu"]),
        ([GPU_0, GPU_1], [CPU], ["gpu:0 gpu:1", "cpu"]),
        ([GPU_0, GPU_1], [GPU_1], ["gpu:0 gpu:1", "gpu:0 gpu:1"]),
        (["kind: KIND_GPU gpus: [0, 1]", GPU_0], [GPU_1], ["gpu:0 gpu:1", "gpu:0 gpu:1"]),
        ([GPU_0, GPU_0], ["kind: KIND_GPU"], ["gpu", "gpu"]),  # whichever there are
        (["kind: KIND_GPU"], [CPU], ["gpu", "cpu"]),
        ([GPU_0, "kind: KIND_AUTO"], [CPU], ["", ""]),
        ([GPU_0, ""], [CPU], ["", ""]),
    ],
)
def test_ensembles_share_a_device_where_any_of_their_heads_do(
    tmp_path: Path, image_groups: list[str], text_groups: list[str], devices: list[str]
) -> None:
    """A head that does not say what it runs on may run anywhere: all are then taken to share one device."""
    names = []
    for parameters, tensors, groups in ((IMAGE, IMAGE_TENSORS, image_groups), (TEXT, TEXT_TENSORS, text_groups)):
        for group in groups:
            names.append(f"head{len(names)}")
            extra = f"max_batch_size: 4\n{f'instance_group {{ {group} }}' if group else ''}"
            write_head(tmp_path, names[-1], parameters, tensors, extra)
    assert [ensemble.device for ensemble in build_ensembles(load_heads(tmp_path, names))] == devices


def test_text_heads_with_different_views_are_refused(tmp_path: Path) -> None:
    write_head(tmp_path, "one", TEXT, TEXT_TENSORS)
    write_head(tmp_path, "two", {**TEXT, "view": {"kind": "text", "buckets": [64]}}, TEXT_TENSORS)
    with pytest.raises(ModelError, match="text heads share one"):
        build_ensembles(load_heads(tmp_path, ["one", "two"]))


def test_assembling_twice_changes_nothing(tmp_path: Path) -> None:
    write_head(tmp_path / "heads", "one", IMAGE, IMAGE_TENSORS)
    ensembles = build_ensembles(load_heads(tmp_path / "heads", ["one"]))
    run = tmp_path / "run"
    assemble(run, tmp_path / "heads", ensembles)
    files = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    assemble(run, tmp_path / "heads", ensembles)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()} == files
    assert (run / "one" / "1" / "model.py").read_text() == "# weights\n"
