// PNG: ISO/IEC 15948 (PNG third edition), with the APNG and eXIf chunks. Walks chunk headers, skipping
// contents.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "delay.h"
#include "exif.h"
#include "header.h"
#include "png_chunks.h"

namespace floodgate {
namespace {

using namespace std::string_view_literals;

// Channels as stored of a colour type; 0 when `bits` does not go with it (table 11.1 of the standard).
std::uint8_t stored_channels(std::uint32_t colour_type, std::uint32_t bits) {
  const bool small = bits == 1 || bits == 2 || bits == 4;
  const bool large = bits == 8 || bits == 16;
  switch (colour_type) {
    case 0:
      return small || large ? 1 : 0;
    case 2:
      return large ? 3 : 0;
    case 3:
      return small || bits == 8 ? 3 : 0;
    case 4:
      return large ? 2 : 0;
    case 6:
      return large ? 4 : 0;
    default:
      return 0;
  }
}

Result<MediaInfo> read_ihdr(HeaderReader& reader) {
  const auto length = reader.be32(8);
  const auto type = reader.be32(12);
  const auto width = reader.be32(16);
  const auto height = reader.be32(20);
  const auto bits = reader.u8(24);
  const auto colour_type = reader.u8(25);
  const auto compression = reader.u8(26);
  const auto filter = reader.u8(27);
  const auto interlace = reader.u8(28);
  if (!length || !type || !interlace) return reader.failure("PNG");
  if (*length != 13 || *type != chunk_type("IHDR")) {
    return Status(Code::kInvalidContent, "the PNG data does not start with an IHDR chunk");
  }
  if (*width > 0x7FFFFFFF || *height > 0x7FFFFFFF || *compression != 0 || *filter != 0 || *interlace > 1) {
    return Status(Code::kInvalidContent, "the PNG header holds values that the format does not allow");
  }
  MediaInfo info;
  info.format = Format::kPng;
  info.width = *width;
  info.height = *height;
  info.bits = static_cast<std::uint8_t>(*bits);
  info.channels = stored_channels(*colour_type, *bits);
  info.has_alpha = *colour_type == 4 || *colour_type == 6;
  info.progressive = *interlace == 1;
  if (info.channels == 0) {
    return Status(Code::kInvalidContent, "the PNG header combines colour type " +
                                             std::to_string(*colour_type) + " with " + std::to_string(*bits) +
                                             " bits, which the format does not allow");
  }
  return info;
}

// What the chunks behind IHDR tell.
struct Walk {
  bool pixels_seen = false;
  bool complete = false;          // up to IEND
  std::uint32_t frames = 0;       // that acTL promises; 0: no animation
  bool default_separate = false;  // the picture in IDAT is no frame of the animation
  std::uint32_t controls = 0;     // fcTL chunks
  std::uint64_t duration_ms = 0;
  std::optional<std::uint8_t> exif;
  std::optional<std::uint8_t> xmp;
};

// An iTXt chunk with an uncompressed XMP packet (XMP specification, part 3, 1.1.5).
void read_text(HeaderReader& reader, std::size_t at, std::size_t length, Walk& walk) {
  constexpr std::string_view kStart = "XML:com.adobe.xmp\0\0\0\0\0"sv;
  if (length > kStart.size() && reader.matches(at, kStart)) {
    walk.xmp = xmp_orientation(reader, at + kStart.size(), length - kStart.size());
  }
}

void read_frame_control(HeaderReader& reader, std::size_t at, Walk& walk) {
  ++walk.controls;
  const auto delay = reader.be16(at + 20);
  const auto parts = reader.be16(at + 22);
  if (delay && parts) {
    walk.duration_ms += shown_delay_ms(std::uint64_t{*delay} * 1000 / (*parts == 0 ? 100 : *parts));
  }
}

// Notes what a chunk says. Errors: what makes the picture unreadable.
Status read_chunk(HeaderReader& reader, std::uint32_t type, std::size_t at, std::size_t length,
                  MediaInfo& info, Walk& walk) {
  switch (type) {
    case chunk_type("IDAT"):
      if (!walk.pixels_seen) walk.default_separate = walk.controls == 0;
      walk.pixels_seen = true;
      break;
    case chunk_type("IEND"):
      walk.complete = true;
      if (!walk.pixels_seen) return {Code::kInvalidContent, "the PNG data has no pixels"};
      break;
    case chunk_type("tRNS"):
      if (!walk.pixels_seen) info.has_alpha = true;
      break;
    case chunk_type("acTL"):
      if (!walk.pixels_seen) {
        const auto frames = reader.be32(at);
        if (!frames) return reader.failure("PNG");
        walk.frames = *frames <= 0x80000000U ? *frames : 0;
      }
      break;
    case chunk_type("fcTL"):
      if (walk.frames > 0) read_frame_control(reader, at, walk);
      break;
    case chunk_type("eXIf"):
      walk.exif = exif_orientation(reader, at, length);
      break;
    case chunk_type("iTXt"):
      read_text(reader, at, length, walk);
      break;
    default:
      break;
  }
  return {};
}

}  // namespace

Result<MediaInfo> read_png_header(HeaderReader& reader) {
  auto header = read_ihdr(reader);
  if (!header.ok()) return header;
  MediaInfo info = header.value();
  Walk walk;
  std::size_t at = 33;  // past the signature and IHDR
  while (!walk.complete) {
    const auto length = reader.be32(at);
    const auto type = reader.be32(at + 4);
    if (!length || !type || *length > 0x7FFFFFFF) {
      // After the first pixels the walk only looks for late metadata; decode() judges what is missing.
      if (walk.pixels_seen) break;
      if (!length || !type) return reader.failure("PNG");
      return Status(Code::kInvalidContent, "the PNG header has a chunk of impossible length");
    }
    if (Status status = read_chunk(reader, *type, at + 8, *length, info, walk); !status.ok()) return status;
    at += std::size_t{12} + *length;
  }
  info.orientation = walk.exif.value_or(walk.xmp.value_or(1));
  if (walk.frames > 0) {
    // A picture that is no frame is what older viewers show: it counts as one more frame, before the others.
    info.frames = walk.frames + (walk.default_separate ? 1 : 0);
    if (walk.complete && info.frames > 1) {
      info.duration_ms = static_cast<std::uint32_t>(std::min<std::uint64_t>(
          walk.duration_ms + (walk.default_separate ? kShortDelayMs : 0), 0xFFFFFFFF));
    }
  }
  return info;
}

}  // namespace floodgate
