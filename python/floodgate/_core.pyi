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
    ``color``: "rgb" or "bgr". ``layout``: "nhwc" or "nchw". Raises InvalidRequest naming the member.
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
    ) -> None: ...
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
    """What is refused before it is decoded: encoded bytes, width * height, and either side in px."""

    def __init__(self, max_bytes: int = 33554432, max_pixels: int = 100000000, max_side_px: int = 65535) -> None: ...
    @property
    def max_bytes(self) -> int: ...
    @property
    def max_pixels(self) -> int: ...
    @property
    def max_side_px(self) -> int: ...

class MediaInfo:
    """What ``probe`` read from a picture's header. Sizes are as stored, before orientation."""

    @property
    def format(self) -> str:
        """ "jpeg", "png" or "webp"."""
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
        """More than 1 when animated; only the first is decoded."""
    @property
    def decode_cost_ns(self) -> int:
        """Estimate of the decode's CPU time, ns."""

def probe(data: bytes, limits: MediaLimits = ...) -> MediaInfo:
    """Read a picture's header (at most 64 KB of it are touched, nothing is decoded).

    Raises InvalidContent (empty, truncated, nonsense), UnsupportedContent (names the format) or
    ContentTooLarge (names the limit and the value).
    """

def render_view(data: bytes, view: ImageView, limits: MediaLimits = ...) -> bytes:
    """Decode a picture and render one view: exactly the uint8 pixels that a head sees.

    Returns ``view.row_bytes`` bytes, shaped (out_height, out_width, 3) for "nhwc" and
    (3, out_height, out_width) for "nchw". Raises what ``probe`` raises, for pixels as well as headers, and
    Overloaded without memory.
    """

def codecs() -> dict[str, str]:
    """Versions of the codec libraries in use, by library."""

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
    def info(self) -> MediaInfo | None: ...  # pictures only
    @property
    def rows(self) -> tuple[DoneRow, ...]: ...
    @property
    def queue_us(self) -> int: ...  # submit to the first decode
    @property
    def decode_us(self) -> int: ...  # all decodes of the ticket
    @property
    def batch_us(self) -> int: ...  # ready to sent, slowest row
    @property
    def infer_us(self) -> int: ...  # sent to answered, slowest row
    @property
    def frames_sampled(self) -> int: ...  # rows that reached a batch
    @property
    def frames_dropped(self) -> int: ...  # rows that did not
    @property
    def copied_bytes(self) -> int: ...  # encoded bytes copied into the arena

# --------------------------------------------------------------------------- the scheduler

class EnsembleConfig:
    """An ensemble to serve. ``tensors``: (name, view); ``outputs``: (``<head>__<output>``, head, elements a
    row); ``buffers`` > ``credit`` (most batches in flight). Raises InvalidRequest naming the member."""

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
    ) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def max_batch(self) -> int: ...
    @property
    def buffers(self) -> int: ...
    @property
    def credit(self) -> int: ...

class Scheduler:
    """Encoded bytes in, batches out, scores in, answers out. Nothing blocks on decoding or inference; every
    method may be called from any thread. See ``cpp/include/floodgate/scheduler.h`` for the contract."""

    def __init__(
        self,
        *,
        lane_weights: Mapping[int, int] = ...,  # Lane value -> weight >= 1
        decode_workers: int = 1,
        arena_bytes: int = 268435456,
        max_queue_rows: int = 4096,
        live_reserve: float = 0.1,  # [0, 1): share of queue and arena that only LIVE may use
        quarantine_cap: int = 2,
        media_limits: MediaLimits = ...,
        max_text_bytes: int = 1048576,
        initial_fixed_us: float = 2000.0,
        initial_per_row_us: float = 3000.0,
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
        interval_ms: int = 0,
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
        """``counters`` (only grow), ``queued_rows`` by lane name, ``open_tickets``, ``arena_used_bytes``,
        ``arena_free_bytes``, ``draining``, ``drained``, and ``ensembles``: generation, ensemble, retired,
        ``buffers`` by state, ready_rows, decoding_rows, fixed_us and per_row_us of the service model."""
    @property
    def fd(self) -> int:
        """An eventfd, readable exactly while there are batches to take or answers to poll. Never read it."""

def sweep_stale_buffers() -> int:
    """Unlink the batch buffers of dead servers, told by their locks; returns how many."""
