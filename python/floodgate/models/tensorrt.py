"""Building a plan with TensorRT or TensorRT-RTX: one path, as both have the same names.

TensorRT builds on the GPU that the plan is for, and times its kernels there. TensorRT-RTX builds ahead of time, with no
GPU, and compiles kernels where the plan is loaded. Both get a strongly typed network: the graph says what is computed
in which precision, and the builder flags for that are gone from TensorRT 11 and TensorRT-RTX.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, cast

from floodgate.errors import ModelError
from floodgate.models.gpu import Gpu

EXTRAS = {
    "tensorrt": "install floodgate[tensorrt-cu12] or floodgate[tensorrt-cu13], as is the CUDA of its Triton, with the "
    "version of TensorRT that is there",
    "tensorrt_rtx": "install floodgate[tensorrt-rtx]",
}
"""Python module -> the extra of this project that brings it, and what to mind."""

_WORKSPACE_BYTES = 4 << 30
_MOST_ROWS = 1024  # core.max_batch has no more
_FP8_CAPABILITY = 8.9  # Ada; Hopper has it too


class TensorRT(Protocol):
    """What is used of the modules ``tensorrt`` and ``tensorrt_rtx``."""

    __version__: str
    ILogger: Any
    Builder: Any
    NetworkDefinitionCreationFlag: Any
    OnnxParser: Any
    MemoryPoolType: Any
    ComputeCapability: Any  # TensorRT-RTX only


@dataclass(frozen=True, slots=True)
class Profile:
    """Batch sizes: the least, the one to be fastest at, and the most."""

    least: int
    best: int
    most: int

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.best <= self.most:
            raise ModelError(f"a profile is min,opt,max with 1 <= min <= opt <= max, not {self}")
        if self.most > _MOST_ROWS:
            raise ModelError(f"a profile has at most {_MOST_ROWS} rows, not {self}")

    def __str__(self) -> str:
        return f"{self.least},{self.best},{self.most}"

    @classmethod
    def parse(cls, text: str) -> Profile:
        """Of "1,8,16". Raises ModelError."""
        try:
            least, best, most = (int(word) for word in text.split(","))
        except ValueError:
            raise ModelError(f"a profile is min,opt,max, such as 1,8,16, not {text!r}") from None
        return cls(least, best, most)


@dataclass(frozen=True, slots=True)
class Plan:
    """A built engine. ``timing_cache`` is what the builder knows now of kernels' times; b"" for TensorRT-RTX."""

    data: bytes
    version: str
    flags: tuple[str, ...]
    timing_cache: bytes


def load_builder(module: str) -> TensorRT:
    """The Python module ``module``. Raises ModelError saying how to get it, or why it cannot be loaded."""
    try:
        return cast("TensorRT", importlib.import_module(module))
    except ModuleNotFoundError as error:
        if error.name != module:
            raise ModelError(f"the Python package {module} is broken: it needs {error.name}") from error
        raise ModelError(
            f"building needs the Python package {module!r}, which is not installed; {EXTRAS[module]}"
        ) from error
    except (ImportError, OSError, RuntimeError) as error:
        raise ModelError(f"the Python package {module} cannot be loaded: {error}") from error


def build_plan(
    builder_module: TensorRT,
    graph: bytes,
    profile: Profile,
    *,
    compute_capabilities: Sequence[str] = (),
    timing_cache: bytes | None = None,
) -> Plan:
    """A plan of ``graph`` (ONNX), whose inputs all have the batch first and other sides fixed.

    ``compute_capabilities``: what TensorRT-RTX shall build for ("8.9", …); empty: its default, 8.0 and later.
    ``timing_cache``: of an earlier build with this builder on this GPU, b"" for a first one, None: without one.
    Raises ModelError naming node and operator of what the parser does not take, or with what the builder said.
    """
    trt = builder_module
    log = _make_log(trt)
    builder = _made(trt.Builder(log), log, "starts no builder")
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = _made(builder.create_network(typed), log, "makes no network")
    _parse(trt.OnnxParser(network, log), graph)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
    _set_capabilities(trt, config, compute_capabilities)
    config.add_optimization_profile(_shapes(builder, network, profile))
    cache = _Cache(config, timing_cache)
    serialized = _made(builder.build_serialized_network(network, config), log, "cannot build the network")
    return Plan(
        data=bytes(serialized),
        version=trt.__version__,
        flags=("STRONGLY_TYPED", *(("TIMING_CACHE",) if timing_cache is not None else ())),
        timing_cache=cache.content(),
    )


