// Header readers of video containers, one a container, and what they share.
//
// Each fills what the header tells of the largest video track: sides as stored, and the duration; 0 is
// unknown. That a size is missing or odd is no error here: the decoder has the last word. Thread rule:
// stateless.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>

#include "header.h"

namespace floodgate {

// Streams that are looked at. FFmpeg calls more of them a want of memory, which tells nobody anything.
inline constexpr int kMaxStreams = 100;

Result<MediaInfo> read_mp4_header(HeaderReader& reader);
Result<MediaInfo> read_matroska_header(HeaderReader& reader);
Result<MediaInfo> read_avi_header(HeaderReader& reader);
Result<MediaInfo> read_flv_header(HeaderReader& reader);

// What is known of a video before anything is read.
inline MediaInfo video_info(Format format) {
  MediaInfo info;
  info.format = format;
  info.frames = 0;
  return info;
}

// Milliseconds within what MediaInfo holds; 0 for what is no time.
inline std::uint32_t saturated_ms(double ms) {
  constexpr double kMost = std::numeric_limits<std::uint32_t>::max();
  return ms > 0 ? static_cast<std::uint32_t>(std::min(ms, kMost)) : 0;
}

}  // namespace floodgate
