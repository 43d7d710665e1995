#include "exif.h"

#include <algorithm>
#include <string_view>

namespace floodgate {
namespace {

constexpr std::uint32_t kOrientationTag = 0x0112;
constexpr std::size_t kEntryBytes = 12;
constexpr std::uint32_t kMaxEntries = 1024;  // real directories hold a few dozen

// Bytes of one value of a TIFF integer type that an orientation may be stored as; 0 for any other type.
std::size_t integer_bytes(std::uint32_t type) {
  switch (type) {
    case 1:  // BYTE
      return 1;
    case 3:  // SHORT
      return 2;
    case 4:  // LONG
      return 4;
    default:
      return 0;
  }
}

}  // namespace

std::uint8_t exif_orientation(HeaderReader& reader, std::size_t begin, std::size_t length) {
  using namespace std::string_view_literals;
  if (begin > reader.size()) return 1;
  std::size_t end = begin + std::min(length, reader.size() - begin);
  if (end - begin >= 6 && reader.matches(begin, "Exif\0\0"sv)) begin += 6;
  if (end - begin < 8) return 1;

  ByteOrder order = ByteOrder::kBig;
  if (reader.matches(begin, "II*\0"sv)) {
    order = ByteOrder::kLittle;
  } else if (!reader.matches(begin, "MM\0*"sv)) {
    return 1;
  }
  const auto directory = reader.number(begin + 4, 4, order);
  if (!directory || *directory > end - begin || end - begin - *directory < 2) return 1;
  std::size_t at = begin + *directory;
  const auto entries = reader.number(at, 2, order);
  if (!entries) return 1;
  at += 2;

  std::uint8_t orientation = 1;
  for (std::uint32_t i = 0; i < std::min(*entries, kMaxEntries) && end - at >= kEntryBytes; ++i) {
    const auto tag = reader.number(at, 2, order);
    if (!tag) break;
    if (*tag == kOrientationTag) {
      const auto type = reader.number(at + 2, 2, order);
      const auto count = reader.number(at + 4, 4, order);
      if (type && count && *count == 1 && integer_bytes(*type) > 0) {
        const auto value = reader.number(at + 8, integer_bytes(*type), order);
        if (value) orientation = *value >= 1 && *value <= 8 ? static_cast<std::uint8_t>(*value) : 1;
      }
    }
    at += kEntryBytes;
  }
  return orientation;
}

}  // namespace floodgate
