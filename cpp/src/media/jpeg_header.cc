// JPEG: ITU-T T.81, annex B. Walks marker segments to the frame header, skipping each by its length.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

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
Status read_frame(HeaderReader& reader, std::size_t at, std::uint32_t marker, const MediaLimits& limits,
                  MediaInfo& info) {
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
  return info.progressive ? check_coefficients(bytes.value(), limits) : Status();
}

// What APP1 segments say about the orientation: EXIF, which may be spread over several, else XMP.
class Metadata {
 public:
  // A segment whose length field, `length`, is at `at`.
  void see(HeaderReader& reader, std::size_t at, std::uint32_t length) {
    using namespace std::string_view_literals;
    constexpr std::string_view kXmpName = "http://ns.adobe.com/xap/1.0/\0"sv;
    if (length >= 8 && reader.matches(at + 2, "Exif\0\0"sv)) {
      if (exif_.size() < kMostPieces) exif_.push_back({at + 8, length - 8});
    } else if (reader.matches(at + 2, kXmpName)) {
      const std::size_t used = 2 + kXmpName.size();
      if (length > used) xmp_ = xmp_orientation(reader, at + used, length - used);
    }
  }

  std::uint8_t orientation(HeaderReader& reader) const { return exif(reader).value_or(xmp_.value_or(1)); }

 private:
  static constexpr std::size_t kMostPieces = 16;
  struct Piece {
    std::size_t at;
    std::size_t bytes;
  };

  std::optional<std::uint8_t> exif(HeaderReader& reader) const {
    if (exif_.empty()) return std::nullopt;
    if (exif_.size() == 1) return exif_orientation(reader, exif_[0].at, exif_[0].bytes);
    std::vector<std::uint8_t> joined;
    for (const Piece& piece : exif_) {
      const auto text = reader.text(piece.at, std::min(piece.bytes, reader.budget()));
      if (!text) break;
      joined.insert(joined.end(), text->begin(), text->end());
    }
    HeaderReader whole(joined);
    return exif_orientation(whole, 0, joined.size());
  }

  std::vector<Piece> exif_;
  std::optional<std::uint8_t> xmp_;
};

}  // namespace

Status check_coefficients(std::uint64_t bytes, const MediaLimits& limits) {
  if (bytes <= limits.max_coefficient_bytes) return {};
  return {Code::kTooLarge, "decoding this multi-scan JPEG needs " + std::to_string(bytes >> 20) +
                               " MiB of coefficients; the limit (max_coefficient_bytes) is " +
                               std::to_string(limits.max_coefficient_bytes >> 20) + " MiB"};
}

Result<MediaInfo> read_jpeg_header(HeaderReader& reader, const MediaLimits& limits) {
  MediaInfo info;
  info.format = Format::kJpeg;
  Metadata metadata;
  bool framed = false;
  std::size_t at = 2;  // past SOI
  // Metadata may stand behind the frame header too; what is broken there is the codec's to judge.
  const auto finish = [&]() -> Result<MediaInfo> {
    if (!framed) return reader.failure("JPEG");
    info.orientation = metadata.orientation(reader);
    return info;
  };
  for (;;) {
    auto byte = reader.u8(at);
    while (byte && *byte != 0xFF)
      byte = reader.u8(++at);  // junk between segments is tolerated, as by libjpeg
    while (byte && *byte == 0xFF) byte = reader.u8(++at);  // fill bytes (B.1.1.2)
    if (!byte) return finish();
    const std::uint32_t marker = *byte;
    ++at;
    if (marker == 0x00 || stands_alone(marker)) continue;
    if (marker == kSos || marker == kEoi) {
      if (framed) return finish();
      return Status(Code::kInvalidContent, "the JPEG data has no frame header before its first scan");
    }
    if (is_frame_header(marker)) {
      if (framed) return finish();
      if (Status status = read_frame(reader, at, marker, limits, info); !status.ok()) return status;
      framed = true;
    }
    const auto length = reader.be16(at);
    if (!length) return finish();
    if (marker == kApp1) metadata.see(reader, at, *length);
    at += std::max<std::size_t>(*length,
                                2);  // libjpeg takes a length that is too short for its own field alone
  }
}

}  // namespace floodgate
