// Header readers, one a format, and what is checked about every header whatever its format.
//
// Each read_*_header() expects the format's magic number to have been seen and fills every member of
// MediaInfo but decode_cost_ns. No codec library is called. Thread rule: stateless.
#pragma once

#include <cstdint>
#include <span>

#include "floodgate/media.h"
#include "header_reader.h"

namespace floodgate {

Result<MediaInfo> read_jpeg_header(HeaderReader& reader, const MediaLimits& limits);
Result<MediaInfo> read_png_header(HeaderReader& reader);
Result<MediaInfo> read_webp_header(HeaderReader& reader);
Result<MediaInfo> read_gif_header(HeaderReader& reader);
Result<MediaInfo> read_bmp_header(HeaderReader& reader);
// AVIF, HEIC, or a video in the ISO base media format: what its brands say. `limits`: every size that the
// file names is held against them, because a library may allocate for any of them.
Result<MediaInfo> read_isobmff_header(HeaderReader& reader, const MediaLimits& limits);
// REQUIRES: is_video(format). Sides and duration are 0 where the header does not tell.
Result<MediaInfo> read_video_header(HeaderReader& reader, Format format);

// kTooLarge for more frames or a longer time than the limits allow, of what the header of an animation tells.
Status check_length(const MediaInfo& info, const MediaLimits& limits);

// The above, and the limit on bytes.
Status check_picture(const MediaInfo& info, std::uint64_t bytes, const MediaLimits& limits);

// kTooLarge for a video over the limits on bytes, and on pixels and duration as far as they are known.
Status check_video(const MediaInfo& info, std::uint64_t bytes, const MediaLimits& limits);

// kInvalidContent for a zero side, kTooLarge for one over the limits.
Status check_size(const MediaInfo& info, const MediaLimits& limits);

// kTooLarge when the coefficients of a multi-scan JPEG are over the limit.
Status check_coefficients(std::uint64_t bytes, const MediaLimits& limits);

// kUnsupported, naming what the bytes are when they are something known; kInvalidContent for noise.
// REQUIRES: data is not empty and is none of Format's.
Status describe_unsupported(std::span<const std::uint8_t> data);

// Estimate of the CPU time that decode() will take, ns (see cost.cc).
Nanos estimate_decode_cost(const MediaInfo& info, std::uint64_t encoded_bytes);

}  // namespace floodgate
