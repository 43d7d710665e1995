"""Heads as their directories declare them.

``<repository>/<head>/config.pbtxt`` is Triton's own model configuration, parsed with Triton's own schema;
what only Floodgate needs (view, labels, competence, licence, kinds of outputs) rides in ``parameters``.
Reading is strict: a head that contradicts itself is refused here and not by a wrong score later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from floodgate.errors import ModelError
from floodgate.triton import declarations
from floodgate.triton.declarations import Declared
from floodgate.types import (
    BUILT_FILES,
    RECORD_SUFFIX,
    HeadSpec,
    ImageViewSpec,
    Modality,
    OutputSpec,
    TextViewSpec,
    ViewSpec,
)

CONFIG = "config.pbtxt"
TEXT_INPUTS = ("text", "length")
IMAGE_INPUT = "image"

_UINT8 = model_config_pb2.TYPE_UINT8
_INT32 = model_config_pb2.TYPE_INT32
_FP32 = model_config_pb2.TYPE_FP32


def load_heads(
    repository: Path, names: Sequence[str], *, config_names: Mapping[str, str] | None = None
) -> tuple[HeadSpec, ...]:
    """The named heads, in the order of ``names``.

    ``config_names``: head -> name; ``configs/<name>.pbtxt`` is used where the head has it, as with Triton's
    ``--model-config-name``. Raises ModelError naming the file and member for anything missing, unknown or inconsistent.
    """
    if not repository.is_dir():
        raise ModelError(f"{repository}: there is no model repository here")
    if len(set(names)) != len(names):
        raise ModelError(f"a head is named twice: {', '.join(names)}")
    chosen = config_names or {}
    return tuple(load_head(repository, name, config_name=chosen.get(name, "")) for name in names)


def load_head(repository: Path, name: str, *, config_name: str = "") -> HeadSpec:
    """One head; see ``load_heads``."""
    folder = repository / name
    if "__" in name or "@" in name or "/" in name or not name or name.startswith("."):
        raise ModelError(f"{name!r} cannot name a head: it must be a plain name without '__' or '@'")
    if not folder.is_dir():
        heads = sorted(path.parent.name for path in repository.glob(f"*/{CONFIG}"))
        raise ModelError(f"{folder}: there is no such head; this repository has {', '.join(heads) or 'none'}")
    file = config_file(folder, config_name)
    config = parse_config(file)
    if config.name and config.name != name:
        raise ModelError(f"{file}: name is {config.name!r}, but its directory is {name!r}")
    if config.HasField("dynamic_batching"):
        raise ModelError(f"{file}: dynamic_batching must not be set: batches are made by Floodgate alone")
    if config.HasField("sequence_batching") or config.HasField("ensemble_scheduling"):
        raise ModelError(f"{file}: a head is a plain model, without sequence_batching or ensemble_scheduling")
    if config.max_batch_size < 1:
        raise ModelError(f"{file}: max_batch_size must be at least 1")
    declared = Declared(file, {key: value.string_value for key, value in config.parameters.items()})
    declarations.check_parameter_names(declared)
    view = declarations.parse_view(declared)
    labels = declarations.parse_labels(declared)
    _check_inputs(file, config, view)
    outputs = _outputs(declared, config, labels)
    competence = declarations.parse_competence(declared)
    if competence.min_known_share > 0 and not any(output.kind == "known_share" for output in outputs):
        raise declared.error("competence.min_known_share", "needs an output of the kind known_share")
    if not declared.values["licence"].strip():
        raise declared.error("licence", "is empty")
    version = _version(folder, file, config)
    return HeadSpec(
        name=name,
        version=version,
        digest=digest(file, folder / str(version), config.default_model_filename),
        modality=Modality.IMAGE if isinstance(view, ImageViewSpec) else Modality.TEXT,
        view=view,
        labels=labels,
        outputs=outputs,
        competence=competence,
        licence=declared.values["licence"],
        max_batch=config.max_batch_size,
        devices=_devices(config),
        model_file=config.default_model_filename,
        config_name=config_name if file.name != CONFIG else "",
    )


def config_file(folder: Path, config_name: str) -> Path:
    """The configuration that Triton would choose for a model directory."""
    custom = folder / "configs" / f"{config_name}.pbtxt"
    return custom if config_name and custom.is_file() else folder / CONFIG


def digest(config: Path, version: Path, model_file: str = "") -> str:
    """SHA-256 (hex) over the config and what of the version directory is served (``_model_files``), with names and
    lengths, in order of name."""
    total = hashlib.sha256()
    for name, path in [("config", config), *_model_files(version, model_file)]:
        with path.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        total.update(f"{name}\0{path.stat().st_size}\0{content}\n".encode())
    return total.hexdigest()


def _model_files(version: Path, model_file: str = "") -> list[tuple[str, Path]]:
    """The one file that the configuration names, or every file but byte-code caches, hidden files and what
    ``floodgate models build`` made for other platforms: building a plan changes no other platform's model."""
    if model_file:
        return [(model_file, version / model_file)] if (version / model_file).is_file() else []
    built = {*BUILT_FILES, *(name + RECORD_SUFFIX for name in BUILT_FILES)}
    files = ((path.relative_to(version), path) for path in version.rglob("*") if path.is_file())
    return sorted(
        (name.as_posix(), path)
        for name, path in files
        if not any(piece.startswith(".") or piece == "__pycache__" for piece in name.parts)
        and name.as_posix() not in built
    )


