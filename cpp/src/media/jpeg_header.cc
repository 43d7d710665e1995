// JPEG: ITU-T T.81, annex B. Walks marker segments to the frame header, skipping each by its length.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "exif.h"
#include "header.h"

namespace floodgate {
namespace {

constexpr std::uint32_t kSos = 0xDA;
constexpr std::uint32_t kEoi = 0xD9;
constexpr std::uint32_t kApp1 = 0xE1;

bool is_frame_header(std::uint32_t marker) {
  return marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
}

bool stands_alone(std::uint32_t marker) { return marker == 0x01 || (marker >= 0xD0 && marker <= 0xD8); }

// Empty when the coding process is one that decode() handles.
std::string_view unsupported_process(std::uint32_t marker) {
  switch (marker) {
    case 0xC0:
    case 0xC1:
    case 0xC2:
      return {};
    case 0xC3:
      return "lossless JPEG";
    case 0xC5:
    case 0xC6:
    case 0xC7:
      return "hierarchical JPEG";
    default:
      return "arithmetic-coded JPEG";
  }
}

// Bytes of the coefficient arrays of a frame whose sampling factors start at `components`, rounded up to
// whole minimum coded units (T.81, A.2.3).
Result<std::uint64_t> coefficient_bytes(HeaderReader& reader, std::size_t components, const MediaInfo& info) {
  std::uint64_t max_h = 1;
  std::uint64_t max_v = 1;
  std::uint64_t blocks_in_unit = 0;
  for (std::size_t i = 0; i < info.channels; ++i) {
    const auto sampling = reader.u8(components + 3 * i + 1);
    if (!sampling) return reader.failure("JPEG");
    const std::uint64_t h = *sampling >> 4;
    const std::uint64_t v = *sampling & 15;
    if (h < 1 || h > 4 || v < 1 || v > 4) {
      return Status(Code::kInvalidContent, "the JPEG header has a sampling factor outside 1 to 4");
    }
    max_h = std::max(max_h, h);
    max_v = std::max(max_v, v);
    blocks_in_unit += h * v;
  }
  const std::uint64_t units_x = (info.width + 8 * max_h - 1) / (8 * max_h);
  const std::uint64_t units_y = (info.height + 8 * max_v - 1) / (8 * max_v);
  return units_x * units_y * blocks_in_unit * 64 * 2;
}

// Reads the frame header whose length field is at `at`.
Status read_frame(HeaderReader& reader, std::size_t at, std::uint32_t marker, MediaInfo& info) {
  if (const auto process = unsupported_process(marker); !process.empty()) {
    return {Code::kUnsupported, std::string(process) + " pictures are not supported"};
  }
  const auto length = reader.be16(at);
  const auto bits = reader.u8(at + 2);
  const auto height = reader.be16(at + 3);
  const auto width = reader.be16(at + 5);
  const auto channels = reader.u8(at + 7);
  if (!length || !bits || !height || !width || !channels) return reader.failure("JPEG");
  if (at + *length > reader.size()) return reader.failure("JPEG");
  if (*bits != 8) {
    return {Code::kUnsupported,
            std::to_string(*bits) + "-bit JPEG pictures are not supported, only 8-bit ones"};
  }
  if (*channels != 1 && *channels != 3 && *channels != 4) {
    return {Code::kUnsupported, "JPEG pictures with " + std::to_string(*channels) +
                                    " components are not supported, only 1, 3 or 4"};
  }
  if (*length != 8 + 3 * *channels) {
    return {Code::kInvalidContent, "the JPEG frame header has the wrong length"};
  }
  info.width = *width;
  info.height = *height;
  info.bits = 8;
  info.channels = static_cast<std::uint8_t>(*channels);
  info.progressive = marker == 0xC2;
  const auto bytes = coefficient_bytes(reader, at + 8, info);
  if (!bytes.ok()) return bytes.status();
  return info.progressive ? check_coefficient_bytes(bytes.value()) : Status();
}

}  // namespace

Status check_coefficient_bytes(std::uint64_t bytes) {
  if (bytes <= kMaxCoefficientBytes) return {};
  return {Code::kTooLarge, "decoding this multi-scan JPEG needs " + std::to_string(bytes >> 20) +
                               " MiB of coefficients; the limit is " +
                               std::to_string(kMaxCoefficientBytes >> 20) + " MiB"};
}

Result<MediaInfo> read_jpeg_header(HeaderReader& reader) {
  using namespace std::string_view_literals;
  MediaInfo info;
  info.format = Format::kJpeg;
  bool exif_seen = false;
  std::size_t at = 2;  // past SOI
  for (;;) {
    auto byte = reader.u8(at);
    while (byte && *byte != 0xFF)
      byte = reader.u8(++at);  // junk between segments is tolerated, as by libjpeg
    while (byte && *byte == 0xFF) byte = reader.u8(++at);  // fill bytes (B.1.1.2)
    if (!byte) return reader.failure("JPEG");
    const std::uint32_t marker = *byte;
    ++at;
    if (marker == 0x00 || stands_alone(marker)) continue;
    if (marker == kSos || marker == kEoi) {
      return Status(Code::kInvalidContent, "the JPEG data has no frame header before its first scan");
    }
    if (is_frame_header(marker)) {
      if (Status status = read_frame(reader, at, marker, info); !status.ok()) return status;
      return info;
    }
    const auto length = reader.be16(at);
    if (!length) return reader.failure("JPEG");
    if (*length < 2) {
      return Status(Code::kInvalidContent, "the JPEG header has a segment of impossible length");
    }
    if (marker == kApp1 && !exif_seen && *length >= 8 && reader.matches(at + 2, "Exif\0\0"sv)) {
      exif_seen = true;
      info.orientation = exif_orientation(reader, at + 2, *length - 2);
    }
    at += *length;
  }
}

}  // namespace floodgate
