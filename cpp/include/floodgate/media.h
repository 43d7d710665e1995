// What encoded bytes are: formats, limits, and the probe that reads headers.
//
// probe() is our own header reader: it touches at most kProbeBytes of the input, calls no codec library,
// and says what the bytes are, how large the picture is and roughly what decoding will cost, so that work
// can be refused before it is done. It copies nothing and keeps no pointer to the input. Thread rule:
// stateless; any number of calls may run at once on different inputs.
// Refused: formats other than Format's, more pixels, bytes, frames or time than MediaLimits allow.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "floodgate/clock.h"
#include "floodgate/status.h"

namespace floodgate {

enum class Format : std::uint8_t {
  kJpeg = 1,
  kPng,  // APNG too
  kWebp,
  kGif,
  kBmp,
  kAvif,
  kHeic,
  // Containers of video. From here on is_video() holds.
  kMp4,       // ISO base media: MP4, MOV, M4V, 3GP; fragmented or not
  kMatroska,  // MKV, WebM
  kMpegTs,
  kAvi,
  kFlv,
};

// "jpeg", "png", "webp", "gif", "bmp", "avif", "heic", "mp4", "matroska", "mpegts", "avi", "flv".
const char* format_name(Format format);
constexpr bool is_video(Format format) { return format >= Format::kMp4; }

inline constexpr std::size_t kProbeBytes = 65'536;

// What is refused, on the probe where a header tells, else by the decoder. Plain data.
struct MediaLimits {
  std::uint64_t max_bytes = 32ULL << 20;          // encoded size of one picture
  std::uint64_t max_video_bytes = 64ULL << 20;    // of one video
  std::uint64_t max_pixels = 100'000'000;         // width * height of a picture, a canvas or a video frame
  std::uint32_t max_side_px = 65'535;             // either side
  std::uint32_t max_duration_ms = 4 * 3'600'000;  // of a video or an animation
  std::uint32_t max_animation_frames = 4'096;     // of an animated picture
  std::uint32_t max_scans = 100;                  // of a progressive JPEG
  // Coefficients of a progressive (or multi-scan) JPEG are all kept until the last scan: 2 bytes each. This
  // much suffices for 89 million pixels at 4:4:4 and 179 million at 4:2:0.
  std::uint64_t max_coefficient_bytes = 512ULL << 20;
  std::uint32_t max_cpu_ms = 20'000;  // CPU time for one part, enforced by sandboxed workers
};

// Plain data; fixed size; may be copied between processes.
struct MediaInfo {
  Format format = Format::kJpeg;
  std::uint32_t width = 0;  // as stored, before orientation; 0: a video whose header does not tell
  std::uint32_t height = 0;
  std::uint8_t orientation = 1;  // EXIF 1..8; 1 is upright
  std::uint8_t undo = 1;      // EXIF 1..8: turns what the decoder gives (HEIC: upright) into what is stored
  std::uint8_t bits = 8;      // per channel, as stored
  std::uint8_t channels = 3;  // as stored: 1 grey, 2 grey+alpha, 3 colour, 4 colour+alpha or CMYK
  bool has_alpha = false;
  bool progressive = false;       // progressive JPEG or interlaced PNG
  std::uint32_t frames = 1;       // 0: unknown, more than one; > 1: animated
  std::uint32_t duration_ms = 0;  // 0: a still, or unknown
  Nanos decode_cost_ns = 0;       // estimate of the CPU time of decoding one frame

  // Whether it is read as frames over time (see sequence.h) rather than as one picture.
  [[nodiscard]] bool is_sequence() const { return is_video(format) || frames != 1; }
};

// Errors: kInvalidContent (empty, truncated header, nonsense), kUnsupported (names the format when it is a
// known one: TIFF, PDF, SVG, sound, …), kTooLarge (names the limit and the value).
Result<MediaInfo> probe(std::span<const std::uint8_t> data, const MediaLimits& limits);

}  // namespace floodgate
