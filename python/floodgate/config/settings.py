"""What can be configured, with defaults, ranges and what must fit together."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

ARENA_RESERVE = 0.1
"""Share of the arena that only LIVE may use."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=False)


class Limits(_Section):
    """What one request may ask for. Bytes unless said otherwise."""

    message_bytes: int = Field(80 << 20, ge=1024, le=1 << 30)
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
    """One encoded picture; beyond this and each of the following: that part is UNREADABLE."""
    video_bytes: int = Field(64 << 20, ge=1024)
    """One encoded video."""
    pixels: int = Field(100_000_000, ge=1)
    """Width times height of a picture, an animation's canvas or a video's frame."""
    side_px: int = Field(65_535, ge=1, le=65_535)
    """Either side of a picture or frame."""
    duration_s: int = Field(4 * 3600, ge=1, le=1_000_000)
    """Length of a video or an animation, seconds."""
    animation_frames: int = Field(4096, ge=1, le=1_000_000)
    """Frames that an animated picture holds (not those that are judged)."""
    scans: int = Field(100, ge=1, le=10_000)
    """Scans of a progressive JPEG, each of which goes over the whole picture."""
    coefficient_bytes: int = Field(512 << 20, ge=1 << 20)
    """Memory for the coefficients of a progressive JPEG, 2 bytes each, which are all kept until its last scan."""
    cpu_ms: int = Field(20_000, ge=1, le=3_600_000)
    """CPU time of decoding one part, ms; enforced on sandboxed workers."""
    frames: int = Field(256, ge=1, le=1024)
    """Frames of a part that a request or a policy may have judged; who asks for more gets so many."""
    text_bytes: int = Field(262_144, ge=1)
    """One text as UTF-8; beyond: that part is UNREADABLE."""

    @field_validator("image_bytes", "video_bytes", "text_bytes")
    @classmethod
    def _fits_into_a_message(cls, value: int, info: ValidationInfo) -> int:
        message_bytes = info.data.get("message_bytes")
        if message_bytes is not None and value > message_bytes:
            raise ValueError(
                f"{value} bytes never arrive: one message holds {message_bytes} (limits.message_bytes); raise that, or "
                "lower this"
            )
        return value


class MediaSettings(_Section):
    """How pictures and videos are decoded."""

    views: Literal["exact", "fast"] = "exact"
    """How heads' views are made. exact: as Pillow's decode and resize. fast: a JPEG is first decoded at 1/2, 1/4 or 1/8
    of its size, as Pillow's `draft` does, as long as neither side falls below `decode_min`. Part of the preprocessing
    digest."""
    decode_min: int = Field(512, ge=1, le=65_535)
    """The smallest side, px, to which fast views may shrink a JPEG before the resize. No head's view may be larger.
    Without effect on exact views."""
    device: Literal["cpu", "auto", "cuda"] = "cpu"
    """Where baseline JPEGs are decoded and rendered. cpu: in the sandbox, as all else. cuda: on an NVIDIA GPU through
    nvJPEG, which reads strangers' bytes in the server's own process; serve refuses to start without one. auto: so where
    there is a GPU, else on the CPU, saying why. What the GPU does not take goes to the CPU and is counted. Needs exact
    views. Part of the preprocessing digest, because nvJPEG's pixels differ from libjpeg's in the last bits."""
    device_ordinal: int = Field(0, ge=0, le=63)
    """Which GPU, as CUDA counts them."""
    device_memory_mb: int = Field(1024, ge=16, le=1 << 20)
    """GPU memory for pictures on their way, MiB; batch buffers take theirs besides."""
    sandbox: bool = True
    """Decode in separate processes that may open no file and no socket; false: on threads of the server, where a
    codec's crash is the server's."""
    worker_memory_mb: int = Field(1024, ge=64, le=1 << 20)
    """Address space of a sandboxed worker, MiB, beyond the arena and the buffers."""
    hang_ms: int = Field(5000, ge=100, le=600_000)
    """A sandboxed worker that is not done so long after it could have used its CPU time is replaced, ms."""
    max_frames: int = Field(16, ge=1, le=1024)
    """Frames judged of a video or an animation when neither request nor policy says; at most `limits.frames`."""
    min_interval_ms: int = Field(500, ge=0, le=3_600_000)
    """Of a short one no more than two frames and one for every so many ms, key frames so far apart; likewise."""
    faults: bool = False
    """For tests only: sandboxed workers obey marks in the content that make them crash, hang or break the rules."""

    @model_validator(mode="after")
    def _device_decodes_exactly(self) -> MediaSettings:
        if self.device != "cpu" and self.views == "fast":
            raise ValueError(
                f"device is {self.device} and views is fast, but only libjpeg decodes at a fraction of the size; set "
                "views to exact or device to cpu"
            )
        return self


class LaneFloors(_Section):
    """Share of the time that a lane gets while it has work, however busy the others are. What is left goes to LIVE
    first, then to STANDARD, then to BULK. Together at most 1."""

    live: float = Field(0.25, ge=0, le=1)
    standard: float = Field(0.25, ge=0, le=1)
    bulk: float = Field(0.05, ge=0, le=1)

    @model_validator(mode="after")
    def _within_the_whole(self) -> LaneFloors:
        if (together := self.live + self.standard + self.bulk) > 1:
            raise ValueError(f"the floors add up to {together:g}; at most 1 can be promised")
        return self


