"""The compiled core: probe, decode, views, arena, buffers and the batch scheduler."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

# --------------------------------------------------------------------------- failures

CODES: tuple[str, ...]
"""Names of every failure code of the core; each is a key of ``floodgate.errors.CORE_ERRORS``."""

def raise_code(name: str, message: str) -> None:
    """Raise the exception that stands for code ``name``. Raises ValueError for a name not in ``CODES``."""

# --------------------------------------------------------------------------- media and views

class ImageView:
    """A picture's tensor: resize, then crop or pad, then colour order and layout; uint8.

    ``width``, ``height``: of the resize, px, 1 to 4096. ``mode``: "stretch" (Pillow's ``Image.resize``),
    "contain" (``ImageOps.pad``) or "cover" (``ImageOps.cover``, then a centre crop to width x height).
    ``filter``: "bilinear", "bicubic", "lanczos", "box" or "hamming". ``crop_width``, ``crop_height``:
    centre crop after all that, px; 0: none. ``pad_anchor``: "center" or "top_left". ``pad_color``: R, G, B,
    0 to 255.
    ``color``: "rgb" or "bgr". ``layout``: "nhwc" or "nchw". ``background``: R, G, B that alpha is composited on.
    ``ignore_alpha``: show the colours under the alpha as stored. ``ignore_orientation``: as stored, not upright.
    Raises InvalidRequest naming the member.
    """

    def __init__(
        self,
        width: int,
        height: int,
        mode: str = "stretch",
        filter: str = "bilinear",
        crop_width: int = 0,
        crop_height: int = 0,
        pad_anchor: str = "center",
        pad_color: tuple[int, int, int] = (0, 0, 0),
        color: str = "rgb",
        layout: str = "nhwc",
        background: tuple[int, int, int] = (255, 255, 255),
        ignore_alpha: bool = False,
        ignore_orientation: bool = False,
    ) -> None: ...
    @property
    def background(self) -> tuple[int, int, int]: ...
    @property
    def ignore_alpha(self) -> bool: ...
    @property
    def ignore_orientation(self) -> bool: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def mode(self) -> str: ...
    @property
    def filter(self) -> str: ...
    @property
    def crop_width(self) -> int: ...
    @property
    def crop_height(self) -> int: ...
    @property
    def pad_anchor(self) -> str: ...
    @property
    def pad_color(self) -> tuple[int, int, int]: ...
    @property
    def color(self) -> str: ...
    @property
    def layout(self) -> str: ...
    @property
    def out_width(self) -> int:
        """Of the rendered view, px: the crop's width, or ``width`` without a crop."""
    @property
    def out_height(self) -> int:
        """Of the rendered view, px: the crop's height, or ``height`` without a crop."""
    @property
    def row_bytes(self) -> int:
        """Bytes of one rendered picture: 3 * out_width * out_height."""
    def __eq__(self, other: object, /) -> bool: ...
    __hash__: ClassVar[None]  # type: ignore[assignment]

class TextView:
    """A text's tensor: rows of UTF-8 bytes, padded to the smallest bucket that fits.

    ``buckets``: row lengths, bytes, ascending, 1 to 1048576. Raises InvalidRequest.
    """

    def __init__(self, buckets: list[int] | tuple[int, ...]) -> None: ...
    @property
    def buckets(self) -> tuple[int, ...]: ...
    @property
    def max_bytes(self) -> int:
        """The longest row, bytes."""
    def __eq__(self, other: object, /) -> bool: ...
    __hash__: ClassVar[None]  # type: ignore[assignment]

class MediaLimits:
    """What is refused, before it is decoded where a header tells; ``floodgate::MediaLimits`` says what each is."""

    def __init__(
        self,
        max_bytes: int = 33554432,
        max_video_bytes: int = 67108864,
        max_pixels: int = 100000000,
        max_side_px: int = 65535,
        max_duration_ms: int = 14400000,
        max_animation_frames: int = 4096,
        max_scans: int = 100,
        max_coefficient_bytes: int = 536870912,
        max_cpu_ms: int = 20000,
    ) -> None: ...
    @property
    def max_video_bytes(self) -> int: ...
    @property
    def max_duration_ms(self) -> int: ...
    @property
    def max_animation_frames(self) -> int: ...
    @property
    def max_scans(self) -> int: ...
    @property
    def max_coefficient_bytes(self) -> int: ...
    @property
    def max_cpu_ms(self) -> int: ...
    @property
    def max_bytes(self) -> int: ...
    @property
    def max_pixels(self) -> int: ...
    @property
    def max_side_px(self) -> int: ...

class MediaInfo:
    """What ``probe`` read from the header of a picture or a video. Sizes are as stored, before orientation."""

    @property
    def format(self) -> str:
        """ "jpeg", "png", "webp", "gif", "bmp", "avif", "heic", "mp4", "matroska", "mpegts", "avi" or "flv"."""
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def orientation(self) -> int:
        """EXIF orientation, 1 (upright) to 8."""
    @property
    def bits(self) -> int:
        """Per channel, as stored."""
    @property
    def channels(self) -> int:
        """As stored: 1 grey, 2 grey and alpha, 3 colour, 4 colour and alpha, or CMYK."""
    @property
    def has_alpha(self) -> bool: ...
    @property
    def progressive(self) -> bool:
        """A progressive JPEG or an interlaced PNG."""
    @property
    def frames(self) -> int:
        """More than 1 when animated; 0: more than one, how many is unknown."""
    @property
    def duration_ms(self) -> int:
        """0: a still, or unknown."""
    @property
    def is_sequence(self) -> bool:
        """A video or an animated picture."""
    @property
    def is_video(self) -> bool: ...
    @property
    def decode_cost_ns(self) -> int:
        """Estimate of the CPU time of decoding one frame, ns."""

def probe(data: bytes, limits: MediaLimits = ...) -> MediaInfo:
    """Read a picture's header (at most 64 KB of it are touched, nothing is decoded).

    Raises InvalidContent (empty, truncated, nonsense), UnsupportedContent (names the format) or
    ContentTooLarge (names the limit and the value).
    """

def render_views(
    data: bytes, views: Sequence[ImageView], limits: MediaLimits = ..., decode_min: int = 0
) -> list[bytes]:
    """Decode a picture once and render its views: exactly the uint8 pixels that heads see.

    ``decode_min``: 0: at full size; else as small as Pillow's ``draft((decode_min, decode_min))`` makes it, px.
    Returns ``view.row_bytes`` bytes each, shaped (out_height, out_width, 3) for "nhwc" and
    (3, out_height, out_width) for "nchw". Raises what ``probe`` raises, for pixels as well as headers, and
    Overloaded without memory.
    """

def decode_picture(data: bytes, limits: MediaLimits = ..., decode_min: int = 0) -> tuple[int, int, bytes]:
    """(width, height, packed RGB) of a picture, upright, alpha on white. Raises as ``render_views``."""

def sample_frames(
    data: bytes, max_frames: int, min_interval_ms: int = 0, seed: int = 0, limits: MediaLimits = ...
) -> tuple[list[tuple[int, int, int, bytes]], dict[str, Any]]:
    """[(presentation time in ms, width, height, packed RGB)] of a video or an animated picture, and what is known of
    it: width, height, duration_ms, planned, codec, notes, partial, similar. Raises as ``render_views``."""

def codecs() -> dict[str, str]:
    """Versions of the codec libraries in use, by library."""

def video_codecs() -> list[str]:
    """Names of the video codecs that are decoded."""

# --------------------------------------------------------------------------- the device

class Device:
    """A GPU that decodes baseline JPEGs and renders views. See ``cpp/include/floodgate/device.h``."""

    def __init__(
        self,
        *,
        ordinal: int = 0,
        jpeg_library: str = "",  # path of libnvjpeg; "": as the loader finds it
        memory_bytes: int = 1073741824,  # for pictures on their way, over all streams
        streams: int = 2,  # 1..8
        max_batch: int = 64,  # 1..1024
    ) -> None:
        """Raises Unavailable saying what is missing, InvalidRequest naming the option."""
    @property
    def name(self) -> str: ...
    @property
    def jpeg_version(self) -> str: ...

def look_for_device(*, ordinal: int = 0, jpeg_library: str = "") -> dict[str, Any]:
    """What there is: ``built`` (with CUDA), ``toolkit`` and ``driver`` (13000 is 13.0; 0: no driver), ``problem`` (""
    when there is a device to use), ``name``, ``compute_capability``, ``memory_bytes``, ``jpeg`` (nvJPEG's version), or
    ``jpeg_problem``."""

# --------------------------------------------------------------------------- batches and answers

class TensorRef:
    """Where one input tensor of a batch lies; ``floodgate.types.TensorRef``."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...  # "UINT8", "INT32", "FP32"
    @property
    def shape(self) -> tuple[int, ...]: ...  # a text tensor's lengths are [rows, 1]
    @property
    def region(self) -> str: ...  # POSIX shared-memory key, "/floodgate-..."
    @property
    def region_bytes(self) -> int: ...
    @property
    def kind(self) -> str: ...  # "system" | "cuda"
    @property
    def device(self) -> int: ...
    @property
    def handle(self) -> bytes: ...  # "cuda": the 64 bytes of a cudaIpcMemHandle_t; else empty
    @property
    def offset(self) -> int: ...
    @property
    def bytes(self) -> int: ...

class Batch:
    """A closed batch of one ensemble; ``floodgate.types.Batch``."""

    @property
    def batch_id(self) -> int: ...
    @property
    def generation(self) -> int: ...
    @property
    def ensemble(self) -> str: ...
    @property
    def rows(self) -> int: ...
    @property
    def deadline_ns(self) -> int: ...  # CLOCK_MONOTONIC, the latest among its rows; 2**63 - 1: none
    @property
    def tensors(self) -> tuple[TensorRef, ...]: ...

class RowScores:
    """What one ensemble said about one row. Attributes are built at each access: read them once."""

    @property
    def ensemble(self) -> str: ...
    @property
    def outputs(self) -> dict[str, bytes]:
        """``<head>__<output>`` -> its float32 values in native byte order (``np.frombuffer(b, np.float32)``
        reads them without a copy). Outputs of missing heads are not in it."""
    @property
    def missing(self) -> dict[str, str]:
        """Head -> reason (``deadline``, ``unavailable``, ``failed``, ``bad_output``, ``non_finite``, or
        whatever ``complete`` was told)."""

class DoneRow:
    """One row of an answered ticket."""

    @property
    def time_ms(self) -> int: ...  # presentation time; 0 for a photo or a text
    @property
    def span(self) -> tuple[int, int]: ...  # text: bytes [start, end) that the row covers
    @property
    def scores(self) -> tuple[RowScores, ...]: ...

class Done:
    """The one answer to a ticket.

    ``code``: "OK" (every row was answered, though heads may be missing), "DEADLINE_EXCEEDED" (``rows`` hold
    what was there at the deadline), "CANCELLED" and content errors (no rows), or why no batch of the ticket
    succeeded.
    """

    @property
    def ticket(self) -> int: ...
    @property
    def code(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def info(self) -> MediaInfo | None: ...  # pictures and videos
    @property
    def rows(self) -> tuple[DoneRow, ...]: ...
    @property
    def queue_us(self) -> int: ...  # submit to the first decode
    @property
    def decode_us(self) -> int: ...  # all decodes of the ticket
    @property
    def batch_us(self) -> int: ...  # ready to sent, slowest row
    @property
    def ended_ns(self) -> int: ...  # when the answer was ready, monotonic clock
    @property
    def infer_us(self) -> int: ...  # sent to answered, slowest row
    @property
    def frames_sampled(self) -> int: ...  # rows that reached a batch
    @property
    def frames_dropped(self) -> int: ...  # frames left out as near copies
    @property
    def frames_missed(self) -> int: ...  # planned rows that were not decoded in time
    @property
    def duration_ms(self) -> int: ...  # of a sequence; 0: unknown
    @property
    def shown_width(self) -> int: ...  # of a sequence: upright, square pixels; 0: not a sequence
    @property
    def shown_height(self) -> int: ...
    @property
    def codec(self) -> str: ...  # of a sequence
    @property
    def notes(self) -> str: ...  # of a sequence: sentences for a person, or ""
    @property
    def partial(self) -> bool: ...  # of a sequence: its data was truncated or damaged
    @property
    def copied_bytes(self) -> int: ...  # encoded bytes copied into the arena
    @property
    def sha256(self) -> str: ...  # of the encoded bytes, hex; "": cancelled, or more than MOST_DIGESTED_BYTES
    @property
    def retry_after_ms(
        self,
    ) -> int: ...  # OVERLOADED by an AcceptorLink: when another try may fare better; 0: unknown

# --------------------------------------------------------------------------- the scheduler

class EnsembleConfig:
    """An ensemble to serve. ``tensors``: (name, view); ``outputs``: (``<head>__<output>``, head, elements a
    row); ``buffers`` > ``credit`` (most batches in flight);
    ensembles with one ``device`` share its time; ``shares_cores``: with the decode workers, too few of them for both.
    Raises InvalidRequest naming the member."""

    def __init__(
        self,
        name: str,
        modality: str,
        tensors: Sequence[tuple[str, ImageView | TextView]],
        outputs: Sequence[tuple[str, str, int]],
        heads: Sequence[str],
        max_batch: int,
        buffers: int = 4,
        credit: int = 2,
        device: str = "",
        shares_cores: bool = False,
    ) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def max_batch(self) -> int: ...
    @property
    def buffers(self) -> int: ...
    @property
    def credit(self) -> int: ...
    @property
    def device(self) -> str: ...
    @property
    def shares_cores(self) -> bool: ...

class Scheduler:
    """Encoded bytes in, batches out, scores in, answers out. Nothing blocks on decoding or inference; every
    method may be called from any thread. See ``cpp/include/floodgate/scheduler.h`` for the contract."""

    def __init__(
        self,
        *,
        lane_floors: Mapping[int, float] = ...,  # Lane value -> guaranteed share of time, [0, 1]; together at most 1
        max_wait_s: float = 30.0,  # what has no earlier deadline must be expected to be answered by then
        decode_workers: int = 1,
        arena_bytes: int = 268435456,
        max_queue_rows: int = 4096,
        live_reserve: float = 0.1,  # [0, 1): share of queue and arena that only LIVE may use
        quarantine_cap: int = 2,
        media_limits: MediaLimits = ...,
        max_text_bytes: int = 1048576,
        initial_fixed_us: float = 2000.0,
        initial_per_row_us: float = 3000.0,
        decode_min: int = 0,  # px; see render_views
        decoder_program: str = "",  # floodgate-decoder: decode in sandboxed processes; "": on threads
        decoder_memory_bytes: int = 1073741824,
        decoder_hang_ms: int = 5000,
        decoder_faults: bool = False,
        device: Device | None = None,  # pictures go to it first, and image batches are mirrored on it
        acceptors: int = 0,  # other processes that submit, each from an arena that it alone fills
        acceptor_arena_bytes: int = 0,
    ) -> None: ...
    def configure(self, generation: int, ensembles: Sequence[EnsembleConfig]) -> None:
        """Serve these from now on; the old generation finishes. Raises InvalidRequest, Unavailable."""
    def submit(
        self,
        ticket: int,
        ensembles: Sequence[str],
        data: Buffer,
        *,
        modality: str,
        lane: int = 1,
        deadline_ns: int | None = None,
        max_frames: int = 1,
        min_interval_ms: int = 0,
        seed: int = 0,
    ) -> None:
        """Probe, copy once, queue. Exactly one ``Done`` follows unless this raises: InvalidContent,
        UnsupportedContent, ContentTooLarge, InvalidRequest, DeadlineExceeded, Overloaded, Unavailable."""
    def cancel(self, ticket: int) -> bool:
        """Withdraw; False when no such ticket is open."""
    def take_batches(self) -> list[Batch]: ...
    def complete(
        self,
        batch_id: int,
        outputs: Mapping[str, npt.NDArray[np.float32]],
        failures: Mapping[str, tuple[str, str]] = {},
    ) -> None:
        """The server's answer: C-contiguous float32 [rows, elements] by output name, and head -> (reason,
        message). A wrong size makes the head ``bad_output``. Raises InvalidRequest when the batch is not in
        flight or an output is of another dtype or order."""
    def fail_batch(self, batch_id: int, code: str, message: str) -> None:
        """The server refused or failed the batch and reads it no more. ``code``: one of ``CODES``."""
    def quarantine(self, batch_id: int) -> None:
        """No answer is awaited, but the server may still read the memory."""
    def region_lost(self, generation: int | None = None) -> None:
        """The server process is certainly dead."""
    def poll_done(self) -> list[Done]: ...
    def drain(self) -> None: ...
    def stats(self) -> dict[str, Any]:
        """``counters`` (only grow), ``queued_rows`` and ``lane_guards`` by lane name, ``open_tickets``,
        ``arena_used_bytes``, ``arena_free_bytes``, ``draining``, ``drained``, and ``ensembles``: generation, ensemble,
        retired, ``buffers`` by state, ready_rows, decoding_rows, fixed_us, per_row_us and guard of the service
        model."""
    @property
    def fd(self) -> int:
        """An eventfd, readable exactly while there are batches to take or answers to poll. Never read it."""
    @property
    def foreign_arenas(self) -> tuple[tuple[int, int], ...]:
        """(descriptor, bytes) of each acceptor's arena."""

