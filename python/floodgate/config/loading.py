"""Reads file, environment and command line, and says of what is wrong where it stands."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from floodgate.config.settings import Caller, Config
from floodgate.errors import ConfigError

ENV_PREFIX = "FLOODGATE_"


def load_config(path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, Any] | None = None) -> Config:
    """Builds the configuration. ``overrides`` are command-line values by dotted key; None values are ignored.

    Raises ConfigError naming the file, line and column (or the variable, or the flag) and the key at fault.
    """
    tree, document = ({}, None) if path is None else _read(path)
    sources: dict[tuple[str, ...], str] = {}
    for variable, value in environ.items():
        key = _key_of(variable)
        if key is not None:
            _put(tree, key, _split_if_list(key, value))
            sources[key] = f"environment variable {variable}"
    for dotted, value in (overrides or {}).items():
        if value is not None:
            key = tuple(dotted.split("."))
            _put(tree, key, value)
            sources[key] = f"option --{dotted.replace('.', '-').replace('_', '-')}"
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(error, path, document, sources))) from None


def _read(path: Path) -> tuple[dict[str, Any], CommentedMap | None]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 (byte {error.start})") from None
    try:
        document = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise ConfigError(f"{where}: error: not valid YAML: {error.problem}") from None
    except YAMLError as error:
        raise ConfigError(f"{path}: error: not valid YAML: {error}") from None
    if document is None:
        return {}, None
    if not isinstance(document, CommentedMap):
        raise ConfigError(f"{path}:1:1: error: a configuration is a mapping of keys to values")
    plain = _plain(document)
    return plain, document


def _plain(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    return node


def _key_of(variable: str) -> tuple[str, ...] | None:
    """The key that a variable sets; None for variables that are not configuration."""
    if not variable.startswith(ENV_PREFIX):
        return None
    key = tuple(variable[len(ENV_PREFIX) :].lower().split("__"))
    model: Any = Config
    for name in key:
        field = getattr(model, "model_fields", {}).get(name)
        if field is None:
            known = {name.rpartition("__")[2]: name for name in _variables(Config, ENV_PREFIX)}
            near = difflib.get_close_matches(variable, known.values(), 1)
            asked = variable.removeprefix(ENV_PREFIX).upper().rpartition("__")[2]
            hint = [known[asked]] if asked in known else near
            raise ConfigError(
                f"environment variable {variable}: no such setting"
                + (f"\nhint: did you mean {hint[0]}?" if hint else "")
            )
        model = field.annotation
    return key


def _variables(model: Any, prefix: str) -> Iterator[str]:
    """Every variable that sets something, sections in full."""
    for name, field in model.model_fields.items():
        below = getattr(field.annotation, "model_fields", None)
        if below:
            yield from _variables(field.annotation, f"{prefix}{name.upper()}__")
        else:
            yield prefix + name.upper()


def _split_if_list(key: tuple[str, ...], value: str) -> Any:
    annotation: Any = Config
    for name in key:
        annotation = annotation.model_fields[name].annotation
    if get_origin(annotation) is tuple and get_args(annotation):
        return [word.strip() for word in value.split(",") if word.strip()]
    return value


def _put(tree: dict[str, Any], key: tuple[str, ...], value: Any) -> None:
    for name in key[:-1]:
        below = tree.setdefault(name, {})
        if not isinstance(below, dict):
            below = tree[name] = {}
        tree = below
    tree[key[-1]] = value


def _explain(
    error: ValidationError,
    path: Path | None,
    document: CommentedMap | None,
    sources: Mapping[tuple[str, ...], str],
) -> list[str]:
    lines = []
    for problem in error.errors():
        loc = tuple(str(step) for step in problem["loc"])
        source = next((sources[loc[:n]] for n in range(len(loc), 0, -1) if loc[:n] in sources), None)
        where = source or _position(path, document, problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "tuple_type":
            message = "must be a list, such as [a, b]"
        if problem["type"] == "dict_type":
            message = "must be a mapping of keys to values" + (", which only the file can have" if source else "")
        if problem["type"] == "model_type":
            message = "must be a mapping of keys to values"
        hint = ""
        if problem["type"] == "extra_forbidden":
            message = f"unknown key {loc[-1]!r}"
            near = difflib.get_close_matches(loc[-1], _known_keys(loc[:-1]), 1)
            hint = f"\nhint: did you mean {near[0]!r}?" if near else ""
        lines.append(f"{where}: error: {'.'.join(loc)}: {message}{hint}")
    return lines


def _position(path: Path | None, document: CommentedMap | None, loc: tuple[int | str, ...]) -> str:
    line = column = 0
    node: Any = document
    for step in loc:
        if isinstance(node, CommentedMap) and step in node:
            line, column = node.lc.key(step)
            node = node[step]
        elif isinstance(node, list) and isinstance(step, int) and step < len(node):
            line, column = node.lc.item(step)  # type: ignore[attr-defined]
            node = node[step]
    return f"{path}:{line + 1}:{column + 1}" if path else "configuration"


def _known_keys(loc: tuple[str, ...]) -> list[str]:
    model: Any = Config
    for name in loc:
        field = getattr(model, "model_fields", {}).get(name)
        if field is None:
            return list(Caller.model_fields) if loc[:1] == ("callers",) else []
        model = field.annotation
    return list(getattr(model, "model_fields", {}))
