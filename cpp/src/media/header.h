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

// Coefficients of a progressive (or multi-scan) JPEG are all kept until the last scan: 2 bytes each. This
// much suffices for 89 million pixels at 4:4:4 and 179 million at 4:2:0; more is kTooLarge.
inline constexpr std::uint64_t kMaxCoefficientBytes = 512ULL << 20;

Result<MediaInfo> read_jpeg_header(HeaderReader& reader);
Result<MediaInfo> read_png_header(HeaderReader& reader);
Result<MediaInfo> read_webp_header(HeaderReader& reader);

// kInvalidContent for a zero side, kTooLarge for one over the limits.
Status check_size(const MediaInfo& info, const MediaLimits& limits);

// kTooLarge when the coefficients of a JPEG would not fit kMaxCoefficientBytes.
Status check_coefficient_bytes(std::uint64_t bytes);

// kUnsupported, naming what the bytes are when they are something known; kInvalidContent for noise.
// REQUIRES: data is not empty and is none of Format's.
Status describe_unsupported(std::span<const std::uint8_t> data);

// Estimate of the CPU time that decode() will take, ns (see cost.cc).
Nanos estimate_decode_cost(const MediaInfo& info, std::uint64_t encoded_bytes);

}  // namespace floodgate
