// WebP: RFC 9649 (container and lossless), RFC 6386 section 9.1 (lossy frame header).
#include <cstdint>
#include <string_view>

#include "exif.h"
#include "header.h"

namespace floodgate {
namespace {

constexpr std::size_t kFirstChunk = 12;

// VP8X flags (RFC 9649, 2.7).
constexpr std::uint32_t kAnimationFlag = 0x02;
constexpr std::uint32_t kExifFlag = 0x08;
constexpr std::uint32_t kAlphaFlag = 0x10;

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
Status read_vp8x(HeaderReader& reader, std::size_t at, MediaInfo& info, std::size_t end) {
  using namespace std::string_view_literals;
  const auto flags = reader.u8(at);
  const auto width = reader.le24(at + 4);
  const auto height = reader.le24(at + 7);
  if (!flags || !width || !height) return reader.failure("WebP");
  info.width = *width + 1;
  info.height = *height + 1;
  info.has_alpha = (*flags & kAlphaFlag) != 0;
  info.channels = info.has_alpha ? 4 : 3;
  std::uint32_t frames = 0;
  bool exif_seen = false;
  std::size_t chunk = at + 10;
  while (end - chunk >= 8) {
    const auto length = reader.le32(chunk + 4);
    if (!length || *length > end - chunk - 8) break;
    if (reader.matches(chunk, "ANMF"sv)) ++frames;
    if ((*flags & kExifFlag) != 0 && !exif_seen && reader.matches(chunk, "EXIF"sv)) {
      exif_seen = true;
      info.orientation = exif_orientation(reader, chunk + 8, *length);
    }
    const std::size_t step = 8 + std::size_t{*length} + (*length & 1);
    if (step > end - chunk) break;
    chunk += step;
  }
  if ((*flags & kAnimationFlag) != 0 && frames > 1) info.frames = frames;
  return {};
}

}  // namespace

Result<MediaInfo> read_webp_header(HeaderReader& reader) {
  using namespace std::string_view_literals;
  MediaInfo info;
  info.format = Format::kWebp;
  const auto riff = reader.le32(4);
  const auto chunk_bytes = reader.le32(kFirstChunk + 4);
  if (!riff || !chunk_bytes) return reader.failure("WebP");
  if (std::size_t{*riff} + 8 > reader.size()) {
    return Status(Code::kInvalidContent, "the WebP data is truncated: it is shorter than its header says");
  }
  if (*riff < 4 + 8) return Status(Code::kInvalidContent, "the WebP container has an impossible length");
  const std::size_t end = std::size_t{*riff} + 8;
  const std::size_t body = kFirstChunk + 8;
  Status status;
  if (reader.matches(kFirstChunk, "VP8 "sv)) {
    status = read_vp8(reader, body, info);
  } else if (reader.matches(kFirstChunk, "VP8L"sv)) {
    status = read_vp8l(reader, body, info);
  } else if (reader.matches(kFirstChunk, "VP8X"sv)) {
    if (*chunk_bytes < 10 || end < body + 10) return reader.failure("WebP");
    status = read_vp8x(reader, body, info, end);
  } else {
    status = Status(Code::kInvalidContent, "the WebP container does not start with a picture");
  }
  if (!status.ok()) return status;
  return info;
}

}  // namespace floodgate
