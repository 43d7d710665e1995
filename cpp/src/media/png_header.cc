// PNG: ISO/IEC 15948 (PNG third edition), with the APNG and eXIf chunks. Walks chunk headers, skipping
// contents.
#include <cstdint>
#include <string>

#include "exif.h"
#include "header.h"

namespace floodgate {
namespace {

constexpr std::uint32_t chunk_type(const char (&name)[5]) {
  return static_cast<std::uint32_t>(name[0]) << 24 | static_cast<std::uint32_t>(name[1]) << 16 |
         static_cast<std::uint32_t>(name[2]) << 8 | static_cast<std::uint32_t>(name[3]);
}

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

}  // namespace

Result<MediaInfo> read_png_header(HeaderReader& reader) {
  auto header = read_ihdr(reader);
  if (!header.ok()) return header;
  MediaInfo info = header.value();
  bool pixels_seen = false;
  std::size_t at = 33;  // past the signature and IHDR
  for (;;) {
    const auto length = reader.be32(at);
    const auto type = reader.be32(at + 4);
    if (!length || !type) {
      // After the first pixels the walk only looks for a late eXIf; decode() judges what is missing.
      if (pixels_seen) return info;
      return reader.failure("PNG");
    }
    if (*length > 0x7FFFFFFF) {
      if (pixels_seen) return info;
      return Status(Code::kInvalidContent, "the PNG header has a chunk of impossible length");
    }
    if (*type == chunk_type("IDAT")) {
      pixels_seen = true;
    } else if (*type == chunk_type("IEND")) {
      if (pixels_seen) return info;
      return Status(Code::kInvalidContent, "the PNG data has no pixels");
    } else if (*type == chunk_type("tRNS") && !pixels_seen) {
      info.has_alpha = true;
    } else if (*type == chunk_type("acTL") && !pixels_seen) {
      const auto frames = reader.be32(at + 8);
      if (!frames) return reader.failure("PNG");
      if (*frames > 1) info.frames = *frames;
    } else if (*type == chunk_type("eXIf")) {
      info.orientation = exif_orientation(reader, at + 8, *length);
    }
    at += std::size_t{12} + *length;
  }
}

}  // namespace floodgate
