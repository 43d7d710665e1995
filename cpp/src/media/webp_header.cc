// WebP: RFC 9649 (container and lossless), RFC 6386 section 9.1 (lossy frame header).
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>

#include "delay.h"
#include "exif.h"
#include "header.h"

namespace floodgate {
namespace {

using namespace std::string_view_literals;

constexpr std::size_t kFirstChunk = 12;

// VP8X flags (RFC 9649, 2.7).
constexpr std::uint32_t kAnimationFlag = 0x02;
constexpr std::uint32_t kXmpFlag = 0x04;
constexpr std::uint32_t kExifFlag = 0x08;
constexpr std::uint32_t kAlphaFlag = 0x10;

Status cut_short() {
  return {Code::kInvalidContent, "the WebP data is truncated: it is shorter than its header says"};
}

// Lossy: a key frame's 3-byte tag, a start code, then two 14-bit sides.
Status read_vp8(HeaderReader& reader, std::size_t at, MediaInfo& info) {
  const auto tag = reader.u8(at);
  const auto start_code = reader.number(at + 3, 3, ByteOrder::kBig);
  const auto width = reader.le16(at + 6);
  const auto height = reader.le16(at + 8);
  if (!tag || !start_code || !width || !height) return reader.failure("WebP");
  if ((*tag & 1) != 0 || *start_code != 0x9D012A) {
    return {Code::kInvalidContent, "the WebP data does not start with a key frame"};
  }
  info.width = *width & 0x3FFF;
  info.height = *height & 0x3FFF;
  return {};
}

// Lossless: a signature byte, then width - 1 and height - 1 in 14 bits each, an alpha hint and a version.
Status read_vp8l(HeaderReader& reader, std::size_t at, MediaInfo& info) {
  const auto signature = reader.u8(at);
  const auto packed = reader.le32(at + 1);
  if (!signature || !packed) return reader.failure("WebP");
  if (*signature != 0x2F || (*packed >> 29) != 0) {
    return {Code::kInvalidContent, "the WebP data has a malformed lossless header"};
  }
  info.width = (*packed & 0x3FFF) + 1;
  info.height = ((*packed >> 14) & 0x3FFF) + 1;
  info.has_alpha = ((*packed >> 28) & 1) != 0;
  info.channels = info.has_alpha ? 4 : 3;
  return {};
}

// Extended: flags and the canvas, then chunks. Animation frames are counted as far as the budget reaches.
// `end`: of the container, or of the data where that ends before.
Status read_vp8x(HeaderReader& reader, std::size_t at, MediaInfo& info, std::size_t end, bool truncated) {
  const auto flags = reader.u8(at);
  const auto width = reader.le24(at + 4);
  const auto height = reader.le24(at + 7);
  if (!flags || !width || !height) return reader.failure("WebP");
  info.width = *width + 1;
  info.height = *height + 1;
  info.has_alpha = (*flags & kAlphaFlag) != 0;
  info.channels = info.has_alpha ? 4 : 3;
  std::uint32_t frames = 0;
  std::uint64_t duration_ms = 0;
  std::optional<std::uint8_t> exif;
  std::optional<std::uint8_t> xmp;
  std::size_t chunk = at + 10;
  while (end - chunk >= 8) {
    const auto name = reader.text(chunk, 4);
    const auto length = reader.le32(chunk + 4);
    if (!name || !length || *length > end - chunk - 8) break;
    const std::size_t body = chunk + 8;
    if (*name == "ANMF"sv) {
      ++frames;
      duration_ms += shown_delay_ms(reader.le24(body + 12).value_or(0));
    } else if (*name == "EXIF"sv && (*flags & kExifFlag) != 0 && !exif) {
      exif = exif_orientation(reader, body, *length);
    } else if (*name == "XMP "sv && (*flags & kXmpFlag) != 0 && !xmp) {
      xmp = xmp_orientation(reader, body, *length);
    }
    const std::size_t step = 8 + std::size_t{*length} + (*length & 1);
    if (step > end - chunk) break;
    chunk += step;
  }
  info.orientation = exif.value_or(xmp.value_or(1));
  const bool animated = (*flags & kAnimationFlag) != 0;
  if (truncated && (!animated || frames == 0)) return cut_short();
  if (animated && reader.exhausted()) {
    info.frames = 0;
  } else if (animated && frames > 1) {
    info.frames = frames;
    info.duration_ms = static_cast<std::uint32_t>(std::min<std::uint64_t>(duration_ms, 0xFFFFFFFF));
  }
  return {};
}

}  // namespace

Result<MediaInfo> read_webp_header(HeaderReader& reader) {
  MediaInfo info;
  info.format = Format::kWebp;
  const auto riff = reader.le32(4);
  const auto chunk_bytes = reader.le32(kFirstChunk + 4);
  if (!riff || !chunk_bytes) return reader.failure("WebP");
  if (*riff < 4 + 8) return Status(Code::kInvalidContent, "the WebP container has an impossible length");
  const bool truncated = std::size_t{*riff} + 8 > reader.size();
  const std::size_t end = std::min(std::size_t{*riff} + 8, reader.size());
  const std::size_t body = kFirstChunk + 8;
  Status status;
  if (reader.matches(kFirstChunk, "VP8X"sv)) {
    if (*chunk_bytes < 10 || end < body + 10) return reader.failure("WebP");
    status = read_vp8x(reader, body, info, end, truncated);  // an animation shows what it has
  } else if (truncated) {
    status = cut_short();
  } else if (reader.matches(kFirstChunk, "VP8 "sv)) {
    status = read_vp8(reader, body, info);
  } else if (reader.matches(kFirstChunk, "VP8L"sv)) {
    status = read_vp8l(reader, body, info);
  } else {
    status = Status(Code::kInvalidContent, "the WebP container does not start with a picture");
  }
  if (!status.ok()) return status;
  return info;
}

}  // namespace floodgate
