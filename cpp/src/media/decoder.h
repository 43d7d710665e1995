// Codec libraries behind one shape: bytes that probe() described in, pixels as stored (not yet upright) out.
//
// Each checks that the library reads the same header as probe() did before a pixel is allocated: two readers
// that disagree mean a crafted file. Thread rule: stateless.
#pragma once

#include <cstdint>
#include <span>

#include "floodgate/media.h"

namespace floodgate {

Result<Picture> decode_jpeg(std::span<const std::uint8_t> data, const MediaInfo& info);
Result<Picture> decode_png(std::span<const std::uint8_t> data, const MediaInfo& info);
Result<Picture> decode_webp(std::span<const std::uint8_t> data, const MediaInfo& info);

// kInvalidContent: what a decoder answers when its library disagrees with probe().
Status header_mismatch(Format format);

}  // namespace floodgate
