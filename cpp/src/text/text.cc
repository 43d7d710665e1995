#include "floodgate/text.h"

#include <string>

namespace floodgate {
namespace {

bool continuation(std::uint8_t byte) { return (byte & 0xC0) == 0x80; }

// Bytes of the well-formed sequence at the front, 0 when there is none (Unicode 15, table 3-7).
std::size_t sequence_bytes(std::span<const std::uint8_t> text) {
  const std::uint8_t lead = text[0];
  if (lead < 0x80) return 1;
  if (lead < 0xC2 || lead > 0xF4) return 0;
  const std::size_t bytes = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (text.size() < bytes) return 0;
  std::uint8_t low = 0x80;
  std::uint8_t high = 0xBF;
  if (lead == 0xE0) low = 0xA0;   // overlong
  if (lead == 0xED) high = 0x9F;  // surrogates
  if (lead == 0xF0) low = 0x90;   // overlong
  if (lead == 0xF4) high = 0x8F;  // above U+10FFFF
  if (text[1] < low || text[1] > high) return 0;
  for (std::size_t i = 2; i < bytes; ++i) {
    if (!continuation(text[i])) return 0;
  }
  return bytes;
}

// REQUIRES: well-formed.
bool is_space(std::span<const std::uint8_t> sequence) {
  if (sequence.size() == 1) return sequence[0] == 0x20 || (sequence[0] >= 0x09 && sequence[0] <= 0x0D);
  if (sequence.size() == 2) return sequence[0] == 0xC2 && (sequence[1] == 0x85 || sequence[1] == 0xA0);
  if (sequence.size() != 3) return false;
  const int code = (sequence[0] & 0x0F) << 12 | (sequence[1] & 0x3F) << 6 | (sequence[2] & 0x3F);
  return code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 ||
         code == 0x202F || code == 0x205F || code == 0x3000;
}

}  // namespace

std::size_t utf8_valid_prefix(std::span<const std::uint8_t> text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t bytes = sequence_bytes(text.subspan(at));
    if (bytes == 0) break;
    at += bytes;
  }
  return at;
}

Status check_text(std::span<const std::uint8_t> text, std::uint64_t max_bytes) {
  if (text.empty()) return Status(Code::kInvalidContent, "the text is empty");
  if (text.size() > max_bytes) {
    return Status(Code::kTooLarge, "the text has " + std::to_string(text.size()) + " bytes; the limit is " +
                                       std::to_string(max_bytes));
  }
  const std::size_t valid = utf8_valid_prefix(text);
  if (valid < text.size()) {
    return Status(Code::kInvalidContent, "the text is not UTF-8 at byte " + std::to_string(valid));
  }
  return {};
}

std::vector<TextSpan> split_text(std::span<const std::uint8_t> text, std::uint32_t max_bytes) {
  std::vector<TextSpan> rows;
  std::size_t start = 0;
  while (start < text.size()) {
    std::size_t end = start;          // after the last code point that fits
    std::size_t after_space = start;  // after the last white space that fits
    while (end < text.size()) {
      const std::size_t bytes = sequence_bytes(text.subspan(end));
      if (bytes == 0 || end + bytes - start > max_bytes) break;
      end += bytes;
      if (is_space(text.subspan(end - bytes, bytes))) after_space = end;
    }
    if (end < text.size() && after_space > start) end = after_space;
    if (end == start) break;  // the precondition does not hold; never loop for ever
    rows.push_back({static_cast<std::uint32_t>(start), static_cast<std::uint32_t>(end)});
    start = end;
  }
  return rows;
}

std::int32_t bucket_for(std::span<const std::int32_t> buckets, std::int64_t bytes) {
  for (const std::int32_t bucket : buckets) {
    if (bucket >= bytes) return bucket;
  }
  return buckets.back();
}

}  // namespace floodgate