def _make_log(trt: TensorRT) -> Any:
    """A logger that keeps warnings and errors instead of printing them."""

    class Log(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if int(severity) <= int(trt.ILogger.ERROR):
                self.lines.append(message.strip())

    return Log()


def _made(thing: Any, log: Any, complaint: str) -> Any:
    if thing is None or (hasattr(thing, "__bool__") and not thing):
        said = "; ".join(log.lines[-3:]) or "it gave no reason"
        raise ModelError(f"TensorRT {complaint}: {said}")
    return thing


def _parse(parser: Any, graph: bytes) -> None:
    if parser.parse(graph):
        return
    complaints = [_complaint(parser.get_error(index)) for index in range(parser.num_errors)]
    raise ModelError("; ".join(dict.fromkeys(complaints)) or "TensorRT cannot parse the graph and does not say why")


def _complaint(error: Any) -> str:
    operator = error.node_operator()
    if not operator:
        return f"TensorRT cannot parse the graph: {error.desc()}"
    node = f"node {error.node_name()!r}" if error.node_name() else f"node number {error.node()}, which has no name"
    where = f"{node}, operator {operator}"
    if error.code().name in ("UNSUPPORTED_NODE", "UNSUPPORTED_GRAPH") or "Plugin not found" in error.desc():
        return f"{where}: TensorRT does not support this operator"
    return f"{where}: {error.desc()}"


def _set_capabilities(trt: TensorRT, config: Any, wanted: Sequence[str]) -> None:
    if not wanted:
        return
    known: Mapping[str, Any] = dict(getattr(getattr(trt, "ComputeCapability", None), "__members__", {}))
    config.num_compute_capabilities = len(wanted)
    for index, capability in enumerate(wanted):
        name = "SM" + capability.replace(".", "")
        if name not in known:
            able = ", ".join(f"{word[2:-1]}.{word[-1]}" for word in sorted(known, key=_number) if word.startswith("SM"))
            raise ModelError(f"cannot build for compute capability {capability!r}; this builder knows {able or 'none'}")
        config.set_compute_capability(known[name], index)


def _number(name: str) -> int:
    """120 of "SM120"."""
    return int(name.removeprefix("SM")) if name.removeprefix("SM").isdigit() else 0


def _shapes(builder: Any, network: Any, profile: Profile) -> Any:
    shapes = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        batch, *sides = tuple(tensor.shape)
        if batch != -1 or any(side < 1 for side in sides):
            raise ModelError(
                f"input {tensor.name} has the shape {[batch, *sides]}; only the batch, which comes first, may be open"
            )
        shapes.set_shape(tensor.name, *((size, *sides) for size in (profile.least, profile.best, profile.most)))
    return shapes


class _Cache:
    """The timing cache of one build. One that the builder does not take (another GPU or version, damaged) is left
    aside for an empty one."""

    def __init__(self, config: Any, content: bytes | None) -> None:
        self._config = config
        self._used = content is not None
        if content is None:
            return
        for attempt in (content, b""):
            with _deprecated_calls():
                cache = config.create_timing_cache(attempt)
                if cache is not None and config.set_timing_cache(cache, False):
                    return

    def content(self) -> bytes:
        if not self._used:
            return b""
        with _deprecated_calls():
            cache = self._config.get_timing_cache()
            return bytes(cache.serialize()) if cache is not None else b""


@contextmanager
def _deprecated_calls() -> Iterator[None]:
    """TensorRT-RTX has the calls, but they do nothing there, and it warns of that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def require_gpu(gpu: Gpu | None, precision: str) -> Gpu:
    """``gpu``, or ModelError: TensorRT times kernels on the GPU that it builds for, which must know ``precision``."""
    if gpu is None:
        raise ModelError(
            "TensorRT builds a plan on the GPU that will run it, and here is none (no driver, or no device); build on "
            "such a machine. `--platform tensorrt-rtx` builds anywhere, which shows that a graph parses and builds"
        )
    if precision == "fp8" and float(gpu.compute_capability) < _FP8_CAPABILITY:
        raise ModelError(
            f"fp8 needs compute capability {_FP8_CAPABILITY}, and {gpu.name} has {gpu.compute_capability}; build int8"
        )
    return gpu