def parse_config(file: Path) -> model_config_pb2.ModelConfig:
    """A ``config.pbtxt`` as Triton's own message. Raises ModelError naming the file, line and column."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{file}: cannot be read: {error}") from error
    try:
        return text_format.Parse(text, model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        raise ModelError(f"{file}: is not a Triton model configuration: {error}") from error


def _version(folder: Path, file: Path, config: model_config_pb2.ModelConfig) -> int:
    """The version served: the one ``version_policy`` names, else the highest that exists."""
    present = sorted(int(path.name) for path in folder.iterdir() if path.is_dir() and path.name.isdigit())
    chosen = list(config.version_policy.specific.versions)
    if len(chosen) > 1:
        raise ModelError(f"{file}: version_policy must name one version, not {len(chosen)}")
    if not present:
        raise ModelError(f"{folder}: has no version directory; its weights may still have to be pulled")
    version = int(chosen[0]) if chosen else present[-1]
    if version not in present:
        raise ModelError(f"{file}: version_policy names version {version}, which is not in {folder}")
    model_file = config.default_model_filename
    if "/" in model_file:
        raise ModelError(f"{file}: default_model_filename is {model_file!r}; it must be a plain file name")
    if model_file in BUILT_FILES and not _model_files(folder / str(version), model_file):
        raise ModelError(
            f"{folder / str(version) / model_file}: has not been built; "
            f"run `floodgate models build {BUILT_FILES[model_file]} {folder.name}`"
        )
    if not _model_files(folder / str(version), model_file):
        raise ModelError(f"{folder / str(version)}: is empty; pull the weights of this head first")
    graph = folder / str(version) / (model_file or "model.onnx")
    if config.backend == "openvino_runner" and not graph.is_file():
        raise ModelError(f"{graph}: is missing; pull the weights first")
    return version


def _check_inputs(file: Path, config: model_config_pb2.ModelConfig, view: ViewSpec) -> None:
    actual = {tensor.name: (tensor.data_type, tuple(tensor.dims)) for tensor in config.input}
    expected: dict[str, tuple[int, tuple[int, ...]]]
    if isinstance(view, TextViewSpec):
        expected = {"text": (_UINT8, (-1,)), "length": (_INT32, (1,))}
    else:
        expected = {IMAGE_INPUT: (_UINT8, image_dims(view))}
    if set(actual) != set(expected):
        raise ModelError(
            f"{file}: input must be exactly {', '.join(expected)} for this view, not {', '.join(actual) or 'none'}"
        )
    for name, (dtype, dims) in expected.items():
        if actual[name] != (dtype, dims):
            raise ModelError(
                f"{file}: input {name} is {_type_name(actual[name][0])} {list(actual[name][1])}, "
                f"but its view makes {_type_name(dtype)} {list(dims)}"
            )


def image_dims(view: ImageViewSpec) -> tuple[int, int, int]:
    """Shape of one row of an image view, without the batch dimension."""
    width, height = view.crop_width or view.width, view.crop_height or view.height
    return (height, width, 3) if view.layout == "nhwc" else (3, height, width)


def _outputs(
    declared: Declared, config: model_config_pb2.ModelConfig, labels: tuple[str, ...]
) -> tuple[OutputSpec, ...]:
    kinds = declarations.parse_output_kinds(declared)
    names = [tensor.name for tensor in config.output]
    if set(kinds) != set(names):
        raise declared.error("output_kinds", f"must name exactly the outputs: {', '.join(names)}")
    outputs = []
    expected = {"scores": (len(labels),), "boxes": (len(labels), 4), "known_share": (1,)}
    for tensor in config.output:
        kind, dims = kinds[tensor.name], tuple(tensor.dims)
        if tensor.data_type != _FP32:
            raise ModelError(f"{declared.file}: output {tensor.name} must be TYPE_FP32")
        if dims != expected[kind]:
            raise ModelError(
                f"{declared.file}: output {tensor.name} of the kind {kind} has dims {list(dims)}, but "
                f"{len(labels)} labels need {list(expected[kind])}"
            )
        outputs.append(OutputSpec(tensor.name, kind, dims))
    found = sorted(kinds.values())
    if found.count("scores") != 1 or len(set(found)) != len(found):
        raise declared.error("output_kinds", "must have exactly one output of kind scores, no kind twice")
    return tuple(outputs)


def _devices(config: model_config_pb2.ModelConfig) -> frozenset[str]:
    """What the head's instances run on; empty where the config leaves that to Triton or to the model."""
    devices: set[str] = set()
    for group in config.instance_group:
        if group.kind == model_config_pb2.ModelInstanceGroup.KIND_CPU:
            devices.add("cpu")
        elif group.kind == model_config_pb2.ModelInstanceGroup.KIND_GPU:
            # Without numbers: every GPU that Triton sees.
            devices.update(f"gpu:{number}" for number in group.gpus) if group.gpus else devices.add("gpu")
        else:
            return frozenset()
    return frozenset(devices)


def _type_name(data_type: int) -> str:
    return str(model_config_pb2.DataType.Name(data_type))
