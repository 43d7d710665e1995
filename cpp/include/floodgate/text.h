// Text into rows: what a text head reads is a few bytes at a time.
//
// Rows are contiguous and cover the text: the end of one is the start of the next. Thread rule: stateless;
// nothing keeps a pointer to the input. Refused: bytes that are not UTF-8 (RFC 3629: no surrogates, no
// overlong forms, nothing above U+10FFFF).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "floodgate/status.h"

namespace floodgate {

// Bytes [start, end) of a text.
struct TextSpan {
  std::uint32_t start = 0;
  std::uint32_t end = 0;

  bool operator==(const TextSpan&) const = default;
};

// The offset of the first byte that does not continue well-formed UTF-8, or text.size() when all of it does.
std::size_t utf8_valid_prefix(std::span<const std::uint8_t> text);

// kInvalidContent, naming the byte offset, unless `text` is well-formed and not empty; kTooLarge over
// `max_bytes`.
Status check_text(std::span<const std::uint8_t> text, std::uint64_t max_bytes);

// Rows of at most `max_bytes` bytes each. A row ends after white space (Unicode's White_Space property) where
// its window holds any, else at a code point boundary.
// REQUIRES: text is well-formed UTF-8, max_bytes >= 4. Empty text gives no rows.
std::vector<TextSpan> split_text(std::span<const std::uint8_t> text, std::uint32_t max_bytes);

// The smallest of `buckets` (ascending, bytes) that holds `bytes`; the last when none does.
// REQUIRES: buckets is not empty.
std::int32_t bucket_for(std::span<const std::int32_t> buckets, std::int64_t bytes);

}  // namespace floodgate
