"""Ensembles, generated from the configured heads: one Triton call scores a batch with every head of a
modality.

An ensemble's name carries a digest over its heads' names, versions and digests, and its steps are pinned to
those versions, so a batch always meets the models it was made for. Heads with equal views read one tensor.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from floodgate.errors import ModelError
from floodgate.triton.process import GUARD_BACKEND
from floodgate.triton.repository import (
    CONFIG,
    IMAGE_INPUT,
    TEXT_INPUTS,
    config_file,
    image_dims,
    parse_config,
)
from floodgate.types import (
    EnsembleSpec,
    HeadSpec,
    ImageViewSpec,
    Modality,
    TensorSpec,
    TextViewSpec,
    ViewSpec,
    output_name,
)


def length_name(tensor: str) -> str:
    """The tensor of row lengths that goes with a text tensor."""
    return f"{tensor}_length"


def build_ensembles(heads: Sequence[HeadSpec]) -> tuple[EnsembleSpec, ...]:
    """One ensemble per modality that has heads. Raises ModelError for two different text views.

    Ensembles with heads on a common device get the same ``device``; where a head does not say what it runs on, all do.
    """
    ensembles: list[EnsembleSpec] = []
    for modality in Modality:
        members = tuple(sorted((h for h in heads if h.modality is modality), key=lambda head: head.name))
        if members:
            ensembles.append(_build(modality, members))
    names = _shared_devices([[head.devices for head in spec.heads] for spec in ensembles])
    return tuple(replace(spec, device=name) for spec, name in zip(ensembles, names, strict=True))


def _shared_devices(heads: Sequence[Sequence[frozenset[str]]]) -> list[str]:
    """A name for what each ensemble runs on, by the devices of its heads: the same where any of them is."""
    if any(not devices for each in heads for devices in each):
        return [""] * len(heads)
    if any("gpu" in devices for each in heads for devices in each):  # every GPU, the numbered ones among them
        heads = [[frozenset(name.partition(":")[0] for name in devices) for devices in each] for each in heads]
    groups: list[set[str]] = []
    for each in heads:
        joined = set[str]().union(*each)
        apart = [group for group in groups if group.isdisjoint(joined)]
        groups = [*apart, joined.union(*(group for group in groups if group not in apart))]
    return [next(" ".join(sorted(group)) for group in groups if group >= each[0]) for each in heads]


def _build(modality: Modality, heads: tuple[HeadSpec, ...]) -> EnsembleSpec:
    views = list(dict.fromkeys(head.view for head in heads))
    if modality is Modality.TEXT and len(views) > 1:
        names = ", ".join(head.name for head in heads)
        raise ModelError(f"the text heads {names} declare different views; text heads share one")
    tensors = _name_tensors(views)
    total = hashlib.sha256()
    for head in heads:
        total.update(f"{head.name}\0{head.version}\0{head.digest}\n".encode())
    digest = total.hexdigest()
    return EnsembleSpec(
        name=f"{modality.value}@{digest[:8]}",
        digest=digest,
        modality=modality,
        heads=heads,
        tensors=tensors,
        max_batch=min(head.max_batch for head in heads),
    )


def _name_tensors(views: Sequence[ViewSpec]) -> tuple[TensorSpec, ...]:
    tensors: list[TensorSpec] = []
    for view in views:
        if isinstance(view, TextViewSpec):
            name = "text"
        else:
            height, width, _ = image_dims(view) if view.layout == "nhwc" else (*image_dims(view)[1:], 3)
            name = f"image_{width}x{height}_{view.color}"
        taken = sum(1 for tensor in tensors if tensor.name == name or tensor.name.startswith(f"{name}_v"))
        tensors.append(TensorSpec(name if not taken else f"{name}_v{taken + 1}", view))
    return tuple(tensors)


def head_inputs(head: HeadSpec, tensor: str) -> dict[str, str]:
    """The head's input name -> the ensemble's tensor that feeds it."""
    if head.modality is Modality.TEXT:
        return dict(zip(TEXT_INPUTS, (tensor, length_name(tensor)), strict=True))
    return {IMAGE_INPUT: tensor}


def ensemble_message(spec: EnsembleSpec) -> model_config_pb2.ModelConfig:
    """The ensemble as Triton's own message."""
    config = model_config_pb2.ModelConfig(name=spec.name, platform="ensemble", max_batch_size=spec.max_batch)
    config.version_policy.specific.versions.append(1)
    for tensor in spec.tensors:
        if isinstance(tensor.view, ImageViewSpec):
            dims = image_dims(tensor.view)
            config.input.add(name=tensor.name, data_type=model_config_pb2.TYPE_UINT8, dims=dims)
        else:
            config.input.add(name=tensor.name, data_type=model_config_pb2.TYPE_UINT8, dims=[-1])
            length = length_name(tensor.name)
            config.input.add(name=length, data_type=model_config_pb2.TYPE_INT32, dims=[1])
    for head in spec.heads:
        step = config.ensemble_scheduling.step.add(model_name=head.name, model_version=head.version)
        step.input_map.update(head_inputs(head, spec.tensor_of(head)))
        for output in head.outputs:
            name = output_name(head.name, output.name)
            step.output_map[output.name] = name
            config.output.add(name=name, data_type=model_config_pb2.TYPE_FP32, dims=output.shape)
    return config