# --------------------------------------------------------------------------- acceptors

class AcceptorHub:
    """The scheduler's end of its acceptors: processes that submit parts from arenas of their own. A thread reads
    what they submit and sends the answers back. ``ensembles`` is what the scheduler serves, in the order in which
    acceptors know it. See ``cpp/include/floodgate/acceptor_hub.h``."""

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        ensembles: Sequence[str],
        media_limits: MediaLimits = ...,
        max_text_bytes: int = 1048576,
    ) -> None: ...
    def attach(self, acceptor: int, socket: int) -> None:
        """Connects an acceptor; the descriptor is the hub's, whatever comes of it. Raises InvalidRequest (no such
        acceptor), Unavailable (it is connected, or its arena is still being read)."""
    def detach(self, acceptor: int) -> None: ...
    def set_ready(self, ready: bool) -> None:
        """Tells every acceptor whether the inference server is ready."""
    def states(self) -> list[dict[str, Any]]:
        """Of each acceptor: connected, reason (why not any more), submitted, refused, open, held, unsent_bytes."""

class AcceptorLink:
    """A scheduler in another process, as an acceptor sees it. Owns both descriptors, whatever comes of it. See
    ``cpp/include/floodgate/acceptor_link.h``."""

    def __init__(
        self,
        *,
        socket: int,
        arena_fd: int,
        arena_bytes: int,
        ensembles: Sequence[EnsembleConfig],
        media_limits: MediaLimits = ...,
        max_text_bytes: int = 1048576,
        live_reserve: float = 0.1,
    ) -> None: ...
    def submit(
        self,
        ticket: int,
        ensembles: int,  # bit i: the i-th
        data: Buffer,
        *,
        modality: str,
        lane: int = 1,
        deadline_ns: int | None = None,
        max_frames: int = 1,
        min_interval_ms: int = 0,
        seed: int = 0,
    ) -> None:
        """Probe, copy once, send. Exactly one ``Done`` follows unless this raises; it has the code with which the
        scheduler refused, where it did. Raises InvalidContent, UnsupportedContent, ContentTooLarge, InvalidRequest,
        DeadlineExceeded, Overloaded, Unavailable."""
    def cancel(self, ticket: int) -> None: ...
    def poll(self) -> list[Done]: ...
    def stats(self) -> dict[str, Any]:
        """bytes_received and refused (by code) of what was refused here; arena_used_bytes, open_tickets."""
    @property
    def connected(self) -> bool: ...
    @property
    def ready(self) -> bool:
        """Whether the inference server is; False once the other process is gone."""
    @property
    def greeted(self) -> bool:
        """The other process has said at least once whether the inference server is ready."""
    @property
    def fd(self) -> int:
        """Readable while there may be something to poll. Never read it."""

