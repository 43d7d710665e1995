// Codec libraries behind one shape: bytes that probe() described in, rows as stored (not yet upright) out.
//
// Each checks that the library reads the same header as probe() did before a pixel is allocated: two readers
// that disagree mean a crafted file. Rows come in strips of at most 16, RGB, or RGBA with straight alpha that
// the sink composites. A picture is held whole only where its format leaves no other way (interlaced PNG and
// GIF, RLE BMP, AVIF, HEIC, alpha in WebP). Thread rule: stateless.
#pragma once

#include <cstdint>
#include <span>

#include "floodgate/decode.h"

namespace floodgate {

using Encoded = std::span<const std::uint8_t>;

Status decode_jpeg(Encoded data, const MediaInfo& info, const MediaLimits& limits,
                   const DecodeOptions& options, RowSink& sink);
Status decode_png(Encoded data, const MediaInfo& info, const MediaLimits& limits,
                  const DecodeOptions& options, RowSink& sink);
Status decode_webp(Encoded data, const MediaInfo& info, const MediaLimits& limits,
                   const DecodeOptions& options, RowSink& sink);
Status decode_gif(Encoded data, const MediaInfo& info, const MediaLimits& limits,
                  const DecodeOptions& options, RowSink& sink);
Status decode_bmp(Encoded data, const MediaInfo& info, const MediaLimits& limits,
                  const DecodeOptions& options, RowSink& sink);
Status decode_avif(Encoded data, const MediaInfo& info, const MediaLimits& limits,
                   const DecodeOptions& options, RowSink& sink);
Status decode_heic(Encoded data, const MediaInfo& info, const MediaLimits& limits,
                   const DecodeOptions& options, RowSink& sink);

// kInvalidContent: what a decoder answers when its library disagrees with probe().
Status header_mismatch(Format format);

}  // namespace floodgate
