"""The compiled core: probe, decode, views, arena, buffers and the batch scheduler."""

from typing import ClassVar

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
