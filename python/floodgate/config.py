"""Configuration: defaults < file < environment < command line, checked before anything starts.

The file is YAML. Every key is also an environment variable: ``FLOODGATE_`` + the key in upper case, with ``__``
between levels (``FLOODGATE_PRECISION=f32``, ``FLOODGATE_LIMITS__PARTS=16``); lists are comma-separated and callers
can be set in the file only. Read at the edge (``cli``) and passed down as values: no other module reads files or
variables.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from floodgate.errors import ConfigError

ENV_PREFIX = "FLOODGATE_"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=False)


class Limits(_Section):
    """What one request may ask for. Bytes unless said otherwise."""

    message_bytes: int = Field(64 << 20, ge=1024, le=1 << 30)
    """One gRPC message. A larger one is INVALID_ARGUMENT (far over, by as much again or 64 MiB: gRPC's own
    RESOURCE_EXHAUSTED)."""
    bytes_in_flight: int = Field(512 << 20, ge=1024)
    """All messages being handled, counted before they are parsed; beyond: RESOURCE_EXHAUSTED."""
    requests_in_flight: int = Field(4096, ge=1)
    """Items being handled; beyond: RESOURCE_EXHAUSTED."""
    stream_in_flight: int = Field(64, ge=1)
    """Items of one stream being handled; the server stops reading the stream meanwhile."""
    parts: int = Field(64, ge=1, le=10_000)
    """Parts of an item."""
    image_bytes: int = Field(32 << 20, ge=1024)
    """One encoded picture; beyond: that part is UNREADABLE."""
    pixels: int = Field(100_000_000, ge=1)
    """Width times height of a picture; beyond: that part is UNREADABLE."""
    side_px: int = Field(65_535, ge=1)
    """Either side of a picture; beyond: that part is UNREADABLE."""
    text_bytes: int = Field(262_144, ge=1)
    """One text as UTF-8; beyond: that part is UNREADABLE."""


class CoreSettings(_Section):
    """The compiled core."""

    decode_workers: int = Field(0, ge=0, le=256)
    """Threads that decode; 0: half of the available cores, at least one."""
    arena_bytes: int = Field(512 << 20, ge=1 << 20)
    """Shared memory for encoded bytes that wait to be decoded."""
    buffers: int = Field(6, ge=2, le=64)
    """Batch buffers an ensemble."""
    credit: int = Field(2, ge=1, le=16)
    """Batches an ensemble may have at the inference server at once."""
    quarantine: int = Field(3, ge=1, le=63)
    """Buffers an ensemble may lose to unanswered calls before it is unavailable; less than `buffers`."""
    max_batch: int = Field(32, ge=1, le=1024)
    """Rows a batch; a head's own maximum also holds."""
    queue_rows: int = Field(8192, ge=1)
    """Rows waiting, over all lanes; beyond: RESOURCE_EXHAUSTED."""


class TritonSettings(_Section):
    """The inference server."""

    address: str = ""
    """HOST:PORT of a running Triton's gRPC port; empty: embedded."""
    memory: Literal["auto", "shm", "inline"] = "auto"
    """How batches travel; auto: system shared memory where the server takes it, else inline."""
    threads: int = Field(0, ge=0, le=1024)
    """Inference threads of the embedded server; 0: all available cores less the decode workers, at least one."""
    liveness_s: float = Field(30.0, gt=0)
    """An embedded server that is silent, or leaves a batch unanswered, for so long is killed and started again."""


class Caller(_Section):
    """What one caller may ask for."""

    lanes: tuple[Literal["STANDARD", "LIVE", "BULK"], ...] = ("STANDARD", "LIVE", "BULK")
    pin_policy: bool = True
    trace: bool = True
    evaluate: bool = True


class Config(_Section):
    """All settings. Relative paths are relative to the working directory."""

    address: str = "127.0.0.1:50051"
    """Where the gRPC service listens; port 0 picks a free one."""
    metrics_address: str = "127.0.0.1:9464"
    """Where Prometheus metrics are served; empty: nowhere."""
    model_repository: Path = Path("model_repository")
    heads: tuple[str, ...] = ("nsfw", "toxicity")
    """Heads to serve: directories of the model repository."""
    policy: Path = Path("policies/default.yaml")
    pinned_policies: tuple[Path, ...] = ()
    """More policy files, which requests may pin by their revision."""
    taxonomy: Path = Path("policies/taxonomy.yaml")
    state_dir: Path = Path("var")
    """Where the embedded Triton, its log and other run-time files live."""
    decision_log: Path = Path("var/decisions.jsonl")
    """One JSON line a decision."""
    precision: Literal["auto", "f32", "bf16"] = "auto"
    """CPU inference precision; auto: bf16 where the CPU has it, else f32."""
    answer_margin_ms: float = Field(10.0, ge=0, le=10_000)
    """How long before the gRPC deadline the answer is due."""
    default_budget_ms: float = Field(30_000.0, gt=0)
    """Budget of a request that has neither `budget` nor a gRPC deadline."""
    drain_s: float = Field(30.0, ge=0)
    """How long SIGTERM waits for accepted requests before it cancels them."""
    uvloop: bool = True
    limits: Limits = Limits()
    core: CoreSettings = CoreSettings()
    triton: TritonSettings = TritonSettings()
    callers: dict[str, Caller] = Field(default_factory=lambda: {"default": Caller()})
    """Until callers are authenticated, every request is the caller "default"."""

    @field_validator("heads")
    @classmethod
    def _heads_are_named_once(cls, heads: tuple[str, ...]) -> tuple[str, ...]:
        if not heads:
            raise ValueError("at least one head must be served")
        if len(set(heads)) != len(heads):
            raise ValueError("a head is named twice")
        return heads

    @field_validator("callers")
    @classmethod
    def _default_caller_is_there(cls, callers: dict[str, Caller]) -> dict[str, Caller]:
        if "default" not in callers:
            raise ValueError('the caller "default" is missing')
        return callers

    @field_validator("address", "metrics_address")
    @classmethod
    def _is_host_and_port(cls, address: str) -> str:
        if address == "":
            return address
        host, colon, port = address.rpartition(":")
        if not colon or not host or not port.isdigit() or int(port) > 65535:
            raise ValueError('an address is HOST:PORT, such as "127.0.0.1:50051"')
        return address


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


def available_cores() -> int:
    """Cores this process may use: its affinity mask and its cgroup v2 CPU quota, not the host's count."""
    cores = len(os.sched_getaffinity(0))
    try:
        own = Path("/proc/self/cgroup").read_text().strip().rsplit("::", 1)[-1].lstrip("/")
        folder = Path("/sys/fs/cgroup") / own
        while True:
            limit = folder / "cpu.max"
            if limit.is_file():
                quota, period = limit.read_text().split()
                if quota != "max":
                    cores = min(cores, max(1, int(quota) // int(period)))
            if folder == Path("/sys/fs/cgroup"):
                break
            folder = folder.parent
    except (OSError, ValueError):
        pass
    return max(1, cores)


def split_cores(config: Config) -> tuple[int, int]:
    """(decode workers, inference threads): what is configured, else a split of the available cores in which
    decoding takes half, rounded down, and inference the rest; each gets at least one."""
    cores = available_cores()
    workers = config.core.decode_workers or max(1, cores // 2)
    threads = config.triton.threads or max(1, cores - workers)
    return workers, threads
