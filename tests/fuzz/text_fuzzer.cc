// Text into rows: rows cover the text, none is longer than asked for, none breaks a code point.
#include <cstddef>
#include <cstdint>

#include "checked_sink.h"
#include "floodgate/text.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace floodgate;
  if (size < 1) return 0;
  const std::uint32_t longest = 4 + data[0];
  const std::span<const std::uint8_t> text(data + 1, size - 1);
  fuzzing::require(utf8_valid_prefix(text) <= text.size());
  if (!check_text(text, 1 << 20).ok()) return 0;
  std::uint32_t at = 0;
  for (const TextSpan& span : split_text(text, longest)) {
    fuzzing::require(span.start == at && span.end > span.start && span.end - span.start <= longest);
    fuzzing::require(utf8_valid_prefix(text.subspan(span.start, span.end - span.start)) ==
                     span.end - span.start);
    at = span.end;
  }
  fuzzing::require(at == text.size());
  return 0;
}
