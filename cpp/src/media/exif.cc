#include "exif.h"

#include <algorithm>
#include <iterator>
#include <string_view>

namespace floodgate {
namespace {

constexpr std::uint32_t kOrientationTag = 0x0112;
constexpr std::size_t kEntryBytes = 12;
constexpr std::uint32_t kMaxEntries = 6000;  // real directories hold a few dozen

// Bytes of one value of a TIFF type (TIFF 6.0, section 2; 13 and 16 are IFD and LONG8 of its supplements); 0
// for what is no type.
std::size_t value_bytes(std::uint32_t type) {
  constexpr std::size_t kBytes[] = {0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8};
  return type < std::size(kBytes) ? kBytes[type] : 0;
}

// Whether an orientation may be stored as that: any integer but BYTE, in which Pillow sees bytes.
bool is_number(std::uint32_t type) {
  return type == 3 || type == 4 || type == 6 || type == 8 || type == 9 || type == 13;
}

}  // namespace

std::optional<std::uint8_t> exif_orientation(HeaderReader& reader, std::size_t begin, std::size_t length) {
  using namespace std::string_view_literals;
  if (begin > reader.size()) return std::nullopt;
  std::size_t end = begin + std::min(length, reader.size() - begin);
  for (int i = 0; i < 2 && end - begin >= 6 && reader.matches(begin, "Exif\0\0"sv); ++i) begin += 6;
  if (end - begin < 8) return std::nullopt;

  // Some writers spell the version in the other byte order.
  ByteOrder order = ByteOrder::kBig;
  if (reader.matches(begin, "II*\0"sv) || reader.matches(begin, "II\0*"sv)) {
    order = ByteOrder::kLittle;
  } else if (!reader.matches(begin, "MM\0*"sv) && !reader.matches(begin, "MM*\0"sv)) {
    return std::nullopt;
  }
  const auto directory = reader.number(begin + 4, 4, order);
  if (!directory || *directory > end - begin || end - begin - *directory < 2) return std::nullopt;
  std::size_t at = begin + *directory;
  const auto entries = reader.number(at, 2, order);
  if (!entries) return std::nullopt;
  at += 2;

  for (std::uint32_t i = 0; i < std::min(*entries, kMaxEntries) && end - at >= kEntryBytes; ++i) {
    const std::size_t entry = at;
    at += kEntryBytes;
    const auto tag = reader.number(entry, 2, order);
    if (!tag) break;
    if (*tag != kOrientationTag) continue;
    const auto type = reader.number(entry + 2, 2, order);
    const auto count = reader.number(entry + 4, 4, order);
    if (!type || !count) break;
    const std::uint64_t bytes = std::uint64_t{value_bytes(*type)} * *count;
    if (bytes == 0) continue;
    std::size_t value_at = entry + 8;
    if (bytes > 4) {
      const auto offset = reader.number(value_at, 4, order);
      if (!offset) break;
      if (bytes > end - begin) continue;
      if (*offset > end - begin || bytes > end - begin - *offset) break;  // Pillow reads no further either
      value_at = begin + *offset;
    }
    if (!is_number(*type)) return 1;
    const auto value = reader.number(value_at, value_bytes(*type), order);
    if (!value) break;
    return *value >= 1 && *value <= 8 ? static_cast<std::uint8_t>(*value) : 1;
  }
  return std::nullopt;
}

std::optional<std::uint8_t> xmp_orientation(HeaderReader& reader, std::size_t begin, std::size_t length) {
  using namespace std::string_view_literals;
  constexpr std::size_t kMaxPacketBytes = 65'536;  // as much as a JPEG segment holds
  constexpr std::size_t kReservedBytes = 4'096;    // of the budget, for the header that follows
  if (begin > reader.size() || reader.budget() < kReservedBytes) return std::nullopt;
  const std::size_t bytes =
      std::min({length, kMaxPacketBytes, reader.size() - begin, reader.budget() - kReservedBytes});
  const auto packet = reader.text(begin, bytes);
  if (!packet) return std::nullopt;
  constexpr std::string_view kName = "tiff:Orientation"sv;
  for (std::size_t at = packet->find(kName); at != std::string_view::npos; at = packet->find(kName, at + 1)) {
    std::string_view rest = packet->substr(at + kName.size());
    if (rest.starts_with("=\""sv)) {
      rest.remove_prefix(2);
    } else if (rest.starts_with('>')) {
      rest.remove_prefix(1);
    } else {
      continue;
    }
    if (rest.empty() || rest.front() < '0' || rest.front() > '9') continue;
    const int value = rest.front() - '0';
    return static_cast<std::uint8_t>(value >= 1 && value <= 8 ? value : 1);
  }
  return std::nullopt;
}

}  // namespace floodgate
