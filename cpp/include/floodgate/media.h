// Encoded media in, pixels out.
//
// probe() is our own header reader: it touches at most kProbeBytes of the input, calls no codec library,
// and says what the bytes are, how large the picture is and roughly what decoding will cost, so that work
// can be refused before it is done. decode() runs the codec library and yields upright, opaque 8-bit RGB.
// Both copy nothing but pixels and keep no pointer to the input after they return. Thread rule: stateless;
// any number of calls may run at once on different inputs.
// Refused: formats other than Format's, more pixels or bytes than MediaLimits allow.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "floodgate/clock.h"
#include "floodgate/status.h"

namespace floodgate {

enum class Format : std::uint8_t { kJpeg = 1, kPng = 2, kWebp = 3 };

// "jpeg", "png", "webp".
const char* format_name(Format format);

inline constexpr std::size_t kProbeBytes = 65'536;

struct MediaLimits {
  std::uint64_t max_bytes = 32ULL << 20;   // encoded size of one part
  std::uint64_t max_pixels = 100'000'000;  // width * height
  std::uint32_t max_side_px = 65'535;      // either side
};

// Plain data; fixed size; may be copied between processes.
struct MediaInfo {
  Format format = Format::kJpeg;
  std::uint32_t width = 0;  // as stored, before orientation
  std::uint32_t height = 0;
  std::uint8_t orientation = 1;  // EXIF 1..8; 1 is upright
  std::uint8_t bits = 8;         // per channel, as stored
  std::uint8_t channels = 3;     // as stored: 1 grey, 2 grey+alpha, 3 colour, 4 colour+alpha or CMYK
  bool has_alpha = false;
  bool progressive = false;  // progressive JPEG or interlaced PNG
  std::uint32_t frames = 1;  // > 1 when animated; only the first is decoded
  Nanos decode_cost_ns = 0;  // estimate of the decode's CPU time
};

// Errors: kInvalidContent (empty, truncated header, nonsense), kUnsupported (names the format when it is a
// known one: GIF, HEIC, PDF, SVG, video, …), kTooLarge (bytes, pixels or side; names the limit and the
// value).
Result<MediaInfo> probe(std::span<const std::uint8_t> data, const MediaLimits& limits);

// Upright, opaque, interleaved RGB, 8 bits a channel, rows packed (stride = 3 * width).
struct Picture {
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  std::unique_ptr<std::uint8_t[]> rgb;  // 3 * width * height bytes

  [[nodiscard]] std::size_t bytes() const { return std::size_t{3} * width * height; }
};

// Decodes what probe() described. Pixels equal Pillow's `Image.open(...).convert("RGB")` for opaque 8-bit
// input; EXIF orientation is applied as in Pillow's ImageOps.exif_transpose (an XMP orientation is not, as in
// browsers); alpha is composited on white. Where Pillow and the PNG standard differ, the standard holds:
// 16-bit samples keep their high byte, and a transparent colour is compared before samples are scaled. Memory
// at its peak: 3 bytes a pixel, as much again to turn it upright, 4 to composite alpha (8 more for an
// animated WebP), and kMaxCoefficientBytes for a progressive JPEG.
// Errors: kInvalidContent (corrupt, truncated), kUnsupported, kTooLarge.
Result<Picture> decode(std::span<const std::uint8_t> data, const MediaInfo& info, const MediaLimits& limits);

}  // namespace floodgate