def ensemble_config(spec: EnsembleSpec) -> str:
    """The ensemble's ``config.pbtxt``."""
    return str(text_format.MessageToString(ensemble_message(spec)))


def assemble(run_repository: Path, repository: Path, ensembles: Sequence[EnsembleSpec]) -> None:
    """Write the run-time repository: each head by reference to its versions, plus the generated ensembles.

    ``ensembles`` are all that may still be called; a head that they use in several versions is served in
    all of them. Idempotent: a file already as it should be is not touched, so a running server sees no
    change.
    """
    write_heads(run_repository, repository, ensembles)
    for spec in ensembles:
        folder = run_repository / spec.name
        (folder / "1").mkdir(parents=True, exist_ok=True)
        _write(folder / CONFIG, ensemble_config(spec).encode())


def write_heads(
    run_repository: Path, repository: Path, ensembles: Sequence[EnsembleSpec], *, copy: bool = False
) -> None:
    """The part of ``assemble`` that is the heads. ``copy``: what they consist of is copied, not referred to."""
    place = _copy if copy else _link
    run_repository.mkdir(parents=True, exist_ok=True)
    heads = [head for spec in ensembles for head in spec.heads]
    for name, config_name in {head.name: head.config_name for head in heads}.items():
        source, folder = repository / name, run_repository / name
        versions = sorted({head.version for head in heads if head.name == name})
        _write(folder / CONFIG, _pinned_config(config_file(source, config_name), name, versions).encode())
        for entry in source.iterdir():
            if entry.is_file() and entry.name not in (CONFIG, "card.md"):
                place(folder / entry.name, entry)
        for version in versions:
            place(folder / str(version), source / str(version))


def _pinned_config(file: Path, name: str, versions: Sequence[int]) -> str:
    config = parse_config(file)
    config.name = name
    if config.backend == "python":
        config.backend = GUARD_BACKEND
    config.ClearField("version_policy")
    config.version_policy.specific.versions.extend(versions)
    return str(text_format.MessageToString(config))


def _write(path: Path, content: bytes) -> None:
    if path.is_file() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.new")
    scratch.write_bytes(content)
    os.replace(scratch, path)


def _link(link: Path, target: Path) -> None:
    target = target.resolve()
    if link.is_symlink():
        if Path(os.readlink(link)) == target:
            return
        link.unlink()
    elif link.is_dir():
        shutil.rmtree(link)
    link.symlink_to(target)


def _copy(copy: Path, original: Path) -> None:
    if original.is_dir():
        shutil.copytree(original, copy, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy2(original, copy)