class CoreSettings(_Section):
    """The compiled core."""

    decode_workers: int = Field(0, ge=0, le=256)
    """Decodes at once, each on a thread or in a sandboxed process; 0: half of the available cores, less the acceptors,
    at least one."""
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
    max_wait_s: float = Field(30.0, gt=0, le=86_400)
    """What has no earlier deadline must be expected to be answered within so long; else: RESOURCE_EXHAUSTED."""
    lane_floors: LaneFloors = LaneFloors()


Platform = Literal["cpu", "tensorrt", "openvino-int8"]


class TritonSettings(_Section):
    """The inference server."""

    address: str = ""
    """HOST:PORT of a running Triton's gRPC port; empty: embedded."""
    platform: Platform = "cpu"
    """What heads run on: those with a configuration for it (`configs/<platform>.pbtxt`); the others stay on the CPU.
    All but cpu need `floodgate models build` first, and tensorrt a Triton of your own."""
    platforms: dict[str, Platform] = Field(default_factory=dict)
    """Heads that run on another platform than that: head -> platform, for which it must have a configuration. In the
    file only."""
    memory: Literal["auto", "shm", "inline"] = "auto"
    """How batches travel; auto: system shared memory where the server takes it, else inline."""
    threads: int = Field(0, ge=0, le=1024)
    """Inference threads of the embedded server; 0: all available cores less acceptors and decode workers, at least
    one."""
    liveness_s: float = Field(30.0, gt=0, le=86_400)
    """An embedded server that is silent, or leaves a batch or the loading of a model unanswered, for so long is killed
    and started again. Its first loading of all models is not meant."""

    @field_validator("address")
    @classmethod
    def _is_host_and_port(cls, address: str) -> str:
        return check_address(address, 1) if address else address


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
    go_first: bool = True
    """Whether the threads that keep deadlines go before other work on the machine, where that is allowed
    (CAP_SYS_NICE). Off: for cores that are shared with what must not wait for them."""
    limits: Limits = Limits()
    media: MediaSettings = MediaSettings()
    core: CoreSettings = CoreSettings()
    triton: TritonSettings = TritonSettings()
    acceptors: int = Field(0, ge=0, le=64)
    """Processes that take requests, in front of the one that schedules them; 0: that one does it itself. Connections
    are dealt out among them by the kernel. Each has its share of `core.arena_bytes`, `limits.requests_in_flight` and
    `limits.bytes_in_flight`."""
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

    @field_validator("triton")
    @classmethod
    def _platforms_are_of_served_heads(cls, triton: TritonSettings, info: ValidationInfo) -> TritonSettings:
        heads = info.data.get("heads", ())
        if heads and (odd := sorted(set(triton.platforms) - set(heads))):
            raise ValueError(f"platforms names {odd[0]!r}, which is not among heads ({', '.join(heads)})")
        return triton

    @field_validator("callers")
    @classmethod
    def _default_caller_is_there(cls, callers: dict[str, Caller]) -> dict[str, Caller]:
        if "default" not in callers:
            raise ValueError('the caller "default" is missing')
        return callers

    @field_validator("acceptors")
    @classmethod
    def _decoders_behind_acceptors_are_sandboxed(cls, acceptors: int, info: ValidationInfo) -> int:
        media = info.data.get("media")
        if acceptors and media is not None and not media.sandbox:
            raise ValueError(
                "media.sandbox is false, and an acceptor can change what it submitted while threads of the server "
                "decode it: sandbox the decoders, or take requests in one process (acceptors: 0)"
            )
        return acceptors

    @field_validator("acceptors")
    @classmethod
    def _whatever_is_allowed_fits_into_an_arena(cls, acceptors: int, info: ValidationInfo) -> int:
        core, limits = info.data.get("core"), info.data.get("limits")
        if acceptors and core is not None and limits is not None:
            room = int(core.arena_bytes // acceptors * (1 - ARENA_RESERVE))
            largest = max(limits.image_bytes, limits.video_bytes)
            if room < largest:
                raise ValueError(
                    f"core.arena_bytes shared by {acceptors} leaves {room} bytes of each for one part, and limits "
                    f"allow {largest}: raise core.arena_bytes, or lower acceptors or limits.video_bytes"
                )
        return acceptors

    @property
    def acceptor_arena_bytes(self) -> int:
        """What each acceptor has of ``core.arena_bytes``."""
        return self.core.arena_bytes // max(1, self.acceptors)

    @field_validator("address", "metrics_address")
    @classmethod
    def _is_host_and_port(cls, address: str, info: ValidationInfo) -> str:
        return address if address == "" and info.field_name == "metrics_address" else check_address(address)


def check_address(address: str, least_port: int = 0) -> str:
    """``address``, if it is HOST:PORT with a port from ``least_port`` on. Raises ValueError saying what one is."""
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or not least_port <= int(port) <= 65535:
        raise ValueError(f'an address is HOST:PORT, such as "127.0.0.1:50051", not "{address}"')
    return address
