// BMP: Microsoft's BITMAPINFOHEADER family and the OS/2 core header. Which variants count, and how the odd
// ones are read, follows Pillow.
#include "bmp_header.h"

#include <optional>
#include <string>

#include "header.h"

namespace floodgate {
namespace {

constexpr std::size_t kFileHeaderBytes = 14;

constexpr std::uint32_t kRaw = 0;
constexpr std::uint32_t kRle8 = 1;
constexpr std::uint32_t kRle4 = 2;
constexpr std::uint32_t kBitFields = 3;

struct MaskLayout {
  std::array<std::uint32_t, 4> masks;  // red, green, blue, alpha
  std::array<std::int8_t, 4> byte_of;
};

// The layouts of 32-bit pixels with masks that writers use; no masks at all means BGRA.
constexpr std::array kMaskLayouts = {
    MaskLayout{{0xFF0000, 0xFF00, 0xFF, 0}, {2, 1, 0, -1}},
    MaskLayout{{0xFF000000, 0xFF0000, 0xFF00, 0}, {3, 2, 1, -1}},
    MaskLayout{{0xFF000000, 0xFF00, 0xFF, 0}, {3, 1, 0, -1}},
    MaskLayout{{0xFF000000, 0xFF0000, 0xFF00, 0xFF}, {3, 2, 1, 0}},
    MaskLayout{{0xFF, 0xFF00, 0xFF0000, 0xFF000000}, {0, 1, 2, 3}},
    MaskLayout{{0xFF0000, 0xFF00, 0xFF, 0xFF000000}, {2, 1, 0, 3}},
    MaskLayout{{0xFF000000, 0xFF00, 0xFF, 0xFF0000}, {3, 1, 0, 2}},
    MaskLayout{{0, 0, 0, 0}, {2, 1, 0, 3}},
};

Status unsupported_masks() {
  return {Code::kUnsupported, "the BMP picture has a layout of bit masks that is not supported"};
}

// Sets how pixels with explicit masks are read.
Status apply_masks(const std::array<std::uint32_t, 4>& masks, BmpHeader& header) {
  const bool rgb_555 = masks[0] == 0x7C00 && masks[1] == 0x3E0 && masks[2] == 0x1F;
  const bool rgb_565 = masks[0] == 0xF800 && masks[1] == 0x7E0 && masks[2] == 0x1F;
  const bool rgb_888 = masks[0] == 0xFF0000 && masks[1] == 0xFF00 && masks[2] == 0xFF;
  if (header.bits == 16 && (rgb_555 || rgb_565)) {
    header.pixel = rgb_565 ? BmpHeader::Pixel::k565 : BmpHeader::Pixel::k555;
    return {};
  }
  if (header.bits == 24 && rgb_888) return {};
  if (header.bits == 32) {
    for (const auto& [known, byte_of] : kMaskLayouts) {
      if (masks != known) continue;
      header.byte_of = byte_of;
      return {};
    }
  }
  return unsupported_masks();
}

Status read_core_header(HeaderReader& reader, BmpHeader& header) {
  const auto width = reader.le16(18);
  const auto height = reader.le16(20);
  const auto bits = reader.le16(24);
  if (!width || !height || !bits) return reader.failure("BMP");
  header.width = *width;
  header.height = *height;
  header.bits = *bits;
  header.palette_entry_bytes = 3;
  return {};
}

Status read_info_header(HeaderReader& reader, BmpHeader& header, std::uint32_t& compression) {
  const auto width = reader.le32(18);
  const auto height = reader.le32(22);
  const auto bits = reader.le16(28);
  const auto coding = reader.le32(30);
  const auto colors = reader.le32(46);
  if (!width || !height || !bits || !coding || !colors) return reader.failure("BMP");
  header.width = *width;
  // A negative height means rows from the top. Like Pillow, only its highest byte is asked.
  header.top_down = (*height >> 24) == 0xFF;
  header.height = header.top_down ? ~*height + 1 : *height;
  header.bits = *bits;
  header.palette_entries = *colors;
  compression = *coding;
  return {};
}

Status set_pixel_kind(BmpHeader& header) {
  switch (header.bits) {
    case 1:
    case 4:
    case 8:
      header.pixel = BmpHeader::Pixel::kIndex;
      return {};
    case 16:
      header.pixel = BmpHeader::Pixel::k555;
      return {};
    case 24:
    case 32:
      header.pixel = BmpHeader::Pixel::kBytes;
      return {};
    default:
      return {Code::kUnsupported,
              "BMP pictures with " + std::to_string(header.bits) + " bits a pixel are not supported"};
  }
}

Status set_coding(HeaderReader& reader, std::uint32_t compression, std::uint32_t header_bytes,
                  std::size_t& after_header, BmpHeader& header) {
  switch (compression) {
    case kRaw:
      return {};
    case kRle8:
    case kRle4:
      if (header.pixel != BmpHeader::Pixel::kIndex) {
        return {Code::kInvalidContent,
                "the BMP header combines run lengths with " + std::to_string(header.bits) + " bits a pixel"};
      }
      header.coding = compression == kRle8 ? BmpHeader::Coding::kRle8 : BmpHeader::Coding::kRle4;
      return {};
    case kBitFields: {
      // A plain info header is followed by three masks; longer ones hold three or four.
      const std::size_t count = header_bytes >= 56 ? 4 : 3;
      std::array<std::uint32_t, 4> masks{};
      for (std::size_t i = 0; i < count; ++i) {
        const auto mask = reader.le32(kFileHeaderBytes + 40 + 4 * i);
        if (!mask) return reader.failure("BMP");
        masks[i] = *mask;
      }
      if (header_bytes < 52) after_header += 12;
      return apply_masks(masks, header);
    }
    default:
      return {Code::kUnsupported,
              "BMP pictures with compression " + std::to_string(compression) + " are not supported"};
  }
}

}  // namespace

Result<BmpHeader> read_bmp(HeaderReader& reader) {
  BmpHeader header;
  const auto offset = reader.le32(10);
  const auto header_bytes = reader.le32(14);
  if (!offset || !header_bytes) return reader.failure("BMP");
  std::uint32_t compression = kRaw;
  Status status;
  switch (*header_bytes) {
    case 12:
      status = read_core_header(reader, header);
      break;
    case 40:
    case 52:
    case 56:
    case 64:
    case 108:
    case 124:
      status = read_info_header(reader, header, compression);
      break;
    default:
      status = Status(Code::kUnsupported, "BMP pictures with a header of " + std::to_string(*header_bytes) +
                                              " bytes are not supported");
  }
  if (!status.ok()) return status;
  std::size_t after_header = kFileHeaderBytes + *header_bytes;
  if (after_header > reader.size()) return reader.failure("BMP");
  if (status = set_pixel_kind(header); !status.ok()) return status;
  if (status = set_coding(reader, compression, *header_bytes, after_header, header); !status.ok()) {
    return status;
  }

  header.pixels_at = *offset;
  if (header.pixel == BmpHeader::Pixel::kIndex) {
    if (header.palette_entries == 0) header.palette_entries = 1U << header.bits;
    if (header.palette_entries > 65'536) {
      return Status(Code::kUnsupported, "the BMP picture declares a palette of " +
                                            std::to_string(header.palette_entries) + " colours");
    }
    header.palette_at = after_header;
    after_header += std::size_t{header.palette_entry_bytes} * header.palette_entries;
    // Some writers name the header's end as the place of the pixels, where the palette is.
    if (header.pixels_at == kFileHeaderBytes + *header_bytes) {
      header.pixels_at += std::size_t{header.palette_entry_bytes} * header.palette_entries;
    }
  }
  if (header.pixels_at == 0) header.pixels_at = after_header;
  return header;
}

Result<MediaInfo> read_bmp_header(HeaderReader& reader) {
  const auto header = read_bmp(reader);
  if (!header.ok()) return header.status();
  const BmpHeader& bmp = header.value();
  MediaInfo info;
  info.format = Format::kBmp;
  info.width = bmp.width;
  info.height = bmp.height;
  info.has_alpha = bmp.has_alpha();
  info.channels = info.has_alpha ? 4 : 3;
  return info;
}

}  // namespace floodgate
