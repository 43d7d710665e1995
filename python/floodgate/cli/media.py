"""What the configuration says of media, in the core's words, and whether it can be."""

from __future__ import annotations

from collections.abc import Sequence

from floodgate.config import Config, MediaSettings
from floodgate.errors import ConfigError
from floodgate.media import DECODER_PROGRAM, DeviceOptions, MediaOptions
from floodgate.types import HeadSpec, ImageViewSpec


def media_options(config: Config) -> MediaOptions:
    """What the configuration says of media, in the core's words."""
    limits, media = config.limits, config.media
    return MediaOptions(
        image_bytes=limits.image_bytes,
        video_bytes=limits.video_bytes,
        pixels=limits.pixels,
        side_px=limits.side_px,
        duration_ms=limits.duration_s * 1000,
        animation_frames=limits.animation_frames,
        scans=limits.scans,
        coefficient_bytes=limits.coefficient_bytes,
        cpu_ms=limits.cpu_ms,
        decode_min=media.decode_min if media.views == "fast" else 0,
        decoder=DECODER_PROGRAM if media.sandbox else None,
        worker_memory_bytes=media.worker_memory_mb << 20,
        hang_ms=media.hang_ms,
        faults=media.faults,
        device=_device_options(media),
    )


def _device_options(media: MediaSettings) -> DeviceOptions | None:
    if media.device == "cpu":
        return None
    return DeviceOptions(
        required=media.device == "cuda", ordinal=media.device_ordinal, memory_bytes=media.device_memory_mb << 20
    )


def require_small_views(heads: Sequence[HeadSpec], decode_min: int) -> None:
    """Raises ConfigError for a head that would be shown an enlarged picture: fast views may shrink a JPEG to
    ``decode_min`` px before the resize (0: exact views, which shrink nothing)."""
    for head in heads:
        if decode_min and isinstance(head.view, ImageViewSpec) and max(head.view.width, head.view.height) > decode_min:
            raise ConfigError(
                f"media.views is fast and media.decode_min is {decode_min} px, but the view of head {head.name} is "
                f"{head.view.width} x {head.view.height} px; set media.decode_min to at least "
                f"{max(head.view.width, head.view.height)}, or media.views to exact"
            )