MOST_DIGESTED_BYTES: int

def sweep_stale_buffers() -> int:
    """Unlink the batch buffers of dead servers, told by their locks; returns how many."""

class RpcBudget:
    """What connections that share it may hold of messages that nobody has taken yet, bytes. A call's first 64 KiB
    always find room."""

    def __init__(self, bytes: int) -> None: ...
    @property
    def used(self) -> int: ...

class RpcSession:
    """One connection of a gRPC server, without its socket: received bytes go in, what the client's calls did comes out,
    and so does what is to be written. One thread at a time. See ``cpp/include/floodgate/rpc_session.h``."""

    CALL: int
    MESSAGE: int
    END: int
    FAULT: int
    CLOSED: int

    def __init__(self, budget: RpcBudget, *, message_bytes: int, header_bytes: int, calls: int) -> None: ...
    def receive(self, data: Buffer, size: int) -> None:
        """The first ``size`` bytes of ``data`` were received. Raises InvalidRequest: this is no HTTP/2."""
    def events(
        self,
    ) -> list[tuple[Any, ...]]:
        """What happened since the last call, by kind: (CALL, call, method, path, content type, timeout, encoding),
        (MESSAGE, call, bytes, compressed), (END, call), (FAULT, call, code, message), (CLOSED, call)."""
    def taken(self, call: int) -> None:
        """The reader has one of the call's messages; a client whose messages are left lying is held back."""
    def send(self, call: int, message: bytes) -> None: ...
    def finish(self, call: int, trailers: Sequence[tuple[str, str]], status: str = "200") -> None: ...
    def reset(self, call: int) -> None:
        """Ends the call at once, whatever was not sent yet."""
    def stalled(self) -> list[int]:
        """Calls in the middle of a message of which nothing more has come since the last call of this."""
    def unsent(self, call: int) -> int:
        """Bytes sent to the call that ``output`` has not given yet."""
    def output(self) -> bytes:
        """What is to be written to the socket now."""
    def go_away(self) -> None: ...
    @property
    def over(self) -> bool:
        """Nothing is read or written any more."""
    @property
    def calls(self) -> int: ...

class RpcCaller:
    """A gRPC client's connection for unary calls, without its socket. One thread at a time. See
    ``cpp/include/floodgate/rpc_caller.h``."""

    def __init__(self, *, authority: str, message_bytes: int) -> None: ...
    def call(self, path: str, message: bytes) -> int:
        """Begins a call; its number. Raises Unavailable: the server takes no more on this connection."""
    def cancel(self, call: int) -> None: ...
    def receive(self, data: Buffer, size: int) -> None:
        """The first ``size`` bytes of ``data`` were received. Raises InvalidRequest: this is no HTTP/2."""
    def answers(self) -> list[tuple[int, bytes | None, str, str, str, str, str]]:
        """Of calls that ended: (call, message, HTTP status, gRPC status, its text, code and message of a fault)."""
    def output(self) -> bytes:
        """What is to be written to the socket now."""
    @property
    def over(self) -> bool:
        """The server will answer nothing more."""
