"""Which heads are served on which platform, and whether their files are right."""

from __future__ import annotations

from floodgate.config import Config
from floodgate.errors import ModelError
from floodgate.models import Finding, Machine, verify, verify_built
from floodgate.models.gpu import find_gpu, find_tensorrt
from floodgate.triton.repository import load_heads
from floodgate.types import BUILT_FILES, HeadSpec

TENSORRT = "tensorrt"
_CPU = "cpu"
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def served_heads(config: Config) -> tuple[HeadSpec, ...]:
    """The configured heads, each as its platform runs it. Raises ModelError."""
    for head, platform in config.triton.platforms.items():
        file = config.model_repository / head / "configs" / f"{platform}.pbtxt"
        if platform != _CPU and (config.model_repository / head).is_dir() and not file.is_file():
            raise ModelError(f"triton.platforms has {head} run on {platform}, but there is no {file}")
    platforms = {head: config.triton.platforms.get(head, config.triton.platform) for head in config.heads}
    names = {head: platform for head, platform in platforms.items() if platform != _CPU}
    return load_heads(config.model_repository, config.heads, config_names=names)


def on_tensorrt(heads: tuple[HeadSpec, ...]) -> list[str]:
    """Names of the heads that need a Triton with the TensorRT back end."""
    return [head.name for head in heads if head.config_name == TENSORRT]


def is_triton_here(config: Config) -> bool:
    """Whether the server's Triton runs on this machine."""
    return not config.triton.address or config.triton.address.rpartition(":")[0] in _LOOPBACK


def check_files(config: Config, heads: tuple[HeadSpec, ...], *, on_this_machine: bool) -> tuple[Finding, ...]:
    """One finding for each head: built files against their records, and against this machine where Triton runs here;
    the others' weights against the lock. Raises ModelError when the lock cannot be read."""
    unbuilt = [head.name for head in heads if head.model_file not in BUILT_FILES]
    # The driver is not woken for what needs none; and nothing is known of another's machine.
    ours = on_this_machine and on_tensorrt(heads)
    machine = Machine(find_gpu(), find_tensorrt()) if ours else Machine()
    return (*verify(config.model_repository, unbuilt), *verify_built(config.model_repository, heads, machine))
