"""What a head declares in the ``parameters`` of its ``config.pbtxt``: JSON in, frozen values out, strictly.

Every function raises ModelError whose message names the file, the parameter and the member at fault.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from floodgate.errors import ModelError
from floodgate.types import Competence, ImageViewSpec, Role, TextViewSpec, ViewSpec

MAX_VIEW_SIDE = 4096  # kMaxViewSide in cpp/include/floodgate/view.h
OUTPUT_KINDS = ("scores", "boxes", "known_share")
REQUIRED = ("view", "labels", "competence", "licence", "output_kinds")
OPTIONAL = ("precision",)

_CHOICES = {
    "mode": ("stretch", "contain", "cover"),
    "filter": ("bilinear", "bicubic", "lanczos", "box", "hamming"),
    "pad_anchor": ("center", "top_left"),
    "color": ("rgb", "bgr"),
    "layout": ("nhwc", "nchw"),
}
# Members that a config spells in words: name -> (member of ImageViewSpec, the words; the second sets it).
_SWITCHES = {
    "alpha": ("ignore_alpha", ("composited", "ignored")),
    "orientation": ("ignore_orientation", ("applied", "ignored")),
}
_COLORS = ("pad_color", "background")
_SIDES = ("width", "height", "crop_width", "crop_height")


@dataclass(frozen=True, slots=True)
class Declared:
    """The parameters of one config file. ``file`` is only used in messages."""

    file: Path
    values: Mapping[str, str]

    def json(self, parameter: str) -> Any:
        try:
            return json.loads(self.values[parameter])
        except json.JSONDecodeError as error:
            raise self.error(parameter, f"is not JSON: {error}") from error

    def error(self, where: str, problem: str) -> ModelError:
        return ModelError(f"{self.file}: parameter {where} {problem}")

    def members(self, parameter: str, known: Iterable[str]) -> dict[str, Any]:
        """The parameter as an object none of whose members is outside ``known``."""
        value = self.json(parameter)
        if not isinstance(value, dict):
            raise self.error(parameter, "must be a JSON object")
        allowed = tuple(known)
        unknown = sorted(set(value) - set(allowed))
        if unknown:
            raise self.error(f"{parameter}.{unknown[0]}", f"is unknown; known members: {', '.join(allowed)}")
        return value


def check_parameter_names(declared: Declared) -> None:
    """All that are required are there and nothing else is."""
    for name in REQUIRED:
        if name not in declared.values:
            raise declared.error(name, f"is missing; a head declares {', '.join(REQUIRED)}")
    for name in sorted(declared.values):
        if name not in REQUIRED + OPTIONAL:
            raise declared.error(name, f"is unknown; known parameters: {', '.join(REQUIRED + OPTIONAL)}")


def parse_view(declared: Declared) -> ViewSpec:
    """``{"kind": "image", "width": …}`` or ``{"kind": "text", "buckets": […]}``; members as in ``floodgate.types``."""
    value = declared.json("view")
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind == "image":
        return _parse_image_view(declared)
    if kind == "text":
        return _parse_text_view(declared)
    raise declared.error("view.kind", f'must be "image" or "text", not {kind!r}')


def _parse_image_view(declared: Declared) -> ImageViewSpec:
    switched = {member for member, _ in _SWITCHES.values()}
    plain = (name for name in ImageViewSpec.__dataclass_fields__ if name not in switched)
    members = declared.members("view", ("kind", *plain, *_SWITCHES))
    members.pop("kind")
    for name in ("width", "height"):
        if name not in members:
            raise declared.error(f"view.{name}", "is missing")
    for name in _SIDES:
        side = members.get(name, 0)
        least = 1 if name in ("width", "height") else 0
        if not _is_int(side) or not least <= side <= MAX_VIEW_SIDE:
            raise declared.error(f"view.{name}", f"must be an integer in {least}..{MAX_VIEW_SIDE} px")
    for name, choices in _CHOICES.items():
        if name in members and members[name] not in choices:
            raise declared.error(f"view.{name}", f"must be one of {', '.join(choices)}, not {members[name]!r}")
    for name in _COLORS:
        color = members.get(name, [0, 0, 0])
        if not (isinstance(color, list) and len(color) == 3 and all(_is_int(c) and 0 <= c <= 255 for c in color)):
            raise declared.error(f"view.{name}", "must be three integers in 0..255: red, green, blue")
        if name in members:
            members[name] = tuple(color)
    for name, (member, words) in _SWITCHES.items():
        word = members.pop(name, words[0])
        if word not in words:
            raise declared.error(f"view.{name}", f"must be one of {', '.join(words)}, not {word!r}")
        members[member] = word == words[1]
    if members["ignore_alpha"] and "background" in members:
        raise declared.error("view.background", "has no effect when view.alpha is ignored")
    view = ImageViewSpec(**members)
    if (view.crop_width > 0) != (view.crop_height > 0):
        raise declared.error("view.crop_width", "and crop_height must be given together")
    if view.crop_width > view.width or view.crop_height > view.height:
        raise declared.error("view.crop_width", "x crop_height is larger than the picture it crops")
    return view


def _parse_text_view(declared: Declared) -> TextViewSpec:
    members = declared.members("view", ("kind", *TextViewSpec.__dataclass_fields__))
    buckets = members.get("buckets")
    if not (isinstance(buckets, list) and buckets and all(_is_int(b) and b > 0 for b in buckets)):
        raise declared.error("view.buckets", "must be a list of row lengths in bytes, each > 0")
    if sorted(set(buckets)) != buckets:
        raise declared.error("view.buckets", "must ascend")
    normalization = members.get("normalization", "none")
    if normalization != "none":
        raise declared.error("view.normalization", f'must be "none", not {normalization!r}')
    return TextViewSpec(tuple(buckets), normalization)


def parse_labels(declared: Declared) -> tuple[str, ...]:
    value = declared.json("labels")
    if not (isinstance(value, list) and value and all(isinstance(v, str) and v for v in value)):
        raise declared.error("labels", "must be a list of label names, one per column of the scores")
    repeated = next((label for label in value if value.count(label) > 1), None)
    if repeated is not None:
        raise declared.error("labels", f"names {repeated!r} twice")
    return tuple(value)


def parse_competence(declared: Declared) -> Competence:
    members = declared.members("competence", Competence.__dataclass_fields__)
    languages = _strings(declared, "competence.languages", members.get("languages", []))
    names = _strings(declared, "competence.roles", members.get("roles", []))
    unknown = next((name for name in names if name not in Role.__members__), None)
    if unknown is not None:
        raise declared.error("competence.roles", f"has {unknown!r}; known roles: {', '.join(Role.__members__)}")
    side = members.get("min_side_px", 0)
    if not _is_int(side) or side < 0:
        raise declared.error("competence.min_side_px", "must be an integer >= 0")
    share = members.get("min_known_share", 0.0)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0.0 <= share <= 1.0:
        raise declared.error("competence.min_known_share", "must be a number in [0, 1]")
    return Competence(languages, tuple(Role[name] for name in names), side, float(share))


def parse_output_kinds(declared: Declared) -> dict[str, str]:
    """Output name -> kind, for every output of the head."""
    value = declared.json("output_kinds")
    if not isinstance(value, dict):
        raise declared.error("output_kinds", "must be a JSON object: output name -> kind")
    for name, kind in value.items():
        if kind not in OUTPUT_KINDS:
            raise declared.error(f"output_kinds.{name}", f"must be one of {', '.join(OUTPUT_KINDS)}, not {kind!r}")
    return value


def _strings(declared: Declared, where: str, value: Any) -> tuple[str, ...]:
    if not (isinstance(value, list) and all(isinstance(v, str) and v for v in value)):
        raise declared.error(where, "must be a list of names")
    return tuple(value)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
